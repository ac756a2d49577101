"""Calls of a language model behind an OpenAI-compatible endpoint: paced, paid within a budget, and kept.

`call` says what is asked and what came back, `journal` keeps every answer on the disk, `pace` and `budget` say when the
next call may begin, `endpoint` sends it, `failure` says what an error means, and `asking` joins them.
"""
