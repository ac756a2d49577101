"""The page of a study of hallucinations: what gives a made-up yes away."""
