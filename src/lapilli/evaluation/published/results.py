"""What is said of scored files: the figures of each, how its answers are formed, and how two of them differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from math import nan
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lapilli.core.errors import LapilliError
from lapilli.core.statistics.clusters import clustered_mean
from lapilli.core.statistics.estimate import Estimate
from lapilli.core.statistics.multiple import holm
from lapilli.core.statistics.paired import detectable, kappa, mcnemar, paired_difference
from lapilli.core.terminal import printable
from lapilli.evaluation.published.figures import figure, share
from lapilli.evaluation.published.join import Scored
from lapilli.evaluation.published.protocol import Judged, Published
from lapilli.evaluation.published.resampling import Statistic, interval_of

_RANKED = 500  # draws of a correlation of ranks
_SAME = 1e-20  # what rounding leaves of the spread of equal ranks
_COMPARED = 12  # rules beside the score whose agreement is measured


def result(benchmark: Published[Any], scored: Scored) -> dict[str, Any]:
    """The figures of a file, its audit, and how far the benchmark's rules agree; what did not match is counted."""
    return {
        **benchmark.figures(scored.rows),
        "unmatched": len(scored.unmatched) + len(scored.unanswered),
        "unanswered": len(scored.unanswered),
        "audit": audit(scored.rows),
        "agreement": agreement(scored.rows),
        "benchmark": {"name": benchmark.name, "version": benchmark.version},
    }


def audit(rows: Sequence[Judged]) -> dict[str, Any]:
    """How the answers are formed: those that were not read, the empty ones, and their lengths in words.

    Where right answers are longer or shorter than wrong ones, a rule may reward length.
    """
    clusters = [row.cluster for row in rows]
    lengths = np.array([len(row.text.split()) for row in rows], np.float64)
    scores = np.array([row.score for row in rows])
    judged = {"words_right": scores == 1, "words_wrong": scores == 0} if np.isin(scores, (0, 1)).all() else {}
    return {
        **figure("format_failures", share([row.failed for row in rows], clusters)),
        **figure("empty", share([not row.text.strip() for row in rows], clusters)),
        **figure("words", clustered_mean(lengths, clusters)),
        "longest_words": int(lengths.max()),
        **{name: float(lengths[those].mean()) if those.any() else nan for name, those in judged.items()},
    }


def agreement(rows: Sequence[Judged]) -> dict[str, Any]:
    """How far each rule beside the score agrees with it: of answers that are right or wrong the share on which both
    say the same, and kappa; of other scores Spearman's correlation.
    """
    names = [name for name in rows[0].beside if all(name in row.beside for row in rows)][:_COMPARED]
    return {name: _agreement(rows, name) for name in names}


def _agreement(rows: Sequence[Judged], name: str) -> dict[str, Any]:
    scores = np.array([row.score for row in rows])
    others = np.array([row.beside[name] for row in rows])
    clusters = [row.cluster for row in rows]
    if np.isin(scores, (0, 1)).all() and np.isin(others, (0, 1)).all():
        return figure("same", share((scores == others).tolist(), clusters)) | {"kappa": kappa(scores == 1, others == 1)}
    spearman = _spearman(scores, others)
    low, high = interval_of(rows, spearman, _RANKED)
    value = float(spearman(np.ones((1, len(rows))), rows)[0])
    return figure("spearman", Estimate(value, low, high, len(rows)))


def _spearman(scores: NDArray[np.float64], others: NDArray[np.float64]) -> Statistic:
    """Spearman's correlation of two scores of weighted answers; nan where one is the same for all."""
    first, second = (np.unique(values, return_inverse=True)[1] for values in (scores, others))
    pairs, at = np.unique(first * len(scores) + second, return_inverse=True)  # of shares among annotators few
    first, second = np.divmod(pairs, len(scores))

    def correlations(weights: NDArray[np.float64], _: Sequence[Judged]) -> NDArray[np.float64]:
        return np.array([_correlation(first, second, np.bincount(at, of) / of.sum()) for of in weights])

    return correlations


