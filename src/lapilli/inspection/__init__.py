"""Looking inside: why a model said what it said, exactly, and whether the reason holds when it is taken away."""
