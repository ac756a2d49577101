"""An explanation that no model has made: invented numbers, always the same ones, that keep every promise.

`python tests/report/explanation/fake_bundle.py FOLDER [PHOTOGRAPH]` writes one with its page, to look at.
"""

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from lapilli.report.explanation.page import write_page

SOURCES = ["image", "question", "template", "answer so far", "own embedding", "MLPs", "biases"]
PATHS = ["image", "question", "template", "answer so far", "biases"]
ROUTES = ["image → question", "image → template", "image → last", "question → last"]
WORDS = ("A", "man", "is", "ironing", "clothes", "on", "a", "board", "on", "the", "back", "of", "a", "moving", "taxi",
         ",", "naïve", "日本", "<b>🙂", "unbelievable")  # fmt: skip
SAYS = [" taxi", " man", " yellow", " shirt", " car", " street", " wheel", " building", "<img src=x onerror=alert(1)>",
        "</script>", " 日本", " iron", "\n", " cloth", " window", " sign"]  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """What kind of explanation to invent."""

    words: tuple[str, ...] = WORDS
    rows: int = 24
    layers: int = 24
    heads: int = 16
    size: tuple[int, int] = (570, 380)
    fit: str = "cropped"
    side: int = 336
    verdict: str = "visual"


SMALL = Plan(
    words=("red", "circle"), rows=6, layers=5, heads=4, size=(96, 96), fit="nothing", side=96, verdict="overall color"
)
HOSTILE = Plan(
    words=("</script><script>alert(1)</script>", "<img src=x onerror=alert(2)>", "<!--", "&amp;", "\u202eevil")
)


def affine(plan):
    """From the view to the picture: the middle square is cut out, or the picture is padded to a square."""
    width, height = plan.size
    if plan.fit == "nothing":
        return [width / plan.side, 0, 0, height / plan.side, 0, 0]
    square = min(plan.size) if plan.fit == "cropped" else max(plan.size)
    scale = square / plan.side
    return [scale, 0, 0, scale, (width - square) / 2, (height - square) / 2]


def hidden(plan):
    return 1 - min(plan.size) / max(plan.size) if plan.fit == "cropped" else 0


def blobs(rng, rows, count):
    """A smooth signed map of a few spots."""
    y, x = np.mgrid[0:rows, 0:rows] / rows
    made = rng.normal(0, 0.01, (rows, rows))
    for _ in range(count):
        (cy, cx), wide = rng.uniform(0.15, 0.85, 2), rng.uniform(0.04, 0.13)
        made += (
            rng.choice([1, 1, -0.6]) * rng.uniform(0.3, 1) * np.exp(-((y - cy) ** 2 + (x - cx) ** 2) / (2 * wide**2))
        )
    return made.ravel()


def to_sum(parts, sums):
    """The parts, moved alike along the last axis until they add up to `sums`."""
    return parts + ((sums - parts.sum(-1)) / parts.shape[-1])[..., None]


def scaled(parts, sums):
    """The parts, all times one number, so that they add up to `sums`."""
    return parts * (sums / np.where(abs(parts.sum(-1)) < 1e-3, 1e-3, parts.sum(-1)))[..., None]


def make_arrays(plan, tokens):
    rng = np.random.default_rng(0)
    layers, heads = plan.layers, plan.heads
    sources = rng.normal(0, 1, (tokens, 7)) * [0.5, 1.2, 0.4, 1.0, 0.3, 2.5, 0.2] + [0.6, 1.0, 0.3, 1, 0.2, 3, 0.1]
    values = sources.sum(-1)
    paths = rng.normal(0, 1, (tokens, 5)) * [1.5, 1, 0.3, 0.8, 0.2] + [3, 1, 0, 0.5, 0]
    paths[:, 1] += values - paths.sum(-1)
    spots = np.stack([np.stack([blobs(rng, plan.rows, 4) for _ in range(3)]) for _ in range(tokens)])
    far = spots[:, 1] + 0.5 * spots[:, 0]
    strength = np.exp(rng.normal(0, 1.4, (tokens, layers, heads))) * np.linspace(0.2, 1.6, layers)[None, :, None]
    written = strength * rng.choice([-1, 1, 1], strength.shape) * 0.05
    seen = written * rng.uniform(0, 0.6, written.shape)
    attention, mlps = written.sum(-1), rng.normal(0.08, 0.3, (tokens, layers))
    alternatives = rng.normal(0, 0.5, (tokens, 3, 7)) + 0.7 * sources[:, None]
    other = np.stack([np.stack([blobs(rng, plan.rows, 3) for _ in range(3)]) for _ in range(tokens)])
    bend = np.sin(np.linspace(0, 3.1, 9)) ** 2
    cuts = -np.array([1.9, 0.25, 0.5, 1.2])[None, :, None] * bend * rng.uniform(0.2, 1.4, (tokens, 4, 1))
    whole = np.concatenate([cuts.sum(-1) / 3, cuts.sum((1, 2), keepdims=True)[:, 0] / 4], 1)
    made = {
        "sources": sources, "image_patches": scaled(spots[:, 0], sources[:, 0]),
        "layers": np.stack([attention, mlps], 1), "heads": written, "heads_image": seen,
        "heads_log_prob_increase": written * 0.7, "layers_log_prob_increase": np.stack([attention, mlps], 1) * 0.7,
        "stream_lengths": np.linspace(0.05, 1, layers + 1) ** 2 * np.ones((tokens, 1)),
        "all_paths_sources": paths, "all_paths_patches": scaled(far, paths[:, 0]),
        "all_paths_pixels": scaled(far + 0.3 * spots[:, 2], 0.8 * paths[:, 0]),
        "all_paths_vision_biases": 0.2 * paths[:, 0],
        "alternatives_patches": scaled(other, alternatives[..., 0]), "alternatives_sources": alternatives,
        "routes": cuts, "routes_whole": whole,
    }  # fmt: skip
    lens = make_lens(rng, plan)
    return {name: np.ascontiguousarray(array, np.float32) for name, array in made.items()} | lens


