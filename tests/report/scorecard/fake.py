"""A scorecard that no run has made: clearly invented numbers, always the same ones for a seed.

`python tests/report/scorecard/fake.py FOLDER` writes some and their pages, to look at.
"""

import json
import math
import random
import sys
from itertools import combinations
from pathlib import Path

from tests.report.quickstart.fake_results import picture

from lapilli.data.scenes.scene import sample_scene
from lapilli.report.scorecard.page import write_page

OPERATORS = {
    "blur": "A Gaussian blur over the cell, its border softened.",
    "mean": "The mean color of the picture in place of the cell.",
    "drop": "The cell's token is taken out of what the language model reads; the others keep their places.",
    "cut": "No text token may read the cell's token.",
}
# name, family, quality (about the gap), seconds, forwards, backwards, own operator
METHODS = (
    ("random", "floor", 0.0, 2e-5, 0, 0, None),
    ("raster order", "floor", 0.01, 1e-5, 0, 0, None),
    ("centre", "floor", 0.07, 2e-5, 0, 0, None),
    ("edge density", "floor", 0.19, 6e-4, 0, 0, None),
    ("CLIP class attention", "floor", 0.12, 0.006, 0.3, 0, None),
    ("another picture's map", "floor", -0.03, 0.031, 1, 0, None),
    ("mean attention", "zero-pass", 0.14, 0.021, 1, 0, None),
    ("best layer attention", "zero-pass", 0.24, 0.021, 1, 0, None),
    ("relative attention", "zero-pass", 0.27, 0.042, 2, 0, None),
    ("rollout", "zero-pass", 0.05, 0.025, 1, 0, None),
    ("value-weighted attention", "zero-pass", 0.29, 0.023, 1, 0, None),
    ("direct", "zero-pass", 0.33, 0.022, 1, 0, None),
    ("head increases, top 10", "zero-pass", 0.36, 0.028, 1, 0, None),
    ("token activation map", "zero-pass", 0.22, 0.027, 1, 0, None),
    ("gradient × attention", "one-backward", 0.31, 0.058, 1, 1, None),
    ("relevance (T-MM)", "one-backward", 0.37, 0.066, 1, 1, None),
    ("input × gradient", "one-backward", 0.18, 0.055, 1, 1, None),
    ("LLaVA-CAM", "one-backward", 0.2, 0.056, 1, 1, None),
    ("all paths", "one-backward", 0.46, 0.061, 1, 1, None),
    ("attention LRP", "one-backward", 0.44, 0.064, 1, 1, None),
    ("integrated gradients, 32", "many-pass", 0.38, 1.84, 32, 32, "blur"),
    ("SmoothGrad, 50", "many-pass", 0.23, 2.7, 50, 50, None),
    ("occlusion", "many-pass", 0.53, 0.74, 37, 0, "blur"),
    ("RISE, 512", "many-pass", 0.49, 9.6, 512, 0, "mean"),
    ("KernelSHAP, 64", "many-pass", 0.41, 1.31, 64, 0, "mean"),
    ("read-knockout", "many-pass", 0.42, 0.31, 37, 0, "cut"),
    ("answer map, 8", "many-pass", 0.34, 0.33, 16, 0, "blur"),
    ("greedy, 36", "many-pass", 0.58, 26.4, 1332, 0, "blur"),
)
OURS = ("direct", "head increases, top 10", "all paths", "read-knockout")
INSERTION = {"blur": 0.5, "mean": 0.52, "drop": 0.44, "cut": 0.4}
METRICS = (
    ("gap", "LeRF − MoRF gap", "up", 0.0, "faithfulness", 1.0, 0.0),
    ("insertion", "Insertion", "up", INSERTION, "faithfulness", 0.45, 0.48),
    ("deletion", "Deletion", "down", 0.5, "faithfulness", -0.5, 0.5),
    ("early", "Deletion to 25\u202f%", "down", 0.8, "faithfulness", -0.5, 0.82),
    ("flip", "Flips beyond random", "up", 0.0, "faithfulness", 0.9, 0.0),
    ("calibration", "Rank correlation", "up", 0.0, "calibration", 1.2, 0.02),
    ("slope", "Slope", "one", None, "calibration", 1.6, 0.1),
    ("pointing", "Pointing", "up", 0.11, "plausibility", 1.0, 0.14),
    ("energy", "Energy in the mask", "up", 1.0, "plausibility", 3.6, 1.0),
    ("precision", "Average precision", "up", 0.14, "plausibility", 0.9, 0.16),
)
SANITY = (
    ("weights", "Spearman of the map with that of a model whose weights were shuffled from the top.", "low"),
    ("other word", "Spearman of the map with that of another word.", "low"),
    ("other question", "Spearman of the map with that of another question on the same picture.", "low"),
    ("mirror", "Spearman of the mirrored map with the map of the mirrored picture.", "high"),
    ("again", "Overlap of the top eighth of the cells of two runs with two seeds.", "high"),
)
GRID = (6, 6)
KEPT = 296
HALF = KEPT // 2


