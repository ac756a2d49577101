"""The scorecard: maps of which patches an answer came from, measured against each other and against the truth.

plan.py        what is to be measured, by names
job.py         a plan for a model and data, in a run folder
sift.py        the questions that serve
case.py        one answered question: what every method is given
methods/       the methods, a function each: (case) -> a score for every patch
operators.py   the ways of taking patches away: (case, sets) -> what the key word becomes
curves.py      orders of patches, and what is left of the word as they go: deletion, insertion, their gap
metrics.py     what a curve, a random set, a mask say of a map: numbers alone, no model
score.py       one case: all maps under all operators
sanity.py      does a map follow the weights, the word, the question, the picture?
cost.py        seconds, passes, memory
run.py         the steps: sifting, cases, sanity tests, costs, table
table.py       from the cases' numbers to estimates, tests and ranks
assemble.py    all of that as one object of plain values, which its page shows
beside.py      another scorecard, for the same page
"""
