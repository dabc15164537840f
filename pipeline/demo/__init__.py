"""The demo's pictures, drawn from a seed."""
