"""Executes a compiled job on this machine."""
