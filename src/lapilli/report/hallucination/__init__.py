"""The page of the study of hallucinations: which scores detect a made-up yes."""
