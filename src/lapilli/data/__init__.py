"""Samples: read, checked, opened, and turned into tokens with labels and a layout. Never sees a network."""
