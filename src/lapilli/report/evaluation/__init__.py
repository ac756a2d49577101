"""The page of an evaluation: how a model scores, and what it answers."""
