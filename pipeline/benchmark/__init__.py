"""How fast, large and accurate detectors are, side by side: `python -m pipeline.benchmark`."""
