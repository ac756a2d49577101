"""Results that no run has made: clearly invented numbers, always the same ones, in the form of `report.schema`.

`python tests/report/fake_results.py FOLDER` writes them and their page, to look at.
"""

import base64
import io
import json
import math
import random
import sys
from pathlib import Path

from lapilli.core.statistics.proportion import wilson
from lapilli.data.scenes.draw import draw_scene
from lapilli.data.scenes.scene import Scene, sample_scene
from lapilli.report.quickstart.page import write_report
from lapilli.report.quickstart.schema import Results

ACCURACY = {
    "color": (0.31, 0.93, 0.18), "shape": (0.28, 0.90, 0.20), "counting": (0.24, 0.71, 0.29),
    "existence": (0.56, 0.95, 0.52), "position": (0.19, 0.78, 0.14), "spatial": (0.41, 0.66, 0.47),
    "reading": (0.07, 0.37, 0.08), "comparison": (0.48, 0.53, 0.51), "reasoning": (0.22, 0.48, 0.30),
}  # fmt: skip
ANSWERS = {
    "color": "blue", "shape": "circle", "counting": "2", "existence": "yes", "position": "center", "spatial": "no",
    "reading": "K", "comparison": "the circle", "reasoning": "2",
}  # fmt: skip
RECIPE = """stage: {stage}
model: run/joined
data:
  file: run/scenes/{stage}.json
  images: run/scenes/images
out: run/{stage}
seed: 7
epochs: 1.0
batch_size: 32
learning_rate: 0.001
schedule: cosine
"""


def fake_results() -> Results:
    rng = random.Random(7)
    scores = _scores(rng)
    return {
        "title": "Invented results, for looking at the page",
        "seed": 7, "seconds": 683.7, "finished": "2026-11-21 14:02",
        "command": "lapilli quickstart --out run --seed 7", "peak_memory_bytes": 1_734_000_000,
        "versions": {"lapilli": "0.1.0", "python": "3.11.7", "torch": "2.13.0", "transformers": "5.23.0"},
        "machine": {
            "processor": "Imaginary 9000", "accelerator": "", "cores": 2, "memory_bytes": 8_200_000_000,
            "system": "Linux 6.12 x86_64",
        },
        "patches": {"rows": 8, "columns": 8},
        "parts": [
            {"name": "pebble-vision", "role": "vision", "parameters": 1_034_112,
             "card": "# pebble-vision\n\nA small vision transformer, trained on scenes and their captions."},
            {"name": "projector", "role": "projector", "parameters": 41_216},
            {"name": "pebble-lm", "role": "language", "parameters": 2_731_904,
             "card": "# pebble-lm\n\nA small language model, trained on descriptions of scenes in words.",
             "head": 58_112},
        ],
        "stages": [_stage(rng, "align", 2.9, 0.83), _stage(rng, "instruct", 1.6, 0.09)],
        "scores": scores,
        "overall": overall(scores),
        "constants": _constants(rng),
        "captions": {
            "n": 200,
            "mentioned": wilson(489, 612).__dict__, "shuffled": wilson(208, 612).__dict__,
            "gain": {"estimate": 281 / 612, "low": 0.41, "high": 0.51},
            "examples": [
                {"image": picture(_scene(f"caption-{i}")), "truth": describe(_scene(f"caption-{i}")),
                 "caption": describe(_scene(f"caption-{i if i % 2 else i + 40}"))} for i in range(4)
            ],
        },
        "english": {
            "scores": [
                {"type": "instruction", "before": wilson(24, 50).__dict__, "after": wilson(22, 50).__dict__},
                {"type": "all scenes", "before": wilson(81, 360).__dict__, "after": wilson(203, 360).__dict__},
            ],
            "perplexity": [
                {"unit": "word", "before": {"value": 63.7, "low": 58.2, "high": 69.4, "n": 1850},
                 "after": {"value": 66.1, "low": 60.3, "high": 72.9, "n": 1850}},
            ],
        },
        "examples": [_example(rng, index) for index in range(12)],
        "steps": [
            {"name": "Draw the scenes", "seconds": 41.2}, {"name": "Join the parts", "seconds": 2.3},
            {"name": "Stage 1", "seconds": 151.8, "stage": "align"}, {"name": "Score stage 1", "seconds": 38.4},
            {"name": "Stage 2", "seconds": 372.6, "stage": "instruct"}, {"name": "Score stage 2", "seconds": 71.0},
            {"name": "Write the page", "seconds": 0.4},
        ],
        "next_commands": [
            {"command": 'lapilli ask run/instruct/model run/scenes/images/0.png "What color is the circle?"',
             "purpose": "Ask it something yourself"},
            {"command": "lapilli train recipes/instruct.yaml --set epochs=3 --set out=run/longer",
             "purpose": "Train the second stage for longer"},
            {"command": "lapilli data validate my-own.json --images my-pictures",
             "purpose": "Check instruction data of your own"},
        ],
    }  # fmt: skip


