"""Scoring answers. Nothing here knows a model: a function that answers samples is passed in."""

from lapilli.evaluation.normalize import normalize_answer

__all__ = ["normalize_answer"]
