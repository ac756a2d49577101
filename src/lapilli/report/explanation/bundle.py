"""Reading an explanation's folder, and checking it against its schema and its sums."""

import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from lapilli.core import spelling
from lapilli.core.errors import LapilliError
from lapilli.core.read import MissingFileError, read_json

DESCRIPTION = "explanation.json"
ARRAYS = "arrays.safetensors"
SCHEMA = "lapilli.explanation/2"
"""The schema of explanation.json. The verdicts of /1 were against controls without the named patches."""

_TOLERANCE = 1e-3  # of the sum of the parts' sizes: single precision and the rounding of a long chain, with room
_LARGEST_TOLERANCE = 0.1  # whatever the checks allow
_AGAIN = "explain the answer again"

Explanation = dict[str, Any]
Arrays = Mapping[str, np.ndarray]

_SHAPES = {
    "sources": "TS", "image_patches": "TP", "layers": "T2L", "heads": "TLH", "heads_image": "TLH",
    "heads_log_prob_increase": "TLH", "layers_log_prob_increase": "T2L", "stream_lengths": "TD",
    "all_paths_sources": "TA", "all_paths_patches": "TP", "all_paths_pixels": "TP", "all_paths_vision_biases": "T",
    "alternatives_patches": "TCP", "alternatives_sources": "TCS",
    "lens_ids": "DPK", "lens_probs": "DPK", "routes": "TRW", "routes_whole": "TQ",
}  # fmt: skip
_KINDS = {"lens_ids": np.int32, "lens_probs": np.float16}
_NEEDED = ("sources", "image_patches", "layers", "heads")
_TOGETHER = (
    ("lens_ids", "lens_probs"),
    ("alternatives_patches", "alternatives_sources"),
    ("all_paths_sources", "all_paths_patches"),
)


def read(folder: Path) -> tuple[Explanation, dict[str, np.ndarray]]:
    """Read the description and the arrays of an explanation, unchecked.

    Raises LapilliError when a file is missing or cannot be read.
    """
    return _description(folder / DESCRIPTION), _arrays(folder / ARRAYS)


def check(explanation: Explanation, arrays: Arrays, where: str = DESCRIPTION) -> None:
    """Raise LapilliError unless the description fits the schema, the arrays fit it, and every sum holds.

    The sums: a token's sources add up to its value, also along all paths; its patches to its source "image"; the heads
    of a layer to the output of the layer's attention. The tolerance of a sum is that of the checks, which is larger for
    a model in half precision. `where` names the folder in messages.
    """
    _check_schema(explanation, where)
    _check_geometry(explanation, where)
    _check_words(explanation, where)
    _check_shapes(explanation, arrays, where)
    _check_numbers(arrays, where)
    tolerance = _tolerance(explanation)
    for name, parts, sums in _sums(explanation, arrays):
        _check_sum(name, parts, sums, tolerance, where)


@cache
def schema() -> dict[str, Any]:
    """The JSON Schema of explanation.json."""
    content: dict[str, Any] = json.loads(files(__package__).joinpath("schema.json").read_text(encoding="utf-8"))
    return content


def _description(path: Path) -> Explanation:
    try:
        content = read_json(path, _AGAIN, finite=True)
    except MissingFileError as error:
        raise LapilliError(f"{path}: no such file; an explanation's folder holds one once it is finished") from error
    if not isinstance(content, dict):
        raise LapilliError(f"{path}: holds {type(content).__name__}, not an object; {_AGAIN}")
    if "dependence" in content:
        content["dependence"] = spelling.entry(content["dependence"], "verdict")
    return content


def _arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise LapilliError(f"{path}: no such file; {_AGAIN}") from error
    except (SafetensorError, OSError, KeyError, TypeError) as error:
        raise LapilliError(f"{path}: cannot be read: {error}; {_AGAIN}") from error


def _check_schema(explanation: Explanation, where: str) -> None:
    if (name := explanation.get("schema", SCHEMA)) != SCHEMA:
        raise LapilliError(f"{where}: schema: {name!r}, whose verdicts are others than those of {SCHEMA!r}; {_AGAIN}")
    error = jsonschema.exceptions.best_match(jsonschema.Draft202012Validator(schema()).iter_errors(explanation))
    if error is not None:
        message = error.message if len(error.message) < 160 else f"{error.message[:157]}..."
        raise LapilliError(f"{where}: {error.json_path.removeprefix('$.')}: {message}; {_AGAIN} with this version")


def _check_geometry(explanation: Explanation, where: str) -> None:
    """Refuse a picture that is turned or mirrored: the page draws upright rectangles only."""
    affine = explanation["image"]["view"]["to_image"]
    a, b, c, d, *_ = affine
    if b or c or a <= 0 or d <= 0:
        raise LapilliError(
            f"{where}: image.view.to_image: {affine} turns or mirrors the picture; only upright views can be drawn"
        )
    patches = _patches(explanation)
    for name in ("sinks", "registers"):
        for patch in explanation["image"]["grid"].get(name, []):
            if patch >= patches:
                raise LapilliError(f"{where}: image.grid.{name}: patch {patch} of {patches}; {_AGAIN}")


