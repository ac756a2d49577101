"""From a request to an explanation: the model answers, its answer is traced, taken apart and tested."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from PIL import Image

from lapilli.core.errors import UsageError
from lapilli.core.layout import Positions
from lapilli.core.progress import Progress
from lapilli.inference.answer import answer
from lapilli.inspection.answer_words import answer_text
from lapilli.inspection.attribution.contrast import contrasted
from lapilli.inspection.recording import answered, recording, traced
from lapilli.inspection.sites import changed_sites, has_constants, heads_changed
from lapilli.inspection.target import Kind, Target
from lapilli.inspection.trace import Trace
from lapilli.model.hub import hub_name
from lapilli.model.llava import Llava
from lapilli.model.parts import name_of
from lapilli.studies.explain.explanation import Explanation, explanation
from lapilli.studies.explain.findings import explain, silent
from lapilli.studies.explain.request import Request

MAX_NEW_TOKENS = 64
"""After so many tokens the model's own answer ends."""


def explained(
    llava: Llava,
    folder: Path,
    picture: Image.Image,
    request: Request,
    *,
    dtype: str | None = None,
    others: Iterable[Image.Image] | None = None,
    progress: Progress = silent,
) -> Explanation:
    """Explain an answer about `picture`, as `request` says.

    `folder` is that of the model, and `dtype` the format that was asked for: with them, and the picture's file, the
    explanation says which command makes it again; there is none while patches are ablated. `others` are the pictures
    of `request.swap`. Raises UsageError for patches that are not there, for a contrast that is none and while something
    is ablated that cannot be taken apart, and LapilliError as `findings.explain` and `answer` do.
    """
    _require_explainable(llava.model)
    trace = _answered(llava, request, picture)
    target, at = _target(trace, request)
    removed = None if request.remove is None else _patches(request.remove, trace.layout.patches(0).size)
    swapped = None if others is None else [llava.pixels.view(other) for other in others]
    tested: dict[str, Any] = {"controls": request.controls, "removed": removed, "seed": request.seed}
    findings = explain(trace, picture, target, at, **tested, progress=progress, swapped=swapped)
    command = [] if changed_sites(llava.model) else _command(folder, request, answer_text(trace), dtype)
    return explanation(findings, picture, name_of(folder), command)


def _require_explainable(model: Any) -> None:
    """Refuse to explain an answer that has, by an ablation, parts that come from nothing in the sequence."""
    if heads_changed(model):
        raise UsageError("heads are ablated, whose outputs cannot be taken apart; explain outside the block")
    if has_constants(model):
        problem = "patches are ablated by values that are not of their picture"
        raise UsageError(f"{problem}; explain outside the block, or ablate by zero or by the picture's own mean")


def _answered(llava: Llava, request: Request, picture: Image.Image) -> Trace:
    """The trace of the answer that is given, or of the one that the model makes."""
    if request.answer is not None:
        encoded = answered(llava, request.sample, request.answer)
        return traced(llava, encoded, llava.pixels([picture]), whole=True)
    with recording(llava, whole=True) as record:
        (made,) = answer(llava, [request.sample], lambda name: picture, MAX_NEW_TOKENS)
    return record.trace(made.ids, made.layout)


def _target(trace: Trace, request: Request) -> tuple[Target | None, int | None]:
    """What is to be taken apart, None for what is usual, and the query that it is about, if it is about one."""
    if request.contrast is not None:
        return contrasted(trace, request.sample, request.contrast)
    return (None if request.target is None else Target(cast(Kind, request.target))), None


def _patches(ranges: Sequence[range], count: int) -> Positions:
    """The patches of these ranges. Raises UsageError for what is none of `count`, for none, and for all of them."""
    inside = all(0 <= some.start < some.stop <= count for some in ranges)
    patches = {patch for some in ranges for patch in some} if inside else set()
    if not 0 < len(patches) < count:
        raise UsageError(f"remove: there are {count} patches, numbered from 0; name some of them, not all")
    return np.array(sorted(patches), np.intp)


def _command(folder: Path, request: Request, answer: str, dtype: str | None) -> list[str]:
    """What explains the same answer again; nothing where the picture is in no file."""
    if request.image is None:
        return []
    options: dict[str, Any] = {"answer": answer, "contrast": request.contrast, "controls": request.controls}
    options |= {"dtype": dtype, "target": request.target, "swap": request.swap}
    words = [word for name, value in options.items() if value is not None for word in (f"--{name}", str(value))]
    return ["lapilli", "explain", hub_name(folder) or str(folder), request.image, request.question, *words]
