"""Inspection: which parts of the input and of the model an answer comes from, and interventions that test it."""
