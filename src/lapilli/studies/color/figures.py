"""From what was measured of every question to figures with intervals and what chance gives."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import combinations, product
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lapilli.core.statistics.bootstrap import Draws, draws
from lapilli.core.statistics.proportion import wilson
from lapilli.core.statistics.sets import least_rank_p, rank_p
from lapilli.inspection.intervention.ablation import Head
from lapilli.studies.color.attention_paths import WAYS, spans
from lapilli.studies.color.key_positions import READOUTS
from lapilli.studies.color.overlap import overlap, rank_correlation, sizes
from lapilli.studies.color.settings import BASE
from lapilli.studies.color.study import CHOSEN_BY, Case, Study

Figure: TypeAlias = dict[str, Any]
"""One figure: what it is of, `value`, `low`, `high` and `n`."""

MEASURES = ("increase", "direct", "contrast")
"""Of heads: the increase of the log-probability, the direct contribution, and that less another colour's."""


def of(case: Case) -> dict[str, str]:
    """What a figure is of."""
    return {"model": case.model, "condition": case.condition.name}


def accuracies(study: Study) -> list[Figure]:
    """The share of all questions answered rightly, of every model under every condition."""
    found = []
    for case in study.cases:
        right = study.heads(case)["right"]
        found.append(of(case) | asdict(wilson(int(right.sum()), len(right))))
    return found


def tables(study: Study) -> list[Figure]:
    """Both measures of every head, on the questions kept: lists (layer, head)."""
    drawn, found = draws(len(study.kept), study.of.seed), []
    for case in study.cases:
        for measure in MEASURES:
            values = study.heads(case)[measure][study.kept]
            low, high = drawn.bounds(values)
            numbers = {"value": values.mean(0), "low": low, "high": high, "n": len(values)}
            found.append(of(case) | {"measure": measure} | numbers)
    return found


def _pairs(study: Study) -> Iterator[tuple[str, Case, Case]]:
    """Which tables are compared, and why."""
    base = study.base
    by_model: dict[str, dict[str, Case]] = {}
    for case in study.cases:
        by_model.setdefault(case.model, {})[case.condition.name] = case
    tuned = [cases for label, cases in by_model.items() if label != BASE]
    for cases in tuned:
        yield "tuning", base, cases["TQA-tuned"]
        yield "modality", cases["TQA-tuned"], cases["VQA"]
        yield "both", base, cases["VQA"]
        yield "prior", cases["prior"], cases["VQA"]
    for one, other in combinations(tuned, 2):
        yield "seeds", one["VQA"], other["VQA"]
        yield "seeds", one["TQA-tuned"], other["TQA-tuned"]


def overlaps(study: Study) -> list[Figure]:
    """How many top heads two conditions share, on the questions kept, at every size and by both measures."""
    seed, found = study.of.seed, []
    for kind, one, other in _pairs(study):
        for measure in MEASURES:
            first, second = (study.heads(case)[measure][study.kept] for case in (one, other))
            said = {"kind": kind, "one": of(one), "other": of(other), "measure": measure}
            correlation = asdict(rank_correlation(first, second, seed))
            for k in sizes(first[0].size):
                shared = asdict(overlap(first, second, k, seed))
                found.append(said | shared.pop("shared") | shared | {"correlation": correlation})
    return found


def differences(study: Study) -> list[Figure]:
    """The logit of the right colour less that of another, in the model and in its top heads' direct contributions."""
    drawn, found = draws(len(study.measuring), study.of.seed), []
    for case, measure in product(study.cases, CHOSEN_BY):
        rows, heads = study.heads(case), study.top(case, measure)
        for against, end in (("random", ""), ("best", "_best")):
            parts = _of_heads(rows[f"contrast{end}"][study.measuring], heads)
            readouts = {"model": (0, rows[f"model{end}"][study.measuring])}
            readouts |= {f"top {k}": (k, parts[:, :k].sum(1)) for k in sizes(rows["increase"][0].size)}
            for readout, (k, values) in readouts.items():
                said = {"of": measure, "readout": readout, "k": k, "against": against}
                found.append(of(case) | said | _mean(drawn, values))
    return found


def _of_heads(values: NDArray[np.floating], heads: Sequence[Head]) -> NDArray[np.floating]:
    """Of (question, layer, head), some heads in their order; (question, head)."""
    layers, numbers = zip(*heads, strict=True)
    return values[:, list(layers), list(numbers)]


def _mean(drawn: Draws, values: NDArray[np.floating]) -> dict[str, Any]:
    return asdict(drawn.mean(values))


def keys(study: Study) -> list[Figure]:
    """How much top heads look at their key positions, asked about the same thing, otherwise, and about another one.

    `drop` is same less different, of the questions with another thing to ask about; `drop_paraphrase`, its null, same
    less paraphrase; `drop_beyond`, what the one is more than the other. `asked` is the share of key positions on the
    thing that is asked about, `asked_beyond` that less the share of all positions of the facts.
    """
    drawn, found = draws(len(study.measuring), study.of.seed), []
    for case, measure in product(study.informed, CHOSEN_BY):
        rows = study.keys(case, measure)
        for k in sizes(study.heads(case)["increase"][0].size):
            some = {name: values[:, :k].mean(1) for name, values in rows.items() if "/" not in name}
            some["drop"] = some["same"] - some["different"]
            some["drop_paraphrase"] = some["same"] - some["paraphrase"]
            some["drop_beyond"] = some["paraphrase"] - some["different"]
            some["asked_beyond"] = some["asked"] - some["asked_chance"]
            found.append(
                of(case) | {"of": measure, "k": k, **{name: _mean(drawn, values) for name, values in some.items()}}
            )
    return found