def _check_words(explanation: Explanation, where: str) -> None:
    answer = explanation["answer"]
    reached = 0
    for index, word in enumerate(answer["words"]):
        first, last = word["tokens"]
        if not reached <= first < last <= len(answer["tokens"]):
            raise LapilliError(
                f"{where}: answer.words[{index}].tokens: [{first}, {last}] does not follow the word before within "
                f"{len(answer['tokens'])} tokens; {_AGAIN}"
            )
        reached = last
    if answer.get("focus", 0) >= len(answer["words"]):
        raise LapilliError(f"{where}: answer.focus: {answer['focus']} of {len(answer['words'])} words; {_AGAIN}")
    for index, receipt in enumerate(explanation.get("receipts", [])):
        if receipt["word"] >= len(answer["words"]):
            word = f"receipts[{index}].word: {receipt['word']}"
            raise LapilliError(f"{where}: {word} of {len(answer['words'])}; {_AGAIN}")


def _patches(explanation: Explanation) -> int:
    grid = explanation["image"]["grid"]
    return int(grid["rows"] * grid["cols"])


def _sizes(explanation: Explanation, arrays: Arrays) -> dict[str, int | None]:
    """The length of each axis; None where the first array with the axis decides."""
    method, model, routes = explanation["method"], explanation["model"], explanation.get("routes")
    names = method.get("all_paths_sources")
    return {
        "T": len(explanation["answer"]["tokens"]), "S": len(method["sources"]), "P": _patches(explanation),
        "L": model["layers"], "H": model["heads"], "D": model["layers"] + 1, "2": 2,
        "A": len(names) if names else None, "C": None, "K": None,
        "R": len(routes["names"]) if routes else None, "Q": len(routes["names"]) + 1 if routes else None,
        "W": len(routes["windows"]) if routes else None,
    }  # fmt: skip


def _check_shapes(explanation: Explanation, arrays: Arrays, where: str) -> None:
    for name in _NEEDED:
        if name not in arrays:
            raise LapilliError(f"{where}: {ARRAYS}: {name} is missing; {_AGAIN}")
    for group in _TOGETHER:
        if len({name in arrays for name in group}) == 2:
            raise LapilliError(f"{where}: {ARRAYS}: {' and '.join(group)} belong together; {_AGAIN}")
    for name, parts in (("all_paths_sources", explanation["method"]), ("routes", explanation)):
        if (name in arrays) != (name in parts):
            raise LapilliError(f"{where}: {name} is not both described and stored; {_AGAIN}")
    sizes = _sizes(explanation, arrays)
    for name in (name for name in _SHAPES if name in arrays):
        _check_shape(name, arrays[name], sizes, where)


def _check_shape(name: str, array: np.ndarray, sizes: dict[str, int | None], where: str) -> None:
    kind = _KINDS.get(name, np.float32)
    if array.dtype != kind:
        raise LapilliError(f"{where}: {ARRAYS}: {name} holds {array.dtype}, not {np.dtype(kind)}; {_AGAIN}")
    if array.ndim != len(_SHAPES[name]):
        raise LapilliError(f"{where}: {ARRAYS}: {name} has the shape {list(array.shape)}; {_AGAIN}")
    for axis, length in zip(_SHAPES[name], array.shape, strict=True):
        sizes[axis] = length if sizes[axis] is None else sizes[axis]
    wanted = [sizes[axis] for axis in _SHAPES[name]]
    if list(array.shape) != wanted:
        raise LapilliError(f"{where}: {ARRAYS}: {name} has the shape {list(array.shape)}, not {wanted}; {_AGAIN}")


def _check_numbers(arrays: Arrays, where: str) -> None:
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            token = int(np.argwhere(~np.isfinite(array))[0][0])
            raise LapilliError(f"{where}: {ARRAYS}: {name}[{token}] holds NaN or infinity; {_AGAIN}")


def _sums(explanation: Explanation, arrays: Arrays) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield every sum to check: its description, the parts along the last axis, and their expected sums."""
    method = explanation["method"]
    values = np.array([token["value"] for token in explanation["answer"]["tokens"]])
    yield "sources against the token's value", arrays["sources"], values
    if "image" in method["sources"]:
        image = arrays["sources"][:, method["sources"].index("image")]
        yield 'image_patches against sources["image"]', arrays["image_patches"], image
    yield "heads against layers[attention]", arrays["heads"], arrays["layers"][:, 0]
    if "all_paths_vision_biases" in arrays and "all_paths_pixels" in arrays:
        cells = np.concatenate([arrays["all_paths_pixels"], arrays["all_paths_vision_biases"][:, None]], axis=1)
        yield "all_paths_pixels and vision_biases against all_paths_patches", cells, arrays["all_paths_patches"].sum(1)
    if "all_paths_sources" in arrays:
        yield "all_paths_sources against the token's value", arrays["all_paths_sources"], values


def _tolerance(explanation: Explanation) -> float:
    """The tolerance of the checks, as a share of the sum or of 1, whichever is larger; large in half precision."""
    return min(max((check["tolerance"] for check in explanation["checks"]), default=0), _LARGEST_TOLERANCE)


def _check_sum(name: str, parts: np.ndarray, sums: np.ndarray, tolerance: float, where: str) -> None:
    exact = parts.astype(np.float64)
    off = np.abs(exact.sum(-1) - sums)
    allowed = _TOLERANCE * np.maximum(np.abs(exact).sum(-1), 1e-3)
    if tolerance > _TOLERANCE:
        allowed = np.maximum(allowed, tolerance * np.maximum(np.abs(sums), 1))
    if (off <= allowed).all():
        return
    at = np.unravel_index(np.argmax(off - allowed), off.shape)
    place = ", ".join(map(str, at))
    actual, expected = float(exact.sum(-1)[at]), float(np.asarray(sums)[at])
    difference = f"add up to {actual:.6g}, not {expected:.6g}"
    raise LapilliError(f"{where}: {ARRAYS}: {name}: the parts of [{place}] {difference}; {_AGAIN}")
