"""Benchmarks as their authors publish them: how anybody's file of answers is joined with the labels, and scored.

Each is one file that ends in `BENCHMARK = Published(...)`, and its line in `PUBLISHED` of `protocol.py`.
"""
