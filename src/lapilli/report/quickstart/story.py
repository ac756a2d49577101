"""The findings of the results: scores side by side, their differences, whether the model sees and where it fails."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from lapilli.core.statistics.proportion import Difference, Proportion, newcombe
from lapilli.report.kit import figures
from lapilli.report.quickstart.schema import CONTROLS, SPLITS, Change, Constant, Rate, Results, Score

CONDITIONS = {
    "image": "With the picture",
    "swapped": "With another scene’s picture",
    "blank": "With a blank picture",
    "language_only": "Language model alone",
}
STAGES = {"align": "Stage 1: feature alignment", "instruct": "Stage 2: instruction tuning"}
SPLIT_NAMES = {"held_out": "New pictures", "compositional": "New combinations"}

TEMPLATES = {
    "plain": "The template “plain” is no conversation: the picture, then its caption, and nothing asks for it.",
    "vicuna_v1": "The template “vicuna_v1” begins with a sentence that says who speaks, then sets USER: before each "
    "question and ASSISTANT: before each answer, which ends with a stop token.",
}
"""The templates of the quickstart in words."""

Verdict = Literal["sees", "blind", "untested", "built"]


def differences(results: Results) -> Iterator[Change]:
    """Yield every difference that the page may report, of the last stage's accuracy by type and over all types.

    It is compared with a blank picture and with the stage before, new combinations with new pictures, and the colors
    that captions name with those of another picture.
    """
    board = scoreboard(results)
    for split in board.splits:
        for type_ in (*board.types(split), "all"):
            shares = {
                "image": board.share(split, type_),
                "blank": board.share(split, type_, "blank"),
                "stage 1": board.share(split, type_, stage="align"),
                "new pictures": None if split == SPLITS[0] else board.share(SPLITS[0], type_),
            }
            yield from _changes(split, type_, shares)
    if gain := results.get("captions", {}).get("gain"):
        yield {"split": "held_out", "type": "colors in captions", "against": "another picture", **gain}


def _changes(split: str, type_: str, shares: Mapping[str, Proportion | None]) -> Iterator[Change]:
    """The first of the shares less each of the others; None is left out."""
    first, *others = shares.items()
    for name, other in others:
        if first[1] is not None and other is not None:
            difference = newcombe(first[1], other)
            against: Any = {"split": split, "type": type_, "against": name}
            yield against | {"estimate": difference.estimate, "low": difference.low, "high": difference.high}


def proportion(rate: Rate | Score) -> Proportion:
    """Return a saved rate as a Proportion."""
    return Proportion(rate["correct"], rate["n"], rate["estimate"], rate["low"], rate["high"])


@dataclass(frozen=True)
class Scoreboard:
    """All scores, by split, stage, condition and type; `wholes` are those over all types, by the first three."""

    scores: dict[tuple[str, str, str, str], Proportion]
    wholes: dict[tuple[str, str, str], Proportion]
    constants: dict[tuple[str, str], Constant]

    @property
    def stages(self) -> list[str]:
        """The stages with scores, first to last."""
        return [name for name in STAGES if any(stage == name for _, stage, _, _ in self.scores)]

    @property
    def splits(self) -> list[str]:
        """The splits with scores of the last stage's model with pictures."""
        return [split for split in SPLITS if self.types(split)]

    def get(self, split: str, type_: str, condition: str = "image", stage: str | None = None) -> Proportion | None:
        """One score; by default that of the last stage."""
        return self.scores.get((split, stage or (self.stages or [""])[-1], condition, type_))

    def types(self, split: str, condition: str = "image", stage: str | None = None) -> list[str]:
        """The scored types, from the highest to the lowest accuracy."""
        stage = stage or (self.stages or [""])[-1]
        types = [key[3] for key in self.scores if key[:3] == (split, stage, condition)]
        return sorted(types, key=lambda type_: -self.scores[split, stage, condition, type_].estimate)

    def overall(self, split: str, condition: str = "image", stage: str | None = None) -> Proportion | None:
        """The score over all types, or None where the condition lacks a type that was scored with the picture."""
        stage = stage or (self.stages or [""])[-1]
        if set(self.types(split)) - set(self.types(split, condition, stage)):
            return None
        return self.wholes.get((split, stage, condition))

    def share(self, split: str, type_: str, condition: str = "image", stage: str | None = None) -> Proportion | None:
        """One score, or for the type `all` that over all types."""
        score = self.overall if type_ == "all" else partial(self.get, type_=type_)
        return score(split, condition=condition, stage=stage)

    def best_constant(self, split: str) -> float | None:
        """The accuracy of the best constant answer to each type."""
        pairs = [(rate, self.constants.get((split, type_))) for type_, rate in self._rates(split)]
        if not pairs or any(constant is None for _, constant in pairs):
            return None
        right = sum(rate.n * constant["estimate"] for rate, constant in pairs if constant is not None)
        return right / (sum(rate.n for rate, _ in pairs) or 1)

    def _rates(self, split: str) -> list[tuple[str, Proportion]]:
        rates = [(type_, self.get(split, type_)) for type_ in self.types(split)]
        return [(type_, rate) for type_, rate in rates if rate is not None]


