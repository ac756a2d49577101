"""Findings as arrays, by the names and axes that an explanation's folder has; the token is the first axis."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapilli.inspection.attribution.direct import decompose
from lapilli.inspection.attribution.increase import stream_lengths
from lapilli.inspection.attribution.sources import direct_sources, groups, summed
from lapilli.inspection.trace import Trace
from lapilli.studies.explain.findings import Findings

LIKELIEST = 5
"""How many tokens are named that could have come in a token's place."""

_ALTERNATIVES = 3  # of them whose logits are taken apart too

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
"""What the axes of every array count."""

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


def described(name: str) -> dict[str, Any]:
    """What explanation.json says of an array."""
    file, exact = "arrays.safetensors", name != "lens_probs"  # rounded to half precision
    return {"file": file, "axes": list(AXES[name]), "unit": _UNITS[name], "exact": exact}


def arrays_of(findings: Findings) -> dict[str, NDArray[Any]]:
    """The arrays of `arrays.safetensors`, in logits but for the increases, the lengths and the lens."""
    trace, direct, paths = findings.trace, findings.direct, findings.all_paths
    patches = trace.layout.patches(0).ravel()
    within = groups(trace.ids, trace.layout, bos_id(trace))
    found = {
        "sources": direct_sources(direct, within),
        "image_patches": direct.positions[:, patches],
        "layers": np.stack([direct.heads.sum(2), direct.mlps], axis=1),
        "heads": direct.heads,
        "heads_image": direct.heads_image,
        "heads_log_prob_increase": findings.head_increases,
        "layers_log_prob_increase": findings.layer_increases,
        "stream_lengths": stream_lengths(trace),
        "all_paths_sources": np.concatenate([summed(paths.positions, within), paths.biases[:, None]], axis=1),
        "all_paths_patches": paths.positions[:, patches],
        "all_paths_pixels": np.asarray(paths.cells)[:, 0].reshape(len(trace.rows), -1),
        "all_paths_vision_biases": np.asarray(paths.vision_biases),
        "routes": findings.routes.log_prob_change,
        "routes_whole": findings.routes.whole_log_prob_change,
    }
    if findings.target.kind != "difference":
        found |= _alternatives(findings, within, patches)
    lens: dict[str, NDArray[Any]] = {
        "lens_ids": findings.lens.ids.astype(np.int32),
        "lens_probs": findings.lens.probs.astype(np.float16),
    }
    return {name: np.ascontiguousarray(values, np.float32) for name, values in found.items()} | lens


def likeliest(trace: Trace) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The tokens that each row finds likeliest, and their probabilities; (row, LIKELIEST) each, likeliest first."""
    found = trace.logits.softmax(-1).topk(LIKELIEST)
    return found.indices.cpu().numpy(), np.asarray(found.values.cpu(), np.float64)


def bos_id(trace: Trace) -> int | None:
    """The token that begins a sequence, if the tokenizer has one."""
    tokenizer: Any = trace.llava.processor.tokenizer
    found: int | None = tokenizer.bos_token_id
    return found


def _alternatives(findings: Findings, within: Any, patches: Any) -> dict[str, NDArray[Any]]:
    """The direct contributions to the likeliest other tokens, for the difference to one of them."""
    trace = findings.trace
    tokens, _ = likeliest(trace)
    others = np.stack([row[row != said][:_ALTERNATIVES] for row, said in zip(tokens, trace.next_ids, strict=True)])
    found = [decompose(trace, findings.target, other) for other in others.T]
    return {
        "alternatives_sources": np.stack([direct_sources(direct, within) for direct in found], axis=1),
        "alternatives_patches": np.stack([direct.positions[:, patches] for direct in found], axis=1),
    }
