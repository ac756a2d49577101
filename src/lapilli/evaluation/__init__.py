"""Scoring answers. Nothing here knows a model: a function that answers samples is passed in."""
