"""The alpha of a decoded picture, which a model may need beside its colors."""

ALPHA = "alpha"
"""The key of `Image.info` for the alpha of a picture that was drawn on white, a picture of mode L of the same size."""
