"""The embedded demo's pictures, drawn from a seed."""
