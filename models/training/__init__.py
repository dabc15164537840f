"""Training: targets, losses, optimizer, augmentation, the run and its checkpoints."""
