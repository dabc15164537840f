"""The detector in people's hands: a page with a camera, and what the official phone apps need."""