def picture(scene: Scene) -> str:
    file = io.BytesIO()
    draw_scene(scene)[0].save(file, "PNG")
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def describe(scene: Scene) -> str:
    return ", ".join(f"a {thing.size} {thing.color} {thing.shape} {thing.place}" for thing in scene.things)


def _scene(seed: str) -> Scene:
    return sample_scene(f"fake-{seed}")


def _stage(rng: random.Random, name: str, first: float, last: float) -> dict:
    steps, language = (420, name == "instruct") if name == "align" else (900, True)
    metrics = []
    for step in range(5, steps + 1, 5):
        done = step / steps
        noise = rng.gauss(0, 1)
        loss = last * (1 + 0.03 * noise) + (first - last) * math.exp(-6 * done) * (1 + 0.12 * noise)
        rate = 1e-3 * min(done / 0.03, 0.5 * (1 + math.cos(math.pi * done)))
        metrics.append({"step": step, "loss": round(abs(loss), 4), "learning_rate": rate})
    seconds = 151.8 if name == "align" else 372.6
    return {
        "name": name, "trains": ["projector", "language"] if language else ["projector"],
        "trainable_parameters": 2_831_232 if language else 41_216, "samples": 32 * steps, "steps": steps,
        "seconds": seconds, "samples_per_second": 32 * steps / seconds, "metrics": metrics,
        "recipe": RECIPE.format(stage=name), "row": _row(name),
    }  # fmt: skip


def _row(stage: str) -> dict:
    """A row of a caption, or of a question and its answer."""
    said = describe(_scene("row"))
    asked = [("template", "USER: "), ("question", "What do you see?"), ("template", " ASSISTANT:")]
    spoken = [("image", "[image 0: 8x8 patches]"), *(asked if stage == "instruct" else []), ("answer", said)]
    tokens = [{"text": text, "role": role, "learned": role == "answer"} for role, text in spoken]
    return {
        "image": picture(_scene("row")), "template": "vicuna_v1" if stage == "instruct" else "plain",
        "count": 63 + len(tokens), "learned": 1, "tokens": tokens,
    }  # fmt: skip


def _scores(rng: random.Random) -> list[dict]:
    rows = []
    for split, n, lost in (("held_out", 240, 1.0), ("compositional", 160, 0.9)):
        for type_, (early, late, blind) in ACCURACY.items():
            for stage, condition, share in (
                ("align", "image", early), ("align", "blank", 0.9 * blind), ("instruct", "image", lost * late),
                ("instruct", "blank", blind), ("instruct", "swapped", 0.95 * blind),
                ("instruct", "language_only", 0.97 * blind),
            ):  # fmt: skip
                correct = sum(rng.random() < share for _ in range(n))
                keys = {"stage": stage, "split": split, "condition": condition, "type": type_}
                rows.append({**keys, **wilson(correct, n).__dict__})
    return rows


def overall(scores: list[dict]) -> list[dict]:
    """The rows over all types, of questions that are each about a picture of their own."""
    groups: dict[tuple[str, ...], list[dict]] = {}
    for row in scores:
        groups.setdefault(tuple(row[key] for key in ("stage", "split", "condition")), []).append(row)
    return [
        {"stage": stage, "split": split, "condition": condition, "type": "all",
         **wilson(sum(row["correct"] for row in rows), sum(row["n"] for row in rows)).__dict__}
        for (stage, split, condition), rows in groups.items()
    ]  # fmt: skip


def _constants(rng: random.Random) -> list[dict]:
    return [
        {"split": split, "type": type_, "answer": ANSWERS[type_], "estimate": round(blind * rng.uniform(0.92, 1), 4),
         "n": n}
        for split, n in (("held_out", 240), ("compositional", 160))
        for type_, (_, _, blind) in ACCURACY.items()
    ]  # fmt: skip


def _example(rng: random.Random, index: int) -> dict:
    scene = _scene(f"example-{index}")
    thing = scene.things[0]
    asked = {
        "color": (f"What color is the {thing.size} {thing.shape} {thing.place}?", thing.color),
        "counting": ("How many things are there?", str(len(scene.things))),
        "position": (f"Where is the {thing.size} {thing.color} {thing.shape}?", thing.place),
    }  # fmt: skip
    type_ = list(asked)[index % 3]
    question, expected = asked[type_]
    right = index % 4 != 2
    answer = expected if right else rng.choice(["green", "4", "bottom-left"])
    return {
        "image": picture(scene), "question": question, "answer": answer, "expected": expected, "type": type_,
        "correct": answer == expected, "truth": describe(scene),
    }  # fmt: skip


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "results.json").write_text(json.dumps(fake_results(), indent=1))
    write_report(json.loads((folder / "results.json").read_text()), folder / "report.html")
