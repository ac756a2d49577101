"""What a tuning changed: hidden states of a base and its tuned version, over depth, beside what changes them anyway."""
