"""ML Metadata: the store, what runs record, and how it is read."""
