"""How a network learns: targets, losses, augmentation, the run and its checkpoints."""
