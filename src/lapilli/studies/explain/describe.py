"""Findings in words and numbers: the content of `explanation.json`, as report/explanation/schema.json has it."""

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
from lapilli.inspection.intervention.receipt import Receipt
from lapilli.inspection.intervention.routes import ROUTES, Routes
from lapilli.inspection.trace import Trace
from lapilli.model.framing import Framing
from lapilli.model.words import pieces_of, texts_of
from lapilli.studies.explain.arrays import bos_id, likeliest
from lapilli.studies.explain.findings import Findings

TOLERANCE = {"float32": 1e-5, "bfloat16": 0.1, "float16": 0.02}
"""By how much sums may miss a logit in the dtype that the model computes in: a share of it, or of 1 if that is more."""

_RULE = (
    "direct: the last norm's scale is held; all paths: all norms' scales and the attention weights are held, "
    "activations by act(z)/z, products halved"
)


def model_part(trace: Trace, name: str) -> dict[str, Any]:
    """What was asked."""
    model = trace.decoder
    return {"name": name, "run": None, "layers": model.depth, "heads": model.heads, "kv_heads": model.kv_heads}


def prompt_part(trace: Trace) -> dict[str, Any]:
    """The prompt: all that comes before the answer. Patches are ids, but no tokens to read."""
    patches = trace.layout.patches(0).ravel()
    end = int(trace.rows[0]) + 1
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
    """The answer: its tokens with what else could have come, and its words."""
    trace = findings.trace
    conditions = _condition_numbers(findings)
    words = [
        {"text": "".join(findings.pieces[first:end]).strip(), "tokens": [first, end], "condition_numbers": numbers}
        for (first, end), numbers in zip(findings.words, conditions, strict=True)
    ]
    best = likeliest(trace)
    tokens = [_answer_token(findings, row, best[0][row], best[1][row]) for row in range(len(trace.rows))]
    return {"text": answer_text(trace), "tokens": tokens, "words": words, "focus": findings.focus}


def method_part(findings: Findings) -> dict[str, Any]:
    """What was computed."""
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
    """Where the encoder's pixels lie in the picture, and what of it is not among them."""
    left, top, right, bottom = framing.bounds
    across, down = (right - left) / side, (bottom - top) / side
    return {
        "size": [side, side],
        "to_image": [across, 0, 0, down, left, top],
        "lost": framing.lost,
        "hidden": framing.hidden,
    }


def checks_part(findings: Findings) -> list[dict[str, Any]]:
    """By how much the sums miss the logits, at the worst token."""
    tolerance = TOLERANCE[str(findings.trace.resid.dtype).removeprefix("torch.")]
    found: dict[str, Direct | AllPaths] = {
        "direct: the parts' sum against the model's logit": findings.direct,
        "all paths: the parts' sum against the model's logit": findings.all_paths,
    }
    worst = {name: float((of.missed / np.maximum(np.abs(of.value), 1)).max()) for name, of in found.items()}
    return [
        {"name": name, "value": value, "tolerance": tolerance, "passed": value <= tolerance}
        for name, value in worst.items()
    ]


def grid_part(findings: Findings) -> dict[str, Any]:
    """The grid of patches, and those that are more than a cell of the picture."""
    rows, columns = findings.trace.layout.patches(0).shape
    marked = {"sinks": findings.sinks.tolist(), "registers": findings.registers.tolist()}
    return {"rows": rows, "cols": columns, **marked}


def routes_part(routes: Routes) -> dict[str, Any]:
    """What the routes' arrays are of."""
    windows = [[window.start, window.stop] for window in routes.windows]
    names = [name.replace("->", " → ") for name in ROUTES]
    return {"names": names, "windows": windows, "window": max(len(window) for window in routes.windows)}


def vocabulary_part(findings: Findings) -> dict[str, str]:
    """The text of every token that the lens has read."""
    ids = np.unique(findings.lens.ids).tolist()
    return {
        str(index): text
        for index, text in zip(ids, texts_of(findings.trace.llava.processor.tokenizer, ids), strict=True)
    }


def dependence_part(found: dependence.Dependence) -> dict[str, Any]:
    """Whether the word in focus depends on the picture."""
    log_prob = {"full": found.full, "blurred": found.blurred, "blank": found.blank}
    part: dict[str, Any] = {
        "verdict": found.verdict,
        "rule": dependence.RULE,
        "answer_blurred": found.said_blurred,
        "answer_blank": found.said_blank,
        "log_prob": log_prob,
    }
    if found.swapped:
        log_prob["swapped"] = float(np.median(found.swapped))
        part["swapped"] = {"log_prob": list(found.swapped), "same": found.same}
    return part