def fake_scorecard(seed: int = 0, model: str = "runs/quickstart/model", grid: tuple[int, int] = GRID) -> dict:
    """The whole form, every key of it."""
    rng = random.Random(seed)
    gaps = {op: {m[0]: _gap(rng, m, op) for m in METHODS} for op in OPERATORS}
    scores = [score for op in OPERATORS for score in _scores(rng, gaps[op], op, ("faithfulness", "calibration"))]
    scores += _scores(rng, gaps["blur"], None, ("plausibility",))
    tests = [test for op in OPERATORS for test in _tests(rng, gaps[op], op)]
    return {
        "model": model, "data": "runs/quickstart/data/held_out",
        "counts": {"asked": 600, "right": 552, "kept": KEPT},
        "settings": {
            "seed": seed, "points": 25, "primary": "blur", "share": 0.125, "sanity_n": 20, "cost_n": 5,
            "grid": list(grid),
            "target": "The sum of the log probabilities of the answer's tokens, teacher-forced.",
            "filter": "The answer is right, and blurring the whole picture costs more than 1 nat.",
            "operators": [{"name": name, "says": says} for name, says in OPERATORS.items()],
            "versions": {"lapilli": "0.5.0", "torch": "2.13.0", "transformers": "5.23.0", "python": "3.12.4"},
        },
        "methods": [_method(rng, row) for row in METHODS],
        "metrics": [
            {"name": name, "title": title, "says": f"What {title} says, in a sentence.", "better": better,
             "chance": chance, "block": block} for name, title, better, chance, block, *_ in METRICS
        ],
        "scores": scores, "tests": tests, "best": _best(gaps), "best_tests": _best_tests(tests, gaps),
        "losses": _losses(tests, gaps), "agreement": _agreement(gaps, scores),
        "sanity": [_sanity(rng, row, test) for row in METHODS for test in SANITY if row[0] != "random"],
        "sanity_tests": [{"name": name, "says": says, "good": good} for name, says, good in SANITY],
        "curves": {op: {name: _curves(gap) for name, gap in gaps[op].items()} for op in OPERATORS},
        "front": {op: _front(gaps[op]) for op in OPERATORS},
        "examples": [_example(rng, index, gaps["blur"], grid) for index in range(8)],
    }  # fmt: skip


def small_scorecard() -> dict:
    """The whole form with few methods and two operators: quickly drawn."""
    told = fake_scorecard()
    names = {"random", "direct", "all paths", "LLaVA-CAM", "occlusion", "greedy, 36"}
    operators = ("blur", "drop")
    for key in ("scores", "tests", "best", "best_tests", "losses", "sanity"):
        kept = [row for row in told[key] if row.get("operator") in (None, *operators)]
        told[key] = [row for row in kept if {row.get(k, "random") for k in ("method", "one", "other")} <= names]
    told["methods"] = [row for row in told["methods"] if row["name"] in names]
    told["settings"]["operators"] = [row for row in told["settings"]["operators"] if row["name"] in operators]
    told["agreement"] = [row for row in told["agreement"] if {row["one"], row["other"]}.isdisjoint(("mean", "cut"))]
    told["examples"] = told["examples"][:2]
    return told


