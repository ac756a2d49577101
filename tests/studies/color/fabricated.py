"""What a study would have measured, made up: rows with known means, so that figures are known and no model is asked."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from tests.studies.color.taught import scenes

from lapilli.core.placement import AS_STORED
from lapilli.studies.color.fact_routes import ROUTES, spans
from lapilli.studies.color.key_positions import READOUTS
from lapilli.studies.color.result import color_result
from lapilli.studies.color.settings import settings
from lapilli.studies.color.study import Study, opened

TOP = {"base": (0, 1, 2, 3, 4), "tuned 1": (0, 1, 2, 3, 9), "tuned 2": (0, 1, 2, 8, 9)}
"""The five heads, counted through all layers, that are made the top ones by increase, of every model."""

K = 5
MOST = 10
"""As many heads as there are top heads at most."""


def fabricate(run, of, shape=(5, 4), only=""):
    """Save everything that is measured of the questions of a study, of all cases, or of those with a name's part."""
    study = Study(of, run)
    count = len(study.questions)
    for number, case in enumerate(study.cases):
        if only in case.name:
            _heads(run, case, count, shape, np.random.default_rng(number))
    if not only:
        for number, case in enumerate(study.informed):
            _rest(run, study, case, shape, np.random.default_rng(100 + number))


@cache
def result():
    """A study's result from such rows, of 20 questions of a base and two models."""
    with TemporaryDirectory() as folder:
        out = Path(folder)
        for name in ("base", "one", "two"):
            (out / name).mkdir()
            (out / name / "model.safetensors").touch()
        of = settings(out / "base", [out / "one", out / "two"], scenes(), 20, 0)
        run = opened(out / "run", of)
        fabricate(run, of)
        return color_result(of, run, AS_STORED, lambda *_: None)


def _saved(run, name, rows):
    run.save_arrays(name, rows)
    run.save(name, {"questions": len(next(iter(rows.values())))})


def _heads(run, case, count, shape, rng):
    """The top heads add 10, 9, ... 6; others nothing but noise. The last question is answered wrongly by the base."""
    table = rng.normal(0, 0.01, (count, shape[0] * shape[1]))
    for rank, head in enumerate(TOP[case.model]):
        table[:, head] += 10 - rank
    table = table.reshape(count, *shape)
    right = np.ones(count)
    right[-1] = case.model != "base"
    rows = {"right": right, "log_prob": np.full(count, -0.5), "increase": table, "direct": 2 * table}
    rows |= {"certain": table / 2, "wide": table / 4, "width": np.full(count, 2.0)}
    rows |= {"contrast": table[:, ::-1], "contrast_best": table[:, ::-1] / 2}
    _saved(run, f"heads-{case.name}", rows | {"model": np.full(count, 4.0), "model_best": np.full(count, 3.0)})


def _rest(run, study, case, shape, rng):
    count = len(study.measuring)
    each = _keys(count)
    _saved(run, f"keys-{case.name}", {name: np.concatenate([part, part / 2], axis=1) for name, part in each.items()})
    tried = len(spans(shape[0]))
    change = -np.arange(count * len(ROUTES) * tried, dtype=float).reshape(count, len(ROUTES), tried)
    _saved(run, f"ways-{case.name}", {"change": change, "random": change[:, :, -3:] / 2})
    tops = {"increase": [], "contrast": []} | ({} if case.model == "base" else {"base": []})
    found = []
    for of in tops:
        for k, how, null in (
            (1, "mean", "any"),
            (2, "mean", "any"),
            (K, "mean", "any"),
            (K, "mean", "layers"),
            (K, "zero", "any"),
            (MOST, "mean", "any"),
        ):
            sets = rng.normal(-1, 0.1, (20, 2))
            heads = [[0, head] for head in range(k)]
            said = {"of": of, "k": k, "how": how, "null": null, "heads": heads, "sets": sets}
            said |= {"log_prob": np.full(count, -3.0), "right": np.full(count, -0.5)}
            found.append(said | {"random": np.full((count, 2), -1.0)})
    run.save(f"knocked-{case.name}", found)


def _keys(count):
    """Of all heads the same, but for the first: twice as much. By contrast, half as much. A question has no swap."""
    each = np.where(np.arange(MOST) == 0, 2.0, 1.0) * np.ones((count, 1))
    rows = {"same": 0.4 * each, "paraphrase": 0.3 * each, "different": 0.1 * each, "anywhere": 0.02 * each}
    rows["different"][0] = np.nan
    rows |= {"inside": 0.5 * each / 2, "asked": 0.4 * each, "asked_chance": 0.1 * each}
    for readout in READOUTS:
        for word, key in (("color", 0.5), ("object", 0.25)):
            rows |= {f"{readout}/{word}/{null}": key / part * each / 2 for null, part in _NULLS.items()}
    return rows


_NULLS = {"key": 1, "random": 2, "label": 4}
