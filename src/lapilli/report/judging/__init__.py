"""The page `judging.html`: what a judge said of answers beside references."""
