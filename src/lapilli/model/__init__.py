"""The joined network: a vision encoder, a connector and a language model as one Hugging Face Llava."""