def decoding(study: Study) -> list[Figure]:
    """The mean reciprocal rank of the right words at the key positions of top heads, and of its nulls."""
    drawn, found = draws(len(study.measuring), study.of.seed), []
    for case, measure in product(study.informed, CHOSEN_BY):
        rows = study.keys(case, measure)
        for k in sizes(study.heads(case)["increase"][0].size):
            for readout in READOUTS:
                for word in ("colour", "object"):
                    some = {
                        null: rows[f"{readout}/{word}/{null}"][:, :k].mean(1) for null in ("key", "random", "label")
                    }
                    some |= {f"above_{null}": some["key"] - some[null] for null in ("random", "label")}
                    said = {"of": measure, "k": k, "readout": readout, "word": word}
                    found.append(of(case) | said | {name: _mean(drawn, values) for name, values in some.items()})
    return found


def knocked(study: Study) -> list[Figure]:
    """Sets of top heads knocked out: the mean changes, those of random sets, the difference, and p by rank."""
    drawn, found = draws(len(study.measuring), study.of.seed), []
    for case in study.informed:
        for one in study.knocked(case):
            sets, random = np.array(one["sets"]), np.array(one["random"])
            figure = of(case) | {name: one[name] for name in ("of", "k", "how", "null", "heads")}
            figure["least_p"] = least_rank_p(len(sets))
            for column, name in enumerate(("log_prob", "right")):
                change = np.array(one[name])
                figure |= {
                    name: _mean(drawn, change),
                    f"{name}_sets": sets[:, column],
                    f"{name}_beyond": _mean(drawn, change - random[:, column]),
                    f"{name}_p": rank_p(change.mean(), sets[:, column]),
                }
            found.append(figure)
    return found


def ways(study: Study) -> list[Figure]:
    """What cutting each way changes of the log-probability, in every span of layers; random looks where there are."""
    drawn, found = draws(len(study.measuring), study.of.seed), []
    for case in study.informed:
        rows = study.ways(case)
        tried = spans(study.heads(case)["increase"].shape[1])
        controlled = len(tried) - rows["random"].shape[2]
        for way, name in enumerate(WAYS):
            for number, span in enumerate(tried):
                change = rows["change"][:, way, number]
                said = {"way": name, "span": span.kind, "layers": [span.layers.start, span.layers.stop]}
                figure = of(case) | said | {"change": _mean(drawn, change)}
                if number >= controlled:
                    random = rows["random"][:, way, number - controlled]
                    figure |= {"random": _mean(drawn, random), "beyond": _mean(drawn, change - random)}
                found.append(figure)
    return found


def halves(study: Study) -> list[Figure]:
    """Of every way, the change when the shallow half of the layers is cut, less that when the deep half is."""
    drawn, found = draws(len(study.measuring), study.of.seed), []
    for case in study.informed:
        change = study.ways(case)["change"]
        kinds = [span.kind for span in spans(study.heads(case)["increase"].shape[1])]
        shallow, deep = (change[:, :, kinds.index(kind)] for kind in ("shallow", "deep"))
        for way, name in enumerate(WAYS):
            found.append(of(case) | {"way": name} | _mean(drawn, shallow[:, way] - deep[:, way]))
    return found


def growth(study: Study) -> list[Figure]:
    """By how much tuning raised the increases of the language model's heads: `top`, the mean of its own top heads.

    `others` is the mean of all its other heads, `beyond` what the top heads gained more. `certain_top`, `wide_top`, ...
    are the same with the logits' sharpness matched (confidence.py), which one that all have in common leaves at 0.
    """
    drawn, found, base = draws(len(study.measuring), study.of.seed), [], study.base
    for case in study.informed:
        if case.model != BASE:
            for k in sizes(study.heads(base)["increase"][0].size):
                figures: Figure = {}
                for measure, name in (("increase", ""), ("certain", "certain"), ("wide", "wide")):
                    gained = _gained(study, base, case, measure, k)
                    figures |= {f"{name}_{part}".strip("_"): _mean(drawn, values) for part, values in gained.items()}
                found.append(of(case) | {"k": k} | figures)
    return found


def _gained(study: Study, base: Case, case: Case, measure: str, k: int) -> dict[str, NDArray[np.floating]]:
    """What heads gained by tuning, of every question measured: the base's top k on average, and its others."""
    after, before = (study.heads(one)[measure][study.measuring] for one in (case, base))
    grown = (after - before).astype(np.float64)
    tops = _of_heads(grown, study.top(base)[:k]).sum(1)
    left = grown[0].size - k
    others = (grown.sum((1, 2)) - tops) / left if left else np.full(len(tops), np.nan)
    return {"top": tops / k, "others": others, "beyond": tops / k - others}
