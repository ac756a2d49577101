"""The page `score.html` and the tables of the terminal: scored files of answers, and how they differ."""
