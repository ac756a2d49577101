"""Studies: a published account of how a LLaVA works, measured again over many questions, beside what chance does."""
