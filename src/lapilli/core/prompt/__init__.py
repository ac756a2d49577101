"""Prompts: a conversation as one string, and the place of each part in it."""
