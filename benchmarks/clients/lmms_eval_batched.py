"""lapilli's batched model handed to lmms-eval's `simple_evaluate`: its answers against those of `lapilli eval`.

    python benchmarks/clients/lmms_eval_batched.py MODEL DATA --python LMMS_EVAL/bin/python

The environment is requirements/lmms-eval.txt; lapilli is read from this checkout. The task is lmms-eval's own POPE,
with its reading of answers and its figures, on the first 60 questions of DATA that are answered by yes or no, as they
stand: its own data are on the hub.
"""

from pathlib import Path

from compare import TOKENS, Question, arguments, client_answers, compared, finish
from PIL import Image

from lapilli.data.questions import read_picture_questions
from lapilli.data.sample import Sample, Turn
from lapilli.inference.answer import answerer

COUNT = 60
SOURCE = Path(__file__).parents[2] / "src"


def main() -> None:
    """Parse, ask both, compare."""
    options = arguments(__doc__).parse_args()
    rows = [row for row in read_picture_questions(options.data) if row.answer in ("yes", "no")][:COUNT]
    questions = [Question(str((options.data / "images" / row.image).resolve()), row.question) for row in rows]
    expected = [row.answer for row in rows]
    given = client_answers(
        "lmms_eval_batched", options.python, options.model, questions, path=SOURCE, expected=expected
    )
    samples = [
        Sample(str(at), (one.image,), (Turn("user", f"<image>\n{one.question}"),)) for at, one in enumerate(questions)
    ]
    right = answerer(options.model, TOKENS)(samples, Image.open)
    finish(compared("lmms-eval, lapilli's batches", given, questions, right))


if __name__ == "__main__":
    main()
