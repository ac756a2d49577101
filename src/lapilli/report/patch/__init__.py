"""The page of a patching study: which layers bring a tuning's gain back, beside what random changes do."""
