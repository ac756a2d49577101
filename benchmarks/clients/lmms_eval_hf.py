"""lmms-eval's `llava_hf` on a saved LLaVA: its answers against those of `lapilli ask`.

    python benchmarks/clients/lmms_eval_hf.py MODEL DATA --python LMMS_EVAL_ENVIRONMENT/bin/python

The environment is requirements/lmms-eval.txt. The questions are a task of their own, made for this run.
"""

from compare import arguments, client_answers, compared, finish, lapilli_answers, read_questions


def main() -> None:
    """Parse, ask both, compare."""
    options = arguments(__doc__).parse_args()
    questions = read_questions(options.data, options.questions)
    given = client_answers("lmms_eval_hf", options.python, options.model, questions)
    finish(compared("lmms-eval, llava_hf", given, questions, lapilli_answers(options.model, questions)))


if __name__ == "__main__":
    main()
