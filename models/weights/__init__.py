"""Where weights come from before training."""
