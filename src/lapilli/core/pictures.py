"""What a decoded picture tells a model besides its colours."""

ALPHA = "alpha"
"""The key of `Image.info` for the alpha of a picture that was drawn on white, a picture of mode L of the same size."""
