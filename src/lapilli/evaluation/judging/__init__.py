"""A language model as a judge of answers: what is asked of it, run and journalled, and the figures of what it said.

`pairs` joins questions, answers, references and contexts; `rubric` reads what a judge is told; `plan` makes the calls;
`asking` runs them in a folder; `results` says what the judgements come to.
"""
