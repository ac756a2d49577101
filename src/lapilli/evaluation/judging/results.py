"""What judgements come to: the figures of either procedure, all and by category, and a review file of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lapilli.core.files import write_atomically
from lapilli.core.plain import json_text
from lapilli.core.statistics.clusters import clustered_mean
from lapilli.core.statistics.paired import detectable
from lapilli.evaluation.judge import UNPARSED, Ballot, Scores, Verdict, aggregate, verdicts
from lapilli.evaluation.judging.plan import Trial
from lapilli.evaluation.published.figures import figure
from lapilli.evaluation.published.join import Labels, score_file
from lapilli.evaluation.published.llava_bench import BENCHMARK
from lapilli.evaluation.published.protocol import ALL
from lapilli.evaluation.published.results import result

_TEN = 10  # the published figures are of 100


@dataclass(frozen=True)
class Judgement:
    """What came of a trial.

    scores   in the order in which the answers stood; None where they cannot be read
    text     the judge's words, as they came
    failure  why there are none: the endpoint refused, or did not answer
    asked_again_helps  whether the endpoint may answer another time
    """

    trial: Trial
    scores: Scores | None
    text: str = ""
    failure: str = ""
    asked_again_helps: bool = False

    @property
    def of_pair(self) -> Scores | None:
        """The reference's and the answer's score."""
        return self.scores[::-1] if self.scores and self.trial.swapped else self.scores


def balanced_figures(judgements: Sequence[Judgement]) -> dict[str, Any]:
    """The figures of all pairs, and of each category, as far as questions have one."""
    answered = [one for one in judgements if not one.failure]
    names = [ALL, *dict.fromkeys(one.trial.pair.category for one in judgements if one.trial.pair.category)]
    return {
        name: _balanced([_ballot(one) for one in answered if name in (ALL, one.trial.pair.category)]) for name in names
    } | _counts(judgements)


def published_figures(judgements: Sequence[Judgement], reviews: Path) -> dict[str, Any]:
    """What `lapilli score llava-bench --reviews` says of the review file; it counts what was not read as -1 and -1."""
    if not any(not one.failure for one in judgements):
        return _counts(judgements)
    return result(BENCHMARK, score_file(BENCHMARK, reviews, Labels({}, {}))) | _counts(judgements)


def _counts(judgements: Sequence[Judgement]) -> dict[str, Any]:
    return {
        "unparsed": sum(one.scores is None and not one.failure for one in judgements),
        "refused": sum(bool(one.failure) for one in judgements),
        "judgements": len(judgements),
    }


def _ballot(one: Judgement) -> Ballot:
    pair = one.trial.pair
    return Ballot(pair.id, pair.category, pair.image or pair.id, one.trial.swapped, one.scores)


def _balanced(ballots: Sequence[Ballot]) -> dict[str, Any]:
    """The figures of some ballots, each with its interval; scores are from 0 to 10, means of them from 0 to 100."""
    of = aggregate(ballots)
    read = [one for one in verdicts(ballots) if one.is_balanced]
    clusters = [one.cluster for one in read]
    reference, candidate = ([one.scores[side] for one in read] for side in (0, 1))
    better = [after - before for before, after in zip(reference, candidate, strict=True)]
    return {
        **figure("relative", of["relative"]),
        **figure("reference", clustered_mean(reference, clusters), _TEN),
        **figure("candidate", clustered_mean(candidate, clusters), _TEN),
        **figure("difference", clustered_mean(better, clusters)),
        "detectable": detectable(candidate, reference, clusters) if read else None,
        "wins": sum(one > 0 for one in better),
        "ties": sum(one == 0 for one in better),
        "losses": sum(one < 0 for one in better),
        **figure("position_bias", of["place"]),
        **figure("agreement", of["agreement"]),
        "n": of["n"],
        "one_order": of["one_order"],
        "unparsed": of["unparsed"],
    }


def write_reviews(judgements: Sequence[Judgement], published: bool, file: Path) -> None:
    """Write the review file that `lapilli score llava-bench --reviews` reads: a row for each pair.

    Of the published procedure every reply with its text, at -1 and -1 where it was not read; of the balanced one the
    mean scores of each pair that was read in both orders.
    """
    rows = _replies(judgements) if published else _means(judgements)
    write_atomically(file, "".join(json_text(row) + "\n" for row in rows))


def _replies(judgements: Sequence[Judgement]) -> Iterator[Mapping[str, Any]]:
    for one in judgements:
        if not one.failure:
            yield _review(one) | {"tuple": list(one.scores or UNPARSED), "content": one.text}


def _means(judgements: Sequence[Judgement]) -> Iterator[Mapping[str, Any]]:
    means = pair_verdicts(judgements)
    for name, one in {one.trial.pair.id: one for one in judgements}.items():
        verdict = means.get(name)
        if verdict and verdict.is_balanced:
            yield _review(one) | {"tuple": list(verdict.scores)}


def pair_verdicts(judgements: Sequence[Judgement]) -> dict[str, Verdict]:
    """Every pair's mean scores in each order, by its name; pairs without any reply are not there."""
    return {one.id: one for one in verdicts([_ballot(one) for one in judgements if not one.failure])}


def _review(one: Judgement) -> dict[str, Any]:
    pair = one.trial.pair
    fields = {"question_id": pair.id, "category": pair.category, "image": pair.image}
    return {name: text for name, text in fields.items() if text}


def pair_rows(judgements: Sequence[Judgement]) -> list[dict[str, Any]]:
    """A row for each pair: its texts, mean scores where there are any, and every judgement with the judge's words."""
    means = pair_verdicts(judgements)
    of: dict[str, list[Judgement]] = {}
    for one in judgements:
        of.setdefault(one.trial.pair.id, []).append(one)
    return [_pair_row(group, means.get(name)) for name, group in of.items()]


def _pair_row(group: Sequence[Judgement], verdict: Verdict | None) -> dict[str, Any]:
    pair = group[0].trial.pair
    read = verdict is not None and any(one.scores is not None for one in group)
    reference, candidate = verdict.scores if verdict and read else (None, None)
    texts = {name: getattr(pair, name) for name in ("id", "category", "image", "question", "reference", "answer")}
    return texts | {
        "reference_score": reference,
        "score": candidate,
        "both_orders": bool(verdict and verdict.is_balanced),
        "agree": _agree(verdict) if verdict and verdict.is_balanced else None,
        "judgements": [
            {
                "answer_first": one.trial.swapped,
                "sample": one.trial.sample,
                "scores": one.of_pair,
                "text": one.text,
                "failure": one.failure,
            }
            for one in group
        ],
    }


def _agree(verdict: Verdict) -> bool:
    """Whether both orders name the same winner, or both none."""
    (first, second), (third, fourth) = verdict.reference_first or UNPARSED, verdict.candidate_first or UNPARSED
    return bool(np.sign(first - second) == np.sign(third - fourth))
