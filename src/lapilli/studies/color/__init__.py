"""The color study: a published account of how a LLaVA works, measured again over many questions, beside chance."""
