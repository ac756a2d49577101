"""The scorecard of the methods' maps on one page: from `scorecard.json` to one self-contained file.

`card` reads the scorecard and `words` says its numbers and findings; `front`, `panels`, `tables`, `agreement` and
`maps` prepare its parts, `placing` keeps the names in a chart apart, and `page` puts all into one file.
"""