def make_lens(rng, plan):
    ids = rng.integers(0, len(SAYS), (plan.layers + 1, plan.rows**2, 5)).astype(np.int32)
    field = (np.arange(plan.rows**2) % plan.rows // 5 + np.arange(plan.rows**2) // plan.rows // 6 * 3) % len(SAYS)
    ids[plan.layers // 3 :, :, 0] = field
    sure = np.linspace(0.02, 0.8, plan.layers + 1)[:, None] * rng.uniform(0.5, 1, (1, plan.rows**2))
    probs = sure[..., None] * np.array([1, 0.3, 0.12, 0.06, 0.03])
    return {"lens_ids": ids, "lens_probs": probs.astype(np.float16)}


def make_tokens(plan):
    """The answer's tokens, the last word in two, and a stop token that belongs to no word."""
    texts = [" " + word for word in plan.words[:-1]]
    half = (len(plan.words[-1]) + 1) // 2
    tokens = [*texts, " " + plan.words[-1][:half], plan.words[-1][half:], "</s>"]
    words = [{"text": word, "tokens": [at, at + 1]} for at, word in enumerate(plan.words[:-1])]
    return tokens, [*words, {"text": plan.words[-1], "tokens": [len(texts), len(texts) + 2]}]


def make_receipts(focus):
    controls = {"kind": "random", "changes": [-0.11, 0.2, -0.3, 0.05, -0.02, 0.14, -0.22, 0.31, -0.05, 0.09]}
    shuffled = {"kind": "Shuffled map", "patches": [0, 7], "change": -0.2, "verdict": "not-confirmed", "chance": 1 / 21}
    told = {"answer_before": WORDS[focus], "answer_after": "parked", "change": -2.84}
    patches = [*range(101, 105), *range(125, 129), *range(149, 153)]
    shared = {"word": focus, "done": {"kind": "mean", "patches": patches}, "seed": 0, "seconds": 1.8,
              "rule": "beyond all controls and ≥ half of predicted", "map": "direct",
              "shuffled": shuffled, "claim": "12 outlined patches carry +2.61 of the target’s +4.05",
              "command": ["lapilli", "explain", "runs/mine", "--remove", "101-104,125-128", "--seed", "0"]}  # fmt: skip
    return [
        shared | {"id": "7f3a", "predicted": -2.61, "measured": told, "verdict": "confirmed",
                  "controls": controls | {"contiguous": [-0.6, -0.9, 0.1, -0.4], "answers_changed": 0}},
        shared | {"id": "81bc", "predicted": -2.61, "measured": told | {"change": 0.4, "answer_after": WORDS[focus]},
                  "verdict": "opposite", "controls": controls, "map": "all paths"},
        shared | {"id": "9d00", "predicted": None, "measured": told, "verdict": "confirmed",
                  "controls": {"kind": "random", "changes": []}, "word": 0},
    ]  # fmt: skip


def make_explanation(plan, arrays, tokens, words):
    focus = min(13, len(words) - 1)
    values = arrays["sources"].astype(np.float64).sum(-1)
    answered = [
        {"id": 1000 + at, "text": text, "logit": 14.2, "prob": 0.83, "rank": 0, "value": float(values[at]),
         "source": "stop" if text == "</s>" else "answer",
         "top": [{"id": 1000 + at, "text": text, "prob": 0.83}, {"id": 7, "text": " cab", "prob": 0.08},
                 {"id": 8, "text": " car", "prob": 0.04}, {"id": 9, "text": "\n", "prob": 0.004}]}
        for at, text in enumerate(tokens)
    ]  # fmt: skip
    patches = plan.rows**2
    return {
        "schema": "lapilli.explanation/2", "id": "fake-1", "created": "2026-11-20T14:02:00Z",
        "made_by": {"version": "0.5", "command": ["lapilli", "explain", "runs/mine", "picture.png"], "seed": 0,
                    "device": "cpu", "dtype": "float32", "seconds": 41.5},
        "model": {"name": "pebble-llava", "layers": plan.layers, "heads": plan.heads},
        "image": {"file": "image.png", "sha256": "0" * 64, "size": list(plan.size),
                  "view": {"file": "view.png", "size": [plan.side, plan.side], "to_image": affine(plan),
                           "lost": plan.fit, "hidden": hidden(plan)},
                  "grid": {"rows": plan.rows, "cols": plan.rows, "sinks": [5, patches // 2],
                           "registers": [patches - 4]}},
        "prompt": {"text": "USER: <image>\nWhat is unusual about this image? ASSISTANT:",
                   "tokens": [{"id": 1, "text": "USER:", "source": "template", "position": 0},
                              {"id": 2, "text": " What is unusual", "source": "question", "position": patches + 1},
                              {"id": 3, "text": " about this image?", "source": "question", "position": patches + 2},
                              {"id": 4, "text": " ASSISTANT:", "source": "template", "position": patches + 3}],
                   "image_span": [1, patches + 1], "ids": [1, *[0] * patches, 2, 3, 4]},
        "answer": {"text": " ".join(plan.words), "tokens": answered, "words": words, "focus": focus},
        "method": {"name": "direct logit attribution and relevance along all paths", "unit": "logit",
                   "target": {"kind": "centred"}, "sources": SOURCES, "all_paths_sources": PATHS,
                   "rule": "attention held fixed, norms held fixed, MLPs shared by ratio", "frozen_norm": True,
                   "doubtful_from": {"direct": 1.01, "pixels": 1000.0}},
        "arrays": {name: {"file": "arrays.safetensors", "axes": ["token"], "unit": "logit", "exact": True}
                   for name in arrays},
        "vocabulary": {str(at): text for at, text in enumerate(SAYS)},
        "checks": [{"name": "direct: sum of sources = logit", "value": 2.1e-7, "tolerance": 1e-4, "passed": True},
                   {"name": "all paths: sum = logit", "value": 1.4e-6, "tolerance": 1e-4, "passed": True}],
        "routes": {"names": ROUTES, "windows": [[at * 2, at * 2 + 6] for at in range(9)], "window": 6},
        "dependence": {"verdict": plan.verdict, "rule": "log-probability falls by 0.5 or more when blurred",
                       "answer_blurred": "A man is standing in a room", "answer_blank": "Nothing",
                       "log_prob": {"full": -0.11, "blurred": -3.42, "blank": -4.05, "swapped": -2.25},
                       "swapped": {"log_prob": [-2.25, -0.2, -9, -1.5, -3], "same": 2}},
        "receipts": make_receipts(focus) if plan.rows == 24 else [],
    }  # fmt: skip


def make_bundle(plan=Plan()):
    """The description and the arrays."""
    tokens, words = make_tokens(plan)
    arrays = make_arrays(plan, len(tokens))
    return make_explanation(plan, arrays, tokens, words), arrays


def write_pictures(folder, plan, picture):
    """The picture, and the view that the affine map says was cut from it."""
    scale, _, _, _, left, top = affine(plan)
    reach = scale * plan.side
    box = (left, top, left + reach, top + reach) if plan.fit != "nothing" else (0, 0, *plan.size)
    picture.save(folder / "image.png")
    picture.transform((plan.side, plan.side), Image.Transform.EXTENT, box, fillcolor=(127, 127, 127)).save(
        folder / "view.png"
    )


def write_bundle(folder, plan=Plan(), explanation=None, arrays=None, picture=None):
    """Write a whole folder; what is not given is invented."""
    folder.mkdir(parents=True, exist_ok=True)
    made = make_bundle(plan)
    explanation, arrays = explanation or made[0], arrays or made[1]
    write_pictures(folder, plan, picture or Image.linear_gradient("L").resize(plan.size).convert("RGB"))
    explanation["image"]["sha256"] = hashlib.sha256((folder / "image.png").read_bytes()).hexdigest()
    save_file(arrays, folder / "arrays.safetensors")
    (folder / "explanation.json").write_text(json.dumps(explanation, ensure_ascii=False), encoding="utf-8")
    return folder


if __name__ == "__main__":
    photograph = Image.open(sys.argv[2]).convert("RGB")
    fit = sys.argv[3] if len(sys.argv) > 3 else "cropped"
    verdict = sys.argv[4] if len(sys.argv) > 4 else "visual"
    wanted = Plan(size=photograph.size, fit=fit, verdict=verdict)
    print(write_page(write_bundle(Path(sys.argv[1]), wanted, picture=photograph)))
