"""Findings in words and numbers: the content of `explanation.json`, by report/explanation/schema.json."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapilli.core.layout import Role
from lapilli.inspection.answer_words import answer_text
from lapilli.inspection.attribution.all_paths import AllPaths
from lapilli.inspection.attribution.direct import Direct
from lapilli.inspection.attribution.sources import ALL_PATHS, DIRECT, DOUBTFUL_FROM, condition_number, groups
from lapilli.inspection.intervention import dependence, receipt
from lapilli.inspection.intervention.image_routes import ROUTES, Routes
from lapilli.inspection.intervention.receipt import Receipt
from lapilli.inspection.trace import Trace
from lapilli.model.framing import Framing
from lapilli.model.words import pieces_of, texts_of
from lapilli.studies.explain.arrays import bos_id, likeliest
from lapilli.studies.explain.findings import Findings

TOLERANCE = {"float32": 1e-5, "bfloat16": 0.1, "float16": 0.02}
"""The tolerance of sums against a logit by the model's dtype, as a share of the logit, or of 1 if that is more."""

_RULE = (
    "direct: the last norm's scale is held; all paths: all norms' scales and the attention weights are held, "
    "activations by act(z)/z, products halved"
)


def model_part(trace: Trace, name: str) -> dict[str, Any]:
    """The model: its name and its shape."""
    model = trace.decoder
    return {"name": name, "run": None, "layers": model.depth, "heads": model.heads, "kv_heads": model.kv_heads}


def prompt_part(trace: Trace) -> dict[str, Any]:
    """The prompt: all that comes before the answer. Patches are ids, but not among the tokens to read."""
    patches = trace.layout.patches(0).ravel()
    end = int(trace.queries[0]) + 1
    source = _source_names(trace)
    read = [at for at in range(end) if trace.layout.role[at] != Role.IMAGE]
    pieces = pieces_of(trace.llava.processor.tokenizer, trace.ids[read].tolist())
    tokens = [
        {"id": int(trace.ids[at]), "text": text, "source": source[at], "position": at}
        for at, text in zip(read, pieces, strict=True)
    ]
    before = sum(at < patches[0] for at in read)
    text = "".join(pieces[:before]) + "<image>" + "".join(pieces[before:])
    span = [int(patches[0]), int(patches[-1]) + 1]
    return {"text": text, "tokens": tokens, "image_span": span, "ids": trace.ids[:end].tolist()}


def answer_part(findings: Findings) -> dict[str, Any]:
    """The answer: its tokens with their alternatives, and its words."""
    trace = findings.trace
    conditions = _condition_numbers(findings)
    words = [
        {"text": "".join(findings.pieces[first:end]).strip(), "tokens": [first, end], "condition_numbers": numbers}
        for (first, end), numbers in zip(findings.words, conditions, strict=True)
    ]
    best = likeliest(trace)
    tokens = [_answer_token(findings, query, best[0][query], best[1][query]) for query in range(len(trace.queries))]
    return {"text": answer_text(trace), "tokens": tokens, "words": words, "focus": findings.focus}


def method_part(findings: Findings) -> dict[str, Any]:
    """The method: the target, the sources and the rules of attribution."""
    target: dict[str, Any] = {"kind": findings.target.kind}
    against = findings.target.against
    if against is not None:
        (text,) = texts_of(findings.trace.llava.processor.tokenizer, [against])
        target |= {"against": against, "against_text": text.strip()}
    return {
        "name": "direct decomposition and relevance of all paths",
        "unit": "logit",
        "target": target,
        "sources": list(DIRECT),
        "all_paths_sources": list(ALL_PATHS),
        "frozen_norm": True,
        "rule": _RULE,
        "doubtful_from": DOUBTFUL_FROM,
    }


def view_part(framing: Framing, side: int) -> dict[str, Any]:
    """The map from the encoder's pixels to the picture, and what of the picture the encoder does not get."""
    x_min, y_min, x_max, y_max = framing.bounds
    across, down = (x_max - x_min) / side, (y_max - y_min) / side
    return {
        "size": [side, side],
        "to_image": [across, 0, 0, down, x_min, y_min],
        "lost": framing.lost,
        "hidden": framing.hidden,
    }


def checks_part(findings: Findings) -> list[dict[str, Any]]:
    """The error of the sums against the logits, at the worst token."""
    tolerance = TOLERANCE[str(findings.trace.resid.dtype).removeprefix("torch.")]
    decompositions: dict[str, Direct | AllPaths] = {
        "direct: the parts' sum against the model's logit": findings.decomposition.direct,
        "all paths: the parts' sum against the model's logit": findings.decomposition.all_paths,
    }
    worst = {
        name: float((decomposition.missed / np.maximum(np.abs(decomposition.value), 1)).max())
        for name, decomposition in decompositions.items()
    }
    return [
        {"name": name, "value": value, "tolerance": tolerance, "passed": value <= tolerance}
        for name, value in worst.items()
    ]


def grid_part(findings: Findings) -> dict[str, Any]:
    """The grid of patches, with its sinks and registers."""
    rows, columns = findings.trace.layout.grid(0)
    marked = {"sinks": findings.decomposition.sinks.tolist(), "registers": findings.decomposition.registers.tolist()}
    return {"rows": rows, "cols": columns, **marked}


def routes_part(routes: Routes) -> dict[str, Any]:
    """The names and windows of the routes' arrays."""
    windows = [[window.start, window.stop] for window in routes.windows]
    names = [name.replace("->", " → ") for name in ROUTES]
    return {"names": names, "windows": windows, "window": max(len(window) for window in routes.windows)}


