"""The explanation of one answer: its decomposition and removal tests, as arrays, words and a page."""
