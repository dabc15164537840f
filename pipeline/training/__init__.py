"""The Trainer: from transformed examples to a trained network."""