def repeated(findings: Findings, command: Sequence[str]) -> list[str]:
    """The command line that makes the same explanation again; none, if there was none."""
    if not command:
        return []
    removed = [] if findings.removed is None else ["--remove", ranges(findings.removed.tolist())]
    return [*command, "--seed", str(findings.seed), *removed]


def receipts_part(findings: Findings, command: Sequence[str]) -> list[dict[str, Any]]:
    """All receipts; `command` is what explains the same answer again, to which the patches are added."""
    first, end = findings.words[findings.focus]
    word = "".join(findings.pieces[first:end]).strip()
    null = "Shuffled map" if findings.removed is None else "Random patches"
    return [
        {"id": f"{number}", "word": findings.focus, **_receipt(found, word, command)} | _shuffled(found, null)
        for number, found in enumerate(findings.receipts)
    ]


def _receipt(found: Receipt, word: str, command: Sequence[str]) -> dict[str, Any]:
    count = len(found.patches)
    return {
        "claim": f"{'1 patch carries' if count == 1 else f'{count} patches carry'} {-found.predicted:+.3g} "
        f"of the target of {word!r}",
        "map": found.map,
        "done": {"kind": found.kind, "patches": list(found.patches)},
        "predicted": found.predicted,
        "measured": _measured(found),
        "controls": {
            "kind": f"{found.drawn // 2} random sets of {count} of all patches; as many in pieces of the same sizes",
            "drawn": found.drawn,
            "changes": list(found.target.scattered),
            "contiguous": list(found.target.contiguous),
            "answers_changed": found.turned,
        },
        "verdict": found.verdict,
        "rule": receipt.RULE,
        "command": [*command, "--seed", str(found.seed), "--remove", ranges(found.patches)] if command else [],
        "seed": found.seed,
        "seconds": found.seconds,
    }


def _shuffled(found: Receipt, kind: str) -> dict[str, Any]:
    """The same of the shuffled map."""
    shuffled = {
        "kind": kind,
        "patches": list(found.shuffled),
        "change": found.target.shuffled,
        "verdict": found.shuffled_verdict,
        "chance": found.chance,
    }
    return {"shuffled": shuffled}


def _measured(found: Receipt) -> dict[str, Any]:
    return {
        "change": found.target.named,
        "prob_before": float(np.exp(found.before)),
        "prob_after": min(float(np.exp(found.before + found.log_prob.named)), 1.0),  # rounding may take it above
        "answer_before": found.said[0],
        "answer_after": found.said[1],
    }


def ranges(patches: Sequence[int]) -> str:
    """Patch numbers as `--remove` reads them: 3-5,9."""
    runs: list[list[int]] = []
    for patch in sorted(patches):
        if runs and patch == runs[-1][1] + 1:
            runs[-1][1] = patch
        else:
            runs.append([patch, patch])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _condition_numbers(findings: Findings) -> list[dict[str, float | None]]:
    """Of every word, each map's condition number; None where its patches sum to 0."""
    patches, paths = findings.trace.layout.patches(0).ravel(), findings.all_paths
    cells = np.asarray(paths.cells).reshape(len(paths.value), -1)
    maps = {
        "direct": findings.direct.positions[:, patches],
        "all paths": paths.positions[:, patches],
        "pixels": cells,
    }
    found = []
    for first, end in findings.words:
        numbers = {name: float(condition_number(of[first:end].sum(0))) for name, of in maps.items()}
        found.append({name: number if np.isfinite(number) else None for name, number in numbers.items()})
    return found


def _source_names(trace: Trace) -> dict[int, str]:
    within = groups(trace.ids, trace.layout, bos_id(trace))
    return {int(at): name for name, positions in within.items() for at in positions}


def _answer_token(findings: Findings, row: int, ids: NDArray[np.int64], probs: NDArray[np.float64]) -> dict[str, Any]:
    """The token that follows a row; `ids` and `probs` are those that are likeliest there."""
    trace = findings.trace
    said = int(trace.next_ids[row])
    texts = texts_of(trace.llava.processor.tokenizer, ids)
    logits = trace.logits[row]
    return {
        "id": said,
        "text": findings.pieces[row],
        "source": "stop" if row >= findings.words[-1][1] else "answer",
        "logit": float(logits[said]),
        "prob": float(logits.softmax(-1)[said]),
        "rank": int((logits > logits[said]).sum()),
        "value": float(findings.direct.value[row]),
        "top": [
            {"id": int(index), "text": text, "prob": float(prob)}
            for index, text, prob in zip(ids, texts, probs, strict=True)
        ],
    }
