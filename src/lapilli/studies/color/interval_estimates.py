"""Interval estimates: the questions' measures as means with intervals, beside chance."""

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
from lapilli.studies.color.fact_routes import ROUTES, spans
from lapilli.studies.color.key_positions import READOUTS
from lapilli.studies.color.overlap import overlap, rank_correlation, sizes
from lapilli.studies.color.settings import BASE
from lapilli.studies.color.study import CHOSEN_BY, Case, Study

Figure: TypeAlias = dict[str, Any]
"""One figure: its labels, `value`, `low`, `high` and `n`."""

MEASURES = ("increase", "direct", "contrast")
"""The measures of heads: the log-probability increase, the direct contribution, and that less another color's."""


def case_labels(case: Case) -> dict[str, str]:
    """The labels of a figure about a case."""
    return {"model": case.model, "condition": case.condition.name}


def accuracies(study: Study) -> list[Figure]:
    """The share of all questions answered rightly, of every model under every condition."""
    figures = []
    for case in study.cases:
        right = study.heads(case)["right"]
        figures.append(case_labels(case) | asdict(wilson(int(right.sum()), len(right))))
    return figures


def tables(study: Study) -> list[Figure]:
    """All MEASURES of every head, on the questions kept: lists (layer, head)."""
    resamples, figures = draws(len(study.kept), study.of.seed), []
    for case in study.cases:
        for measure in MEASURES:
            values = study.heads(case)[measure][study.kept]
            low, high = resamples.bounds(values)
            numbers = {"value": values.mean(0), "low": low, "high": high, "n": len(values)}
            figures.append(case_labels(case) | {"measure": measure} | numbers)
    return figures


def _pairs(study: Study) -> Iterator[tuple[str, Case, Case]]:
    """Yield the cases whose tables are compared, and the kind of comparison."""
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
    for first, second in combinations(tuned, 2):
        yield "seeds", first["VQA"], second["VQA"]
        yield "seeds", first["TQA-tuned"], second["TQA-tuned"]


def overlaps(study: Study) -> list[Figure]:
    """The numbers of top heads that two conditions share, on the questions kept, at every size and by all measures."""
    seed, figures = study.of.seed, []
    for kind, *cases in _pairs(study):
        for measure in MEASURES:
            first, second = (study.heads(case)[measure][study.kept] for case in cases)
            labels = {
                "kind": kind,
                "one": case_labels(cases[0]),
                "other": case_labels(cases[1]),
                "measure": measure,
            }
            correlation = asdict(rank_correlation(first, second, seed))
            for k in sizes(first[0].size):
                shared = asdict(overlap(first, second, k, seed))
                figures.append(labels | shared.pop("shared") | shared | {"correlation": correlation})
    return figures


def differences(study: Study) -> list[Figure]:
    """The logit of the right color less that of another, in the model and in its top heads' direct contributions."""
    resamples, figures = draws(len(study.measuring), study.of.seed), []
    for case, measure in product(study.cases, CHOSEN_BY):
        measures, heads = study.heads(case), study.top(case, measure)
        for against, end in (("random", ""), ("best", "_best")):
            parts = _of_heads(measures[f"contrast{end}"][study.measuring], heads)
            readouts = {"model": (0, measures[f"model{end}"][study.measuring])}
            readouts |= {f"top {k}": (k, parts[:, :k].sum(1)) for k in sizes(measures["increase"][0].size)}
            for readout, (k, values) in readouts.items():
                labels = {"of": measure, "readout": readout, "k": k, "against": against}
                figures.append(case_labels(case) | labels | _mean(resamples, values))
    return figures


def _of_heads(values: NDArray[np.floating], heads: Sequence[Head]) -> NDArray[np.floating]:
    """Select some heads, in their order, of values (question, layer, head); (question, head)."""
    layers, numbers = zip(*heads, strict=True)
    return values[:, list(layers), list(numbers)]


def _mean(resamples: Draws, values: NDArray[np.floating]) -> dict[str, Any]:
    return asdict(resamples.mean(values))


def keys(study: Study) -> list[Figure]:
    """The attention of top heads at their key positions: asked the same, paraphrased, and about another thing.

        drop            = same - different     (questions with another thing to ask about)
        drop_paraphrase = same - paraphrase    (its null)
        drop_beyond     = paraphrase - different
        asked_beyond    = asked - asked_chance

    `asked` is the share of key positions on the target thing, `asked_chance` that of all positions of the facts.
    """
    resamples, figures = draws(len(study.measuring), study.of.seed), []
    for case, measure in product(study.informed, CHOSEN_BY):
        measures = study.keys(case, measure)
        for k in sizes(study.heads(case)["increase"][0].size):
            some = {name: values[:, :k].mean(1) for name, values in measures.items() if "/" not in name}
            some["drop"] = some["same"] - some["different"]
            some["drop_paraphrase"] = some["same"] - some["paraphrase"]
            some["drop_beyond"] = some["paraphrase"] - some["different"]
            some["asked_beyond"] = some["asked"] - some["asked_chance"]
            figures.append(
                case_labels(case)
                | {"of": measure, "k": k, **{name: _mean(resamples, values) for name, values in some.items()}}
            )
    return figures


