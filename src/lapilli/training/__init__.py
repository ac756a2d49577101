"""Training: LLaVA's two stages, on transformers' Trainer."""
