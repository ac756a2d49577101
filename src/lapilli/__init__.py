"""Lapilli: build a LLaVA, and see how it learned to see."""

__version__ = "0.1.0"