def scoreboard(results: Results) -> Scoreboard:
    """Return the scores of the results as a Scoreboard, without those of no questions."""
    scores: dict[tuple[str, str, str, str], Proportion] = {
        (row["split"], row["stage"], row["condition"], row["type"]): proportion(row)
        for row in results.get("scores", [])
        if row["n"]
    }
    wholes: dict[tuple[str, str, str], Proportion] = {
        (row["split"], row["stage"], row["condition"]): proportion(row)
        for row in results.get("overall", [])
        if row["n"]
    }
    constants: dict[tuple[str, str], Constant] = {
        (row["split"], row["type"]): row for row in results.get("constants", [])
    }
    return Scoreboard(scores, wholes, constants)


@dataclass(frozen=True)
class Headline:
    """The main finding: the verdict and its figures. `gain` is over the blank picture."""

    verdict: Verdict
    split: str
    accuracy: Proportion | None
    blank: Proportion | None
    gain: Difference | None


def headline(board: Scoreboard) -> Headline:
    """Return the headline: `sees` when the picture helps clearly over every control, `untested` without any control."""
    if not board.splits:
        return Headline("built", "", None, None, None)
    split = board.splits[0]
    accuracy, blank = board.overall(split), board.overall(split, "blank")
    controls = [rate for rate in (board.overall(split, control) for control in CONTROLS) if rate is not None]
    if accuracy is None or not controls:
        return Headline("untested", split, accuracy, blank, None)
    sees = all(newcombe(accuracy, control).low > 0 for control in controls)
    gain = newcombe(accuracy, blank) if blank is not None else None
    return Headline("sees" if sees else "blind", split, accuracy, blank, gain)


@dataclass(frozen=True)
class Finding:
    """A weakness of the model, and the figures that show it."""

    title: str
    words: str


def findings(board: Scoreboard) -> list[Finding]:
    """Return the weaknesses that the scores show, the most important first."""
    if not board.splits:
        return []
    split = board.splits[0]
    finders = (_weakest, _unmoved, _no_better, _lost, _worse)
    return [finding for find in finders if (finding := find(board, split)) is not None]


def _weakest(board: Scoreboard, split: str) -> Finding | None:
    types = board.types(split)[-3:][::-1]
    if not types:
        return None
    words = "; ".join(f"{type_} {figures.rate(board.get(split, type_))}" for type_ in types)
    return Finding(f"It is weakest at {_listed(types)}", f"Share right on new pictures: {words}.")


def _unmoved(board: Scoreboard, split: str) -> Finding | None:
    gains = {}
    for type_ in board.types(split):
        sighted, blank = board.get(split, type_), board.get(split, type_, "blank")
        if sighted is not None and blank is not None:
            gains[type_] = newcombe(sighted, blank)
    unmoved = [type_ for type_, gain in gains.items() if gain.low <= 0]
    if not unmoved:
        return None
    words = "; ".join(f"{type_} {_change(gains[type_])}" for type_ in unmoved)
    return Finding(
        f"Looking is not shown to help with {_listed(unmoved)}",
        f"Change against a blank picture, not clear of zero: {words}.",
    )


def _no_better(board: Scoreboard, split: str) -> Finding | None:
    words = {}
    for type_ in board.types(split):
        rate, constant = board.get(split, type_), board.constants.get((split, type_))
        if rate is not None and constant is not None and rate.low <= constant["estimate"]:
            always = f"always “{constant['answer']}” gets {figures.percent(constant['estimate'])}"
            words[type_] = f"{type_} {figures.rate(rate)}, {always}"
    if not words:
        return None
    return Finding(
        f"Not shown to beat one fixed answer on {_listed(words)}",
        "Not clearly better: " + "; ".join(words.values()) + ".",
    )


def _lost(board: Scoreboard, split: str) -> Finding | None:
    sighted, new = board.overall(split), board.overall(SPLITS[-1])
    if split == SPLITS[-1] or sighted is None or new is None:
        return None
    drop = newcombe(new, sighted)
    words = f"{figures.rate(new)} against {figures.rate(sighted)}: {_change(drop)}."
    if drop.high < 0:
        return Finding("It loses on combinations it never met", words)
    return Finding("New combinations cost it nothing that these questions can show", words) if drop.low <= 0 else None


def _worse(board: Scoreboard, split: str) -> Finding | None:
    if len(board.stages) < 2:
        return None
    changes = {}
    for type_ in board.types(split):
        before, after = board.get(split, type_, stage=board.stages[0]), board.get(split, type_)
        if before is not None and after is not None:
            changes[type_] = newcombe(after, before)
    worse = [type_ for type_, change in changes.items() if change.high < 0]
    if not worse:
        return None
    words = "; ".join(f"{type_} {_change(changes[type_])}" for type_ in worse)
    return Finding(f"The second stage made {_listed(worse)} worse", f"Change from stage 1 to stage 2: {words}.")


def _change(change: Difference) -> str:
    low, high = figures.points(change.low), figures.points(change.high)
    return f"{figures.points(change.estimate)} points ({low} to {high})"


def _listed(words: Iterable[str]) -> str:
    *most, last = list(words)
    return f"{', '.join(most)} and {last}" if most else last
