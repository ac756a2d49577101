"""Interventions: attention edges cut, patches removed, heads ablated, and the model's answer to them."""
