"""What these scripts share: the questions, lapilli's answers to them, and how a client's are held to those.

A client runs in an environment of its own, as a child process: `children/NAME.py REQUEST ANSWERS`, two JSON files.

    REQUEST    {"model", "tokens", "questions": [{"image", "question"}], ..}: a folder, the most new tokens, paths
    ANSWERS    {"versions": {name: version}, "answers": [..]}

Nothing of a client is imported here, and nothing of lapilli there.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path
from typing import Any

from PIL import Image

from lapilli.data.questions import read_picture_questions
from lapilli.data.sample import Sample, Turn
from lapilli.inference.answer import answer
from lapilli.model.llava import load

PICTURES = 20
TOKENS = 32
LONG = "Tell me everything that is in the picture."  # of many words: one wrong logit on the way and the rest differs
KINDS = {"short": 0, "mixed": 2, "long": 1}  # every so many-th question is the long one
CHILDREN = Path(__file__).parent / "children"
LAPILLI = "from lapilli.cli import main; main()"  # the command line of this environment


@dataclass(frozen=True)
class Question:
    """A question about the picture of a path."""

    image: str
    question: str


@dataclass(frozen=True)
class Answers:
    """What a client answered, in the order of the questions, and the versions of what answered."""

    versions: dict[str, str]
    answers: list[str]


def arguments(doc: str | None, questions: str = "short") -> argparse.ArgumentParser:
    """The arguments that every script takes."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a LLaVA's folder, as lapilli saves it")
    parser.add_argument("data", type=Path, help="a folder with questions.jsonl, such as the quickstart's data/held_out")
    parser.add_argument("--python", default=sys.executable, help="the Python of the client's environment")
    parser.add_argument("--questions", choices=KINDS, default=questions, help=f"long is {LONG!r}")
    return parser


def read_questions(data: Path, kind: str) -> list[Question]:
    """One question about each of the first 20 pictures, of a type drawn with a fixed seed."""
    rng, every, chosen = random.Random(0), KINDS[kind], []
    for at, (image, about) in enumerate(groupby(read_picture_questions(data), attrgetter("image"))):
        drawn = rng.choice([*about]).question
        is_long = every > 0 and at % every == every - 1
        chosen.append(Question(str((data / "images" / image).resolve()), LONG if is_long else drawn))
    if len(chosen) < PICTURES:
        sys.exit(f"{data}: {len(chosen)} pictures; a comparison takes {PICTURES}")
    return chosen[:PICTURES]


def lapilli_answers(model: Path, questions: Sequence[Question]) -> list[str]:
    """What `lapilli ask` answers to each."""
    samples = [
        Sample(str(at), (one.image,), (Turn("user", f"<image>\n{one.question}"),)) for at, one in enumerate(questions)
    ]
    return [one.text for one in answer(load(model), samples, Image.open, TOKENS, batch_size=1)]


def client_answers(
    name: str, python: str, model: Path, questions: Sequence[Question], path: Path | None = None, **more: Any
) -> Answers:
    """What a client answers: `children/NAME.py`, run by another Python; `path` is where that looks for modules."""
    request = {"model": str(model.resolve()), "tokens": TOKENS, "questions": [asdict(one) for one in questions], **more}
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(path.resolve()) if path else ""}
    with tempfile.TemporaryDirectory() as folder:
        asked, answered = Path(folder) / "request.json", Path(folder) / "answers.json"
        asked.write_text(json.dumps(request))
        command: list[str | Path] = [python, CHILDREN / f"{name}.py", asked, answered]
        subprocess.run(command, check=True, stdout=sys.stderr, env=environment)
        return Answers(**json.loads(answered.read_text()))


def run_lapilli(*words: str | Path) -> None:
    """Run a command of lapilli's, in a process of its own."""
    subprocess.run([sys.executable, "-c", LAPILLI, *words], check=True, stdout=sys.stderr)


def compared(client: str, given: Answers, questions: Sequence[Question], right: Sequence[str]) -> dict[str, Any]:
    """How many of a client's answers are lapilli's, but for spaces around them, and those that are not."""
    answers = [text.strip() for text in given.answers]
    differing = [
        {**asdict(question), "lapilli": ours, "client": theirs}
        for question, ours, theirs in zip(questions, right, answers, strict=True)
        if ours != theirs
    ]
    same = len(questions) - len(differing)
    return {
        "client": client, "versions": given.versions, "n": len(questions), "same": same, "differing": differing,
    }  # fmt: skip


def finish(row: dict[str, Any]) -> None:
    """Print the comparison; the exit code says whether all answers are the same."""
    print(json.dumps(row, indent=1))
    sys.exit(row["same"] != row["n"])