def decoding(study: Study) -> list[Figure]:
    """The mean reciprocal rank of the right words at the key positions of top heads, beside its nulls."""
    resamples, figures = draws(len(study.measuring), study.of.seed), []
    for case, measure in product(study.informed, CHOSEN_BY):
        measures = study.keys(case, measure)
        for k in sizes(study.heads(case)["increase"][0].size):
            for readout in READOUTS:
                for word in ("color", "object"):
                    some = {
                        null: measures[f"{readout}/{word}/{null}"][:, :k].mean(1) for null in ("key", "random", "label")
                    }
                    some |= {f"above_{null}": some["key"] - some[null] for null in ("random", "label")}
                    labels = {"of": measure, "k": k, "readout": readout, "word": word}
                    figures.append(
                        case_labels(case) | labels | {name: _mean(resamples, values) for name, values in some.items()}
                    )
    return figures


def ablations(study: Study) -> list[Figure]:
    """Ablations of sets of top heads: the mean changes, those of random sets, the difference, and p by rank."""
    resamples, figures = draws(len(study.measuring), study.of.seed), []
    for case in study.informed:
        for ablation in study.knocked(case):
            sets, random = np.array(ablation["sets"]), np.array(ablation["random"])
            figure = case_labels(case) | {name: ablation[name] for name in ("of", "k", "how", "null", "heads")}
            figure["least_p"] = least_rank_p(len(sets))
            for column, name in enumerate(("log_prob", "right")):
                change = np.array(ablation[name])
                figure |= {
                    name: _mean(resamples, change),
                    f"{name}_sets": sets[:, column],
                    f"{name}_beyond": _mean(resamples, change - random[:, column]),
                    f"{name}_p": rank_p(change.mean(), sets[:, column]),
                }
            figures.append(figure)
    return figures


def routes(study: Study) -> list[Figure]:
    """The change of the log-probability by cutting each route, in every span of layers, beside random edges."""
    resamples, figures = draws(len(study.measuring), study.of.seed), []
    for case in study.informed:
        measures = study.ways(case)
        tried = spans(study.heads(case)["increase"].shape[1])
        controlled = len(tried) - measures["random"].shape[2]
        for route, name in enumerate(ROUTES):
            for number, span in enumerate(tried):
                change = measures["change"][:, route, number]
                labels = {"way": name, "span": span.kind, "layers": [span.layers.start, span.layers.stop]}
                figure = case_labels(case) | labels | {"change": _mean(resamples, change)}
                if number >= controlled:
                    random = measures["random"][:, route, number - controlled]
                    figure |= {"random": _mean(resamples, random), "beyond": _mean(resamples, change - random)}
                figures.append(figure)
    return figures


def halves(study: Study) -> list[Figure]:
    """The change by a cut in the shallow half of the layers less that in the deep half, for every route."""
    resamples, figures = draws(len(study.measuring), study.of.seed), []
    for case in study.informed:
        change = study.ways(case)["change"]
        kinds = [span.kind for span in spans(study.heads(case)["increase"].shape[1])]
        shallow, deep = (change[:, :, kinds.index(kind)] for kind in ("shallow", "deep"))
        for route, name in enumerate(ROUTES):
            figures.append(case_labels(case) | {"way": name} | _mean(resamples, shallow[:, route] - deep[:, route]))
    return figures


def growth(study: Study) -> list[Figure]:
    """The growth of the increases of the language model's heads by tuning: `top`, the mean of its own top heads.

    `others` is the mean of all its other heads, and beyond = top - others. `certain_top`, `wide_top`, ... are the same
    with the logits' sharpness matched (confidence.py), so that one common factor gives 0.
    """
    resamples, rows, base = draws(len(study.measuring), study.of.seed), [], study.base
    for case in study.informed:
        if case.model != BASE:
            for k in sizes(study.heads(base)["increase"][0].size):
                figures: Figure = {}
                for measure, name in (("increase", ""), ("certain", "certain"), ("wide", "wide")):
                    gained = _gained(study, base, case, measure, k)
                    figures |= {
                        f"{name}_{part}".strip("_"): _mean(resamples, values) for part, values in gained.items()
                    }
                rows.append(case_labels(case) | {"k": k} | figures)
    return rows


def _gained(study: Study, base: Case, case: Case, measure: str, k: int) -> dict[str, NDArray[np.floating]]:
    """The growth by tuning, (question,): of the base's top k heads on average, of its others, and the difference."""
    after, before = (study.heads(which)[measure][study.measuring] for which in (case, base))
    grown = (after - before).astype(np.float64)
    tops = _of_heads(grown, study.top(base)[:k]).sum(1)
    remaining = grown[0].size - k
    others = (grown.sum((1, 2)) - tops) / remaining if remaining else np.full(len(tops), np.nan)
    return {"top": tops / k, "others": others, "beyond": tops / k - others}