def vocabulary_part(findings: Findings) -> dict[str, str]:
    """The text of every token that the lens reads."""
    ids = np.unique(findings.decomposition.lens.ids).tolist()
    return {
        str(index): text
        for index, text in zip(ids, texts_of(findings.trace.llava.processor.tokenizer, ids), strict=True)
    }


def dependence_part(dependent: dependence.Dependence) -> dict[str, Any]:
    """Whether the word in focus depends on the picture."""
    log_prob = {"full": dependent.full, "blurred": dependent.blurred, "blank": dependent.blank}
    part: dict[str, Any] = {
        "verdict": dependent.verdict,
        "rule": dependence.RULE,
        "answer_blurred": dependent.text_blurred,
        "answer_blank": dependent.text_blank,
        "log_prob": log_prob,
    }
    if dependent.swapped:
        log_prob["swapped"] = float(np.median(dependent.swapped))
        part["swapped"] = {"log_prob": list(dependent.swapped), "same": dependent.same}
    return part


def repeated(findings: Findings, command: Sequence[str]) -> list[str]:
    """The command line that makes the same explanation again; empty without a `command`."""
    if not command:
        return []
    removed = [] if findings.removed is None else ["--remove", ranges(findings.removed.tolist())]
    return [*command, "--seed", str(findings.seed), *removed]


def receipts_part(findings: Findings, command: Sequence[str]) -> list[dict[str, Any]]:
    """All receipts; `command` explains the same answer again, and gets the patches appended."""
    first, end = findings.words[findings.focus]
    word = "".join(findings.pieces[first:end]).strip()
    null = "Shuffled map" if findings.removed is None else "Random patches"
    return [
        {"id": f"{number}", "word": findings.focus, **_receipt(receipt, word, command)} | _shuffled(receipt, null)
        for number, receipt in enumerate(findings.receipts)
    ]


def _receipt(tested: Receipt, word: str, command: Sequence[str]) -> dict[str, Any]:
    count = len(tested.patches)
    return {
        "claim": f"{'1 patch carries' if count == 1 else f'{count} patches carry'} {-tested.predicted:+.3g} "
        f"of the target of {word!r}",
        "map": tested.map,
        "done": {"kind": tested.kind, "patches": list(tested.patches)},
        "predicted": tested.predicted,
        "measured": _measured(tested),
        "controls": {
            "kind": f"{tested.control_count // 2} random sets of {count} of all patches; "
            "as many in pieces of the same sizes",
            "drawn": tested.control_count,
            "changes": list(tested.target.scattered),
            "contiguous": list(tested.target.contiguous),
            "answers_changed": tested.changed_controls,
        },
        "verdict": tested.verdict,
        "rule": receipt.RULE,
        "command": [*command, "--seed", str(tested.seed), "--remove", ranges(tested.patches)] if command else [],
        "seed": tested.seed,
        "seconds": tested.seconds,
    }


def _shuffled(tested: Receipt, kind: str) -> dict[str, Any]:
    """The test of the shuffled map."""
    shuffled = {
        "kind": kind,
        "patches": list(tested.shuffled),
        "change": tested.target.shuffled,
        "verdict": tested.shuffled_verdict,
        "chance": tested.chance,
    }
    return {"shuffled": shuffled}


def _measured(tested: Receipt) -> dict[str, Any]:
    return {
        "change": tested.target.claimed,
        "prob_before": float(np.exp(tested.before)),
        "prob_after": min(float(np.exp(tested.before + tested.log_prob.claimed)), 1.0),  # rounding may take it above
        "answer_before": tested.texts[0],
        "answer_after": tested.texts[1],
    }


def ranges(patches: Sequence[int]) -> str:
    """Format patch numbers as `--remove` reads them: 3-5,9."""
    runs: list[list[int]] = []
    for patch in sorted(patches):
        if runs and patch == runs[-1][1] + 1:
            runs[-1][1] = patch
        else:
            runs.append([patch, patch])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _condition_numbers(findings: Findings) -> list[dict[str, float | None]]:
    """Each map's condition number, by word; None where its patches sum to 0."""
    patches, paths = findings.trace.layout.patches(0).ravel(), findings.decomposition.all_paths
    cells = np.asarray(paths.cells).reshape(len(paths.value), -1)
    maps = {
        "direct": findings.decomposition.direct.positions[:, patches],
        "all paths": paths.positions[:, patches],
        "pixels": cells,
    }
    by_word = []
    for first, end in findings.words:
        numbers = {name: float(condition_number(values[first:end].sum(0))) for name, values in maps.items()}
        by_word.append({name: number if np.isfinite(number) else None for name, number in numbers.items()})
    return by_word


def _source_names(trace: Trace) -> dict[int, str]:
    within = groups(trace.ids, trace.layout, bos_id(trace))
    return {int(at): name for name, positions in within.items() for at in positions}


def _answer_token(findings: Findings, query: int, ids: NDArray[np.int64], probs: NDArray[np.float64]) -> dict[str, Any]:
    """The token that follows a query; `ids` and `probs` are the likeliest tokens there."""
    trace = findings.trace
    next_id = int(trace.next_ids[query])
    texts = texts_of(trace.llava.processor.tokenizer, ids)
    logits = trace.logits[query]
    return {
        "id": next_id,
        "text": findings.pieces[query],
        "source": "stop" if query >= findings.words[-1][1] else "answer",
        "logit": float(logits[next_id]),
        "prob": float(logits.softmax(-1)[next_id]),
        "rank": int((logits > logits[next_id]).sum()),
        "value": float(findings.decomposition.direct.value[query]),
        "top": [
            {"id": int(index), "text": text, "prob": float(prob)}
            for index, text, prob in zip(ids, texts, probs, strict=True)
        ],
    }