def _gap(rng: random.Random, row: tuple, operator: str) -> float:
    own = 0.06 if row[6] == operator else 0.0
    spread = 0.02 if operator == "blur" else 0.06
    return (
        row[2] * (1.0 if operator in ("blur", "mean") else 0.8) + own + rng.gauss(0, spread * min(1, 0.2 + 3 * row[2]))
    )


def _method(rng: random.Random, row: tuple) -> dict:
    name, family, _, seconds, forwards, backwards, own = row
    seconds *= rng.uniform(0.95, 1.05)
    return {
        "name": name, "family": family, "says": f"What {name} takes for the weight of a cell, in one sentence.",
        "paper": "Invented & Imagined 2026, Proceedings of Nothing", "ours": name in OURS,
        "operators": [own] if own else [],
        "seconds": {"value": seconds, "low": seconds * 0.93, "high": seconds * 1.08, "n": 5},
        "forwards": float(forwards), "backwards": float(backwards),
        "memory": int(2e7 + 4e6 * math.log1p(forwards) + 9e7 * (backwards > 0)),
    }  # fmt: skip


def _score(method: str, operator: str | None, metric: str, value: float, half: float, n: int) -> dict:
    return {"method": method, "operator": operator, "metric": metric, "value": value,
            "low": value - half, "high": value + 1.06 * half, "n": n}  # fmt: skip


def _scores(rng: random.Random, gaps: dict, operator: str | None, blocks: tuple[str, ...]) -> list[dict]:
    found = []
    for name, _, _, _, block, times, plus in METRICS:
        for method, gap in gaps.items():
            if block in blocks:
                noise = 0.0 if name == "gap" else rng.gauss(0, 0.12 * abs(times) if block == "plausibility" else 0.02)
                value = plus + times * gap + noise
                found.append(_score(method, operator, name, value, 0.022 * max(1, abs(times)), KEPT))
    return found


def _tests(rng: random.Random, gaps: dict, operator: str) -> list[dict]:
    pairs = [(one, other) for one in OURS for other in gaps if other != one]
    pairs += [(one, "random") for one in gaps if one not in OURS and one != "random"]
    return [_test(rng, gaps, operator, one, other) for one, other in pairs]


def _test(rng: random.Random, gaps: dict, operator: str, one: str, other: str) -> dict:
    difference = gaps[one] - gaps[other]
    p = math.erfc(abs(difference) / 0.012 / math.sqrt(2))
    return {
        "operator": operator, "metric": "gap", "one": one, "other": other, "difference": difference,
        "low": difference - 0.0235, "high": difference + 0.0235, "p": p, "holm": min(1.0, 100 * p),
        "wins": min(0.99, max(0.01, 0.5 + difference + rng.gauss(0, 0.02))), "n": KEPT,
    }  # fmt: skip


def _losses(tests: list[dict], gaps: dict) -> list[dict]:
    """Of our best by gap under blur: whatever lies significantly above it."""
    return [
        {"operator": test["operator"], "ours": test["one"], "other": test["other"], "n": HALF,
         "difference": test["difference"], "low": test["low"], "high": test["high"], "holm": test["holm"]}
        for test in _best_tests(tests, gaps) if test["difference"] < 0 and test["holm"] < 0.05
    ]  # fmt: skip


def _best(gaps: dict) -> list[dict]:
    """The same of ours under every operator."""
    best = max(OURS, key=gaps["blur"].__getitem__)
    return [
        {"operator": operator, "method": best, "chosen_on": KEPT - HALF, "value": found[best],
         "low": found[best] - 0.03, "high": found[best] + 0.03, "n": HALF}
        for operator, found in gaps.items()
    ]  # fmt: skip


