"""The page of trainings, of one or of several in the same axes."""
