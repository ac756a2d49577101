"""The page of a comparison: what a tuning changed, over depth, beside what changes without it."""
