"""What is claimed of visual instruction tuning, tested on a base and its tuned version."""
