"""What a model makes of the candidates of every sample with its picture hidden in some layers, teacher-forced."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from lapilli.data.sample import Sample
from lapilli.inference.greedy import require_numbers
from lapilli.inspection.intervention.image_depths import blocked, hide, random_text
from lapilli.inspection.intervention.replay import enter_late, replay
from lapilli.inspection.readings import Readings, joined
from lapilli.inspection.recording import answered, traced
from lapilli.inspection.target import Target
from lapilli.inspection.trace import Trace
from lapilli.model.llava import Llava
from lapilli.studies.candidates import MOST
from lapilli.studies.flow.plan import Plan

_TARGET = Target("token")  # the cheapest: it is not read


def read_depths(
    llava: Llava,
    samples: Sequence[Sample],
    candidates: Sequence[Sequence[str]],
    pictures: Callable[[str], Image.Image],
    plan: Plan,
    *,
    seeds: Sequence[Sequence[int]],
) -> dict[str, NDArray[Any]]:
    """What `readouts` takes: `log_p` of every candidate, (variant, sample, MOST), and `exact`, bool (variant, sample).

    The variants are those of the plan; of samples without a picture the model itself alone, (1, ...). `seeds` draw each
    sample's hidden text, the same for all its candidates. Raises LapilliError for a sample that cannot be encoded or is
    too long, for weights that give no numbers, and as `replay` does.
    """
    count = plan.variants if samples[0].images else 1
    log_p = np.full((count, len(samples), MOST), np.nan)
    exact = np.empty((count, len(samples)), np.bool_)
    for number, (sample, texts) in enumerate(zip(samples, candidates, strict=True)):
        pixels = llava.pixels([pictures(name) for name in sample.images]) if sample.images else None
        for place, text in enumerate(texts):
            trace = traced(llava, answered(llava, sample, text), pixels, whole=True)
            read = _variants(trace, plan, seeds[number])
            log_p[:, number, place] = read.log_prob.sum(1, dtype=np.float64)
            if place == 0:
                exact[:, number] = (read.likeliest == trace.next_ids).all(1)
    return {"log_p": log_p, "exact": exact}


def _variants(trace: Trace, plan: Plan, seed: Sequence[int]) -> Readings:
    """The predictions of every variant of the plan; of a trace without a picture the trace's own alone."""
    require_numbers(torch.from_numpy(trace.next_ids), trace.logits)
    if not trace.layout.image_count:
        return replay(trace, [[]], _TARGET)
    text = random_text(trace.layout, np.random.default_rng(seed))
    cuts = [*blocked(trace.layout, plan.windows), *(hide(trace.layout, text, window) for window in plan.windows)]
    parts = [replay(trace, [[], *cuts], _TARGET)]
    return joined([*parts, enter_late(trace, plan.entries, _TARGET)] if plan.entries else parts)
