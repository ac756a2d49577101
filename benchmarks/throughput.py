"""How many questions a second `lapilli eval` answers, against a loop of transformers' `pipeline` on the same model.

    python benchmarks/throughput.py MODEL DATA [--questions 20] [--blocks 4] [--tokens 32]

MODEL and DATA are the quickstart's `runs/quickstart/model` and `runs/quickstart/data/held_out`, or any others. The
questions are those of `lapilli eval scenes`: the first --questions of each type, each with its picture. They are cut
into blocks, each with all about some of the pictures, and each block is asked twice, one after the other in this
process and with as many threads: as `lapilli eval --out` does it, with every answer on the disk, and by one call of
`pipeline("image-text-to-text")` for each question. Which comes first alternates. Loading is not counted.

Prints JSON: seconds of both and their ratio, also of processor time, which a machine that others use spoils less, with
the least and the largest ratio of a block; and the answers that differ, with `margin`, the difference of the logits of
the two likeliest tokens where they part. The exit code is 1 where one of these is not below 1e-4: that is no tie, which
rounding may break.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
import transformers
from PIL import Image

from lapilli.core.run import RunDir
from lapilli.data.pictures import open_picture
from lapilli.data.sample import Sample, Turn
from lapilli.evaluation.answer_log import AnswerLog
from lapilli.evaluation.asking import ask
from lapilli.evaluation.scenes import BENCHMARK, SceneQuestion
from lapilli.inference.answer import Answer, answer, answerer_of
from lapilli.model.llava import Llava, load

TIE = 1e-4  # of logits

Asked: TypeAlias = Callable[[Sequence[SceneQuestion]], list[str]]


@dataclass(frozen=True)
class Spent:
    """Seconds on the clock, and of the processor's cores."""

    seconds: float
    processor_seconds: float

    @classmethod
    def now(cls) -> "Spent":
        """The clocks as they stand."""
        return cls(time.perf_counter(), time.process_time())

    def __sub__(self, other: "Spent") -> "Spent":
        return Spent(self.seconds - other.seconds, self.processor_seconds - other.processor_seconds)


def main() -> None:
    """Ask both, compare, print."""
    options = _options()
    llava, pipe = load(options.model), transformers.pipeline("image-text-to-text", str(options.model), device="cpu")
    questions = BENCHMARK.read(options.data, "held_out", options.questions)
    pictures = list(dict.fromkeys(question.image for question in questions))
    blocks = [
        [question for question in questions if pictures.index(question.image) % options.blocks == at]
        for at in range(options.blocks)
    ]
    ways = {"eval": _evaluated(llava, options), "pipeline": _one_by_one(pipe, options)}
    for way in ways.values():
        way(questions[:2])  # what the first call makes ready
    timed = [_timed(ways, block, list(ways)[:: 1 if at % 2 else -1]) for at, block in enumerate(blocks)]
    differing = [
        _parted(llava, options, question, ours, theirs)
        for block, (answers, _) in zip(blocks, timed, strict=True)
        for question, ours, theirs in zip(block, *(answers[name] for name in ways), strict=True)
        if ours != theirs
    ]
    print(json.dumps(_figures([spent for _, spent in timed], len(questions), differing), indent=1))
    sys.exit(any(one["margin"] >= TIE for one in differing))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--questions", type=int, default=20, help="of each of the types")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=BENCHMARK.answer_tokens, help="the longest answer")
    return parser.parse_args()


def _evaluated(llava: Llava, options: argparse.Namespace) -> Asked:
    """As `lapilli eval` asks: through the log of answers, in a run folder."""

    def asked(questions: Sequence[SceneQuestion]) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            log = AnswerLog(RunDir.create(Path(folder) / "run", {}, 0), lambda *_: None)
            answered = log.answerer(answerer_of(llava, options.tokens), ("scenes", "held_out", "image"))
            return [one.answer for one in ask(BENCHMARK, questions, options.data, "image", answered)]

    return asked


def _one_by_one(pipe: Any, options: argparse.Namespace) -> Asked:
    """As a loop over transformers' pipeline: a call for each question."""

    def asked(questions: Sequence[SceneQuestion]) -> list[str]:
        return [_said(pipe, options, question) for question in questions]

    return asked


def _said(pipe: Any, options: argparse.Namespace, question: SceneQuestion) -> str:
    content = [
        {"type": "image", "path": str(options.data / "images" / question.image)},
        {"type": "text", "text": question.question},
    ]
    settings = {"max_new_tokens": options.tokens, "do_sample": False}
    (row,) = pipe(text=[{"role": "user", "content": content}], generate_kwargs=settings, return_full_text=False)
    return str(row["generated_text"]).strip()


def _timed(
    ways: dict[str, Asked], block: Sequence[SceneQuestion], order: Sequence[str]
) -> tuple[dict[str, list[str]], dict[str, Spent]]:
    """The answers of each way, and what they took; the ways are taken in this order."""
    answers, spent = {}, {}
    for name in order:
        began = Spent.now()
        answers[name] = ways[name](block)
        spent[name] = Spent.now() - began
    return answers, spent


def _parted(
    llava: Llava, options: argparse.Namespace, question: SceneQuestion, ours: str, theirs: str
) -> dict[str, Any]:
    """A question whose answers differ, with the margin where they part: of the two likeliest tokens, asked alone."""
    sample = Sample(question.id, (question.image,), (Turn("user", f"<image>\n{question.question}"),))
    (alone,) = answer(llava, [sample], options.data / "images", options.tokens)
    tokenizer: Any = llava.processor.tokenizer
    other = tokenizer.encode(theirs if alone.text == ours else ours, add_special_tokens=False)
    margins = _margins(llava, alone, open_picture(options.data / "images", question.image))
    same = [one == two for one, two in zip(alone.generated, other, strict=False)]
    at = same.index(False) if False in same else len(same)
    return {"id": question.id, "eval": ours, "pipeline": theirs, "margin": margins[min(at, len(margins) - 1)]}


def _margins(llava: Llava, alone: Answer, picture: Image.Image) -> list[float]:
    """The difference of the two largest logits before each generated token of an answer."""
    ids = torch.tensor(alone.ids)[None]
    with torch.inference_mode():
        logits = llava.model(input_ids=ids, pixel_values=llava.pixels([picture])).logits[0].float()
    best = logits[-len(alone.generated) - 1 : -1].topk(2).values
    margins: list[float] = (best[:, 0] - best[:, 1]).tolist()
    return margins


def _figures(spent: Sequence[dict[str, Spent]], count: int, differing: Sequence[Any]) -> dict[str, Any]:
    """All times, their ratios, and the answers that differ."""
    found: dict[str, Any] = {"n": count, "threads": torch.get_num_threads()}
    found["versions"] = {"torch": torch.__version__, "transformers": transformers.__version__}
    for kind in ("seconds", "processor_seconds"):
        total = {name: sum(getattr(one[name], kind) for one in spent) for name in spent[0]}
        ratios = [getattr(one["pipeline"], kind) / getattr(one["eval"], kind) for one in spent]
        of = {"ratio": total["pipeline"] / total["eval"], "of_blocks": [min(ratios), max(ratios)]}
        found[kind] = total | of
    return found | {"differing": differing}


if __name__ == "__main__":
    main()