def _correlation(first: NDArray[np.intp], second: NDArray[np.intp], shares: NDArray[np.float64]) -> float:
    """The correlation of the ranks of pairs of levels, from the share of answers that each pair has."""
    one, other = (_ranks(level, shares) - 0.5 for level in (first, second))  # 1/2 is the mean of ranks
    spread = (shares @ one**2) * (shares @ other**2)
    return float(shares @ (one * other) / np.sqrt(spread)) if spread > _SAME else nan


def _ranks(level: NDArray[np.intp], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """The middle rank of each pair's level, from 0 to 1."""
    of_level = np.bincount(level, shares)
    return np.asarray((np.cumsum(of_level) - of_level / 2)[level])


@dataclass(frozen=True)
class Comparison:
    """Two files on the questions that both answer: the first's mean score less the second's.

    score        what that score is
    p            of the hypothesis that both are as good: McNemar's exact one where every answer is right or wrong and
                 no picture has two questions, else that of the bootstrap of pictures
    p_holm       the same, adjusted for all comparisons
    detectable   the least true difference that would be found four times in five
    first_only   questions that only the first answers rightly, and second_only; None where there are other scores
    """

    first: str
    second: str
    score: str
    n: int
    difference: float
    difference_interval: tuple[float, float]
    test: str
    p: float
    p_holm: float
    detectable: float
    first_only: int | None
    second_only: int | None


def compare(benchmark: Published[Any], files: Sequence[Scored]) -> list[Comparison]:
    """Every pair of files. Their names are those of `names`.

    Raises LapilliError for two files that answer no question in common, as those whose rows have no names.
    """
    rows = [(name, benchmark.compared(scored.rows)) for name, scored in zip(names(files), files, strict=True)]
    return compare_pairs(benchmark.score, list(combinations(rows, 2)))


NamedRows: TypeAlias = tuple[str, Sequence[Judged]]
"""Scored answers, and what they are called."""


def compare_pairs(score: str, pairs: Sequence[tuple[NamedRows, NamedRows]]) -> list[Comparison]:
    """Every pair of scored answers by `score`; p is adjusted for all of them.

    Raises LapilliError for a pair without a question in common.
    """
    compared = [{"score": score} | _compare(one, other) for one, other in pairs]
    adjusted = holm([float(of["p"]) for of in compared])
    return [Comparison(**of, p_holm=p) for of, p in zip(compared, adjusted, strict=True)]


def names(files: Sequence[Scored]) -> list[str]:
    """What each file is called, printable: by its own name, or where two have the same one by their paths."""
    own = [printable(scored.file.name) for scored in files]
    return own if len(set(own)) == len(own) else [printable(str(scored.file)) for scored in files]


def _compare(one: NamedRows, other: NamedRows) -> dict[str, Any]:
    seconds = {(row.id, row.group): row for row in other[1]}
    pairs = [(row, seconds[row.id, row.group]) for row in one[1] if (row.id, row.group) in seconds]
    if not pairs:
        raise LapilliError(f"{one[0]} and {other[0]}: no question in both; name each row's question with question_id")
    first, second = ([pair[side].score for pair in pairs] for side in (0, 1))
    clusters = [row.cluster for row, _ in pairs]
    apart = paired_difference(first, second, clusters)
    binary = set(first) | set(second) <= {0.0, 1.0}
    right = mcnemar([score == 1 for score in first], [score == 1 for score in second]) if binary else None
    exact = right is not None and len(set(clusters)) == len(clusters)
    return {
        "first": one[0],
        "second": other[0],
        "n": apart.n,
        "difference": apart.value,
        "difference_interval": (apart.low, apart.high),
        "test": "McNemar, exact" if exact else "bootstrap of pictures",
        "p": right.p if right and exact else apart.p,
        "detectable": detectable(first, second, clusters),
        "first_only": right.first_only if right else None,
        "second_only": right.second_only if right else None,
    }
