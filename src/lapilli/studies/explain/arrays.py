"""Findings as arrays, with the names and axes of an explanation's folder; the token is mostly the first axis."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapilli.inspection.attribution.direct import decompose
from lapilli.inspection.attribution.increase import stream_lengths
from lapilli.inspection.attribution.lens import Lens
from lapilli.inspection.attribution.sources import direct_sources, groups, summed
from lapilli.inspection.trace import Trace
from lapilli.studies.explain.findings import Findings

LIKELIEST = 5
"""The number of alternatives to each token."""

_ALTERNATIVES = 3  # alternatives whose logits are decomposed too

AXES = {
    "sources": ("token", "source"),
    "image_patches": ("token", "patch"),
    "layers": ("token", "attention or MLP", "layer"),
    "heads": ("token", "layer", "head"),
    "heads_image": ("token", "layer", "head"),
    "heads_log_prob_increase": ("token", "layer", "head"),
    "layers_log_prob_increase": ("token", "attention or MLP", "layer"),
    "stream_lengths": ("token", "depth"),
    "all_paths_sources": ("token", "source"),
    "all_paths_patches": ("token", "patch"),
    "all_paths_pixels": ("token", "patch"),
    "all_paths_vision_biases": ("token",),
    "alternatives_sources": ("token", "alternative", "source"),
    "alternatives_patches": ("token", "alternative", "patch"),
    "routes": ("token", "route", "window"),
    "routes_whole": ("token", "route, and all from the image"),
    "lens_ids": ("depth", "patch", "word"),
    "lens_probs": ("depth", "patch", "word"),
}
"""The axes of every array."""

_IN_NATS = ("heads_log_prob_increase", "layers_log_prob_increase", "routes", "routes_whole")
_UNITS = (
    dict.fromkeys(AXES, "logit")
    | dict.fromkeys(_IN_NATS, "nat")
    | {
        "lens_ids": "id",
        "lens_probs": "probability",
        "stream_lengths": "of the final one",
    }
)


def array_description(name: str) -> dict[str, Any]:
    """The entry of explanation.json about an array."""
    file, exact = "arrays.safetensors", name != "lens_probs"  # rounded to half precision
    return {"file": file, "axes": list(AXES[name]), "unit": _UNITS[name], "exact": exact}


def arrays_of(findings: Findings) -> dict[str, NDArray[Any]]:
    """The arrays of `arrays.safetensors`, in logits except for the increases, the lengths and the lens."""
    trace, parts = findings.trace, findings.decomposition
    direct, paths = parts.direct, parts.all_paths
    patches = trace.layout.patches(0).ravel()
    within = groups(trace.ids, trace.layout, bos_id(trace))
    arrays = {
        "sources": direct_sources(direct, within),
        "image_patches": direct.positions[:, patches],
        "layers": np.stack([direct.heads.sum(2), direct.mlps], axis=1),
        "heads": direct.heads,
        "heads_image": direct.heads_image,
        "heads_log_prob_increase": parts.head_increases,
        "layers_log_prob_increase": parts.layer_increases,
        "stream_lengths": stream_lengths(trace),
        "all_paths_sources": np.concatenate([summed(paths.positions, within), paths.biases[:, None]], axis=1),
        "all_paths_patches": paths.positions[:, patches],
        "all_paths_pixels": np.asarray(paths.cells)[:, 0].reshape(len(trace.queries), -1),
        "all_paths_vision_biases": np.asarray(paths.vision_biases),
        "routes": parts.routes.log_prob_change,
        "routes_whole": parts.routes.whole_log_prob_change,
    }
    if findings.target.kind != "difference":
        arrays |= _alternatives(findings, within, patches)
    return {name: np.ascontiguousarray(values, np.float32) for name, values in arrays.items()} | _lens(parts.lens)


def likeliest(trace: Trace) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The likeliest tokens of each query, and their probabilities; (query, LIKELIEST) each, likeliest first."""
    top = trace.logits.softmax(-1).topk(LIKELIEST)
    return top.indices.cpu().numpy(), np.asarray(top.values.cpu(), np.float64)


def bos_id(trace: Trace) -> int | None:
    """The token that begins a sequence, if the tokenizer has one."""
    tokenizer: Any = trace.llava.processor.tokenizer
    index: int | None = tokenizer.bos_token_id
    return index


def _lens(lens: Lens) -> dict[str, NDArray[Any]]:
    return {"lens_ids": lens.ids.astype(np.int32), "lens_probs": lens.probs.astype(np.float16)}


def _alternatives(findings: Findings, within: Any, patches: Any) -> dict[str, NDArray[Any]]:
    """The direct contributions to the likeliest other tokens, for the difference to one of them."""
    trace = findings.trace
    tokens, _ = likeliest(trace)
    others = np.stack(
        [ids[ids != next_id][:_ALTERNATIVES] for ids, next_id in zip(tokens, trace.next_ids, strict=True)]
    )
    decompositions = [decompose(trace, findings.target, other) for other in others.T]
    return {
        "alternatives_sources": np.stack([direct_sources(direct, within) for direct in decompositions], axis=1),
        "alternatives_patches": np.stack([direct.positions[:, patches] for direct in decompositions], axis=1),
    }
