"""The data engine: contexts become conversations, descriptions and reasoning (LLaVA, arXiv 2304.08485, section 3).

`prompts` says what a teacher is asked, `reply` reads its answers strictly, `gates` checks them, `engine` joins these
with `core.llm`, `output` writes the samples, `in_words` makes them of scenes without a teacher, and `rating` says of
any sample what is good and bad about it.
"""
