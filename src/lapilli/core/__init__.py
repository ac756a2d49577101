"""The parts that every package of lapilli shares. They are light: none loads torch or transformers."""
