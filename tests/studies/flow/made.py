"""Flow studies: of tiny models, and of readings whose truth is known."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import numpy as np
from tests.studies.compare.made import PLANTED, changed, of

from lapilli.core.placement import Placement
from lapilli.core.plain import plain
from lapilli.studies.flow.figures import arrays_of, brought_together, variants
from lapilli.studies.flow.plan import Plan
from lapilli.studies.flow.study import opened, study

_HOLD = TemporaryDirectory(prefix="lapilli-flow-")
WHOLE = Placement(dtype="fp32")
N = 1000
RIGHT = 0.9
"""The share of answers that both models have right with their pictures."""


@cache
def planted():
    """The finished run of a model whose layer PLANTED is changed."""
    folder, settings = Path(_HOLD.name) / "planted", of(changed(PLANTED))
    run = opened(folder, settings, WHOLE)
    study(settings, run, WHOLE, lambda *_: None)
    return run


def flow(reads, base=None, *, late=0.0, gives=0.5, nats=2.0, base_nats=2.0):
    """The variants, and their arrays, of models whose text reads in layer l the part `reads[l]` of what pictures give.

    base             the same of the base; as the tuned model, if none
    late             the share of answers that is lost by pictures which enter late
    gives            the share of answers that pictures give
    nats, base_nats  what they give in nats of content
    """
    plan = Plan(len(reads))
    readings = _readings(plan, (reads, reads if base is None else base), (nats, base_nats), (late, gives))
    return variants(plan), arrays_of(readings)


def result(reads, nats=2.0):
    """What the study saves of such models."""
    plan, settings = (
        Plan(len(reads)),
        SimpleNamespace(labels={"base": "<base>", "tuned": "<tuned>"}, questions=[None] * N, seed=0, data=Path("made")),
    )
    made, _ = brought_together(settings, plan, [2, 8], _readings(plan, (reads, reads), (nats, 2.0), (0.0, 0.5)))
    return plain(made)


def _readings(plan, reads, nats, answers):
    """By model and kind of prompts, every read-out, (variant, sample)."""
    rng, readings, (late, gives) = np.random.default_rng(0), {}, answers
    for role, parts, amount in zip(("tuned", "base"), reads, nats, strict=True):
        parts = np.asarray(parts, float) / np.sum(parts)
        hidden = [parts[list(window)].sum() for window in plan.windows]
        lost = np.array([0.0, *hidden, *[0.0] * len(hidden), *[late / gives if gives else 0.0] * len(plan.entries)])
        readings[role, "image"] = _read(lost, amount, gives, rng)
        readings[role, "text"] = _read(np.ones(1), amount, gives, rng)
    return readings


def _read(lost, nats, gives, rng):
    """Read-outs of variants that lose these parts of what the picture gives, (variant, sample)."""
    noise = 1 + 0.3 * rng.standard_normal((1, N))
    content = -0.1 - nats * lost[:, None] * noise + 0.02 * rng.standard_normal((len(lost), N))
    right = np.arange(N) < np.round((RIGHT - gives * lost[:, None]) * N)
    return {"content": content, "likeliest": right.astype(float)}
