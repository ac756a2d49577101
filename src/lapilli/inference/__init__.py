"""Asking a model: samples in, answers out."""
