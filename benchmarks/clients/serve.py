"""`transformers serve` on a saved LLaVA, asked with OpenAI's client: its answers against those of `lapilli ask`.

    python benchmarks/clients/serve.py MODEL DATA [--questions mixed] [--python OTHER/bin/python]

The environment needs transformers[serving], openai, torch and pillow; lapilli's with [dev] has them.
"""

from compare import arguments, client_answers, compared, finish, lapilli_answers, read_questions


def main() -> None:
    """Parse, ask both, compare."""
    options = arguments(__doc__).parse_args()
    questions = read_questions(options.data, options.questions)
    given = client_answers("serve", options.python, options.model, questions)
    finish(compared("transformers serve", given, questions, lapilli_answers(options.model, questions)))


if __name__ == "__main__":
    main()