def _best_tests(tests: list[dict], gaps: dict) -> list[dict]:
    best = max(OURS, key=gaps["blur"].__getitem__)
    return [test | {"n": HALF} for test in tests if test["one"] == best and test["other"] not in OURS]


def _agreement(gaps: dict, scores: list[dict]) -> list[dict]:
    found = [(one, other, tau(gaps[one], gaps[other])) for one, other in combinations(OPERATORS, 2)]
    for metric in ("pointing", "energy", "precision"):
        plausible = {score["method"]: score["value"] for score in scores if score["metric"] == metric}
        found.append(("gap, blur", metric, tau(gaps["blur"], plausible)))
    return [
        {"one": one, "other": other, "tau": value, "low": max(-1.0, value - 0.11), "high": min(1.0, value + 0.09),
         "n": len(METHODS)}
        for one, other, value in found
    ]  # fmt: skip


def tau(one: dict, other: dict) -> float:
    """Kendall's tau of two rankings without ties."""
    signs = [math.copysign(1, (one[a] - one[b]) * (other[a] - other[b])) for a, b in combinations(one, 2)]
    return sum(signs) / len(signs)


def _sanity(rng: random.Random, row: tuple, test: tuple) -> dict:
    blind = row[1] == "floor" or row[0] in ("mean attention", "rollout")
    good = min(0.97, max(-0.1, (0.15 if blind else 0.55 + 0.7 * row[2]) + rng.gauss(0, 0.09)))
    value = good if test[2] == "high" else min(1.0, 1 - good)
    return {
        "method": row[0],
        "test": test[0],
        "value": value,
        "low": max(-1.0, value - 0.08),
        "high": min(1.0, value + 0.07),
        "n": 20,
    }


def _curves(gap: float) -> dict:
    """Two falling curves with about this area between them."""
    steps = [index / 24 for index in range(25)]
    bend = math.exp(2.2 * gap)
    return {
        "morf": [round((1 - f) ** bend, 4) for f in steps],
        "lerf": [round((1 - f) ** (1 / bend), 4) for f in steps],
    }


def _front(gaps: dict) -> list[str]:
    found, best = [], -math.inf
    for row in sorted(METHODS, key=lambda row: row[3]):
        if gaps[row[0]] > best:
            best = gaps[row[0]]
            found.append(row[0])
    return found


def _example(rng: random.Random, index: int, gaps: dict, grid: tuple[int, int]) -> dict:
    scene = sample_scene(f"fake-scorecard-{index}")
    at = (rng.uniform(0.2, 0.8) * grid[0], rng.uniform(0.2, 0.8) * grid[1])
    return {
        "id": f"scene-{index:04d}", "question": "What color is the small shape?", "answer": scene.things[0].color,
        "word": scene.things[0].color, "picture": picture(scene),
        "why": f"{('best', 'worst', 'typical', 'widest disagreement')[index // 2]} of all paths",
        "maps": {name: _map(rng, gap, at, grid) for name, gap in gaps.items()},
        "gaps": {name: gap + rng.gauss(0, 0.1) for name, gap in gaps.items()},
    }  # fmt: skip


def _map(rng: random.Random, gap: float, at: tuple[float, float], grid: tuple[int, int]) -> list[float]:
    wide = grid[0] / 6
    size = 10 ** rng.uniform(-3, 2)
    found = []
    for row in range(grid[0]):
        for col in range(grid[1]):
            near = math.exp(-((row - at[0]) ** 2 + (col - at[1]) ** 2) / (2 * wide**2))
            found.append(size * (gap * 2 * near + rng.gauss(0, 0.12)))
    return found


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    first, second = fake_scorecard(), fake_scorecard(1, "liuhaotian/llava-v1.5-7b", (24, 24))
    (folder / "scorecard.json").write_text(json.dumps(first))
    write_page(first, folder / "one.html")
    write_page([first, second], folder / "two.html")
    write_page(second, folder / "large.html")
    write_page(
        {"model": "m", "data": "d", "methods": first["methods"][:9], "scores": first["scores"]}, folder / "bare.html"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
