"""transformers' own `pipeline` on a saved LLaVA: its answers against those of `lapilli ask`.

    python benchmarks/clients/pipeline.py MODEL DATA [--batch-size 20] [--questions mixed] [--python OTHER/bin/python]

Nothing is set by hand: in a batch, prompts of many lengths are padded on the side that the folder names. The
environment needs transformers, torch and pillow; lapilli's own has them.
"""

from compare import arguments, client_answers, compared, finish, lapilli_answers, read_questions


def main() -> None:
    """Parse, ask both, compare."""
    parser = arguments(__doc__)
    parser.add_argument("--batch-size", type=int, default=1)
    options = parser.parse_args()
    questions = read_questions(options.data, options.questions)
    given = client_answers("pipeline", options.python, options.model, questions, batch_size=options.batch_size)
    right = lapilli_answers(options.model, questions)
    finish(compared(f"pipeline, batches of {options.batch_size}", given, questions, right))


if __name__ == "__main__":
    main()
