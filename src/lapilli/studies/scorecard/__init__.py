"""The scorecard: maps of the patches that an answer came from, compared with each other and with the truth.

plan.py        the settings, and the names to choose from
job.py         a plan for a model and data, in a run folder
sift.py        the questions that serve
case.py        one answered question: the inputs of every method
methods/       the methods, a function each: (case) -> a score for every patch
operators.py   the removal of patches: (case, sets) -> the key word after it
curves.py      orders of patches, and the key word as they are removed: deletion, insertion, their gap
metrics.py     the metrics of a map by losses, random sets and masks: numbers alone, no model
score.py       one case: all maps under all operators
sanity.py      does a map follow the weights, the word, the question, the picture?
cost.py        seconds, passes, memory
run.py         the steps: sifting, cases, sanity tests, costs, table
table.py       from the cases' numbers to estimates, tests and ranks
assemble.py    all of that as one object of plain values, which its page shows
beside.py      another scorecard, for the same page
"""
