"""Figures of judged answers as JSON: `name` and `name_interval`, by picture where several questions share one."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from lapilli.core.statistics.clusters import clustered, clustered_mean
from lapilli.core.statistics.estimate import Estimate
from lapilli.core.statistics.proportion import Proportion
from lapilli.evaluation.published.protocol import Judged


def figure(name: str, of: Proportion | Estimate, scale: float = 1) -> dict[str, Any]:
    """A figure and its 95 % interval under its name; not a number becomes null in JSON."""
    value = of.estimate if isinstance(of, Proportion) else of.value
    return {name: scale * value, f"{name}_interval": [scale * of.low, scale * of.high]}


def share(right: Sequence[bool], clusters: Sequence[Hashable]) -> Proportion:
    """The share of answers of which something holds; questions about one picture are a cluster."""
    return clustered(list(right), list(clusters))


def mean_score(rows: Sequence[Judged], name: str = "") -> Proportion | Estimate:
    """The mean score, or that by the rule `name` beside it: a share where every answer is either right or wrong."""
    scores = [row.beside[name] if name else row.score for row in rows]
    clusters = [row.cluster for row in rows]
    if all(score in (0, 1) for score in scores):
        return share([score == 1 for score in scores], clusters)
    return clustered_mean(scores, clusters)


def accuracy(rows: Sequence[Judged], name: str = "accuracy") -> dict[str, Any]:
    """The mean score as a figure, with n."""
    return figure(name, mean_score(rows)) | {"n": len(rows)}


def grouped(rows: Iterable[Judged], key: Callable[[Judged], str]) -> dict[str, list[Judged]]:
    """The rows of each group, in the order in which the groups appear."""
    groups: dict[str, list[Judged]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return groups


def by_group(rows: Sequence[Judged]) -> dict[str, Any]:
    """The accuracy of each group of questions, with n."""
    return {name: accuracy(group) for name, group in grouped(rows, lambda row: row.group).items()}


def unparsed(rows: Sequence[Judged]) -> int:
    """Answers of which nothing could be read."""
    return sum(row.failed for row in rows)
