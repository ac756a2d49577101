"""Two evaluations of the same questions, answer by answer: scenes, questions of one's own, text.

Published benchmarks have more than right and wrong, and `lapilli score` compares their files of answers.
"""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from lapilli.core.errors import LapilliError
from lapilli.core.names import shortest_ends
from lapilli.core.read import checked
from lapilli.core.recipe import recipe_values
from lapilli.core.run import RunDir
from lapilli.evaluation.answer_file import listed
from lapilli.evaluation.published.protocol import ALL, ASKED, Judged
from lapilli.evaluation.published.results import Comparison, NamedRows, compare_pairs
from lapilli.evaluation.scenes import UNTYPED

_SCORE = "the share of right answers"
_CONDITIONS = ("image", "text")  # the others are controls
_PLACES = {"shard", "data", "images"}  # fields of a recipe that say where, and not what
_AGAIN = "run the evaluation again"


@dataclass(frozen=True)
class Question:
    """A question as an evaluation keeps it."""

    id: str
    question: str
    image: str
    type: str = ""
    split: str = ""
    conversation: str = ""
    turn: int = 1


@dataclass(frozen=True)
class Answer:
    """A row of `results/answers.json`; `right` is None where answers are not right or wrong."""

    benchmark: str
    condition: str
    question: Question
    given: str
    normalised: str
    right: bool | None = None
    expected: tuple[str, ...] = ()

    @property
    def type(self) -> str:
        """The type of the question, behind its split where there are such."""
        return f"{self.question.split} {self.question.type or UNTYPED}".strip()


@dataclass(frozen=True)
class Picture:
    """A row of `results/pictures.json`."""

    benchmark: str
    split: str
    image: str
    uri: str


Answers: TypeAlias = dict[Hashable, Answer]
"""The answers to a benchmark by what was asked: split, question, picture, right answers, earlier turns."""

Pair: TypeAlias = tuple[Answer, Answer]
"""What the first and the second run answered to one question."""


@dataclass(frozen=True)
class TypeCompared:
    """The questions of one type or turn of a benchmark, or all of a split: the shares that are right, compared."""

    benchmark: str
    type: str
    first: float
    second: float
    compared: Comparison


@dataclass(frozen=True)
class Changed:
    """A question that only one of the runs answers rightly; `uri` is its picture, "" where neither run has kept it."""

    answers: Pair
    uri: str


@dataclass(frozen=True)
class PairedRuns:
    """Two evaluations compared.

    names      what each run is called
    differing  the fields in which their recipes differ
    types      a row for every type, p adjusted for all of them
    changed    the questions that only one answers rightly
    reworded   the number of other questions to which the answers differ
    left_out   benchmarks that only one was asked, or that are compared otherwise
    """

    names: tuple[str, str]
    differing: tuple[str, ...]
    types: tuple[TypeCompared, ...]
    changed: tuple[Changed, ...]
    reworded: int
    left_out: tuple[str, ...]


def is_evaluation(run: RunDir) -> bool:
    """Whether a run is one of `lapilli eval`. Raises UsageError where its recipe cannot be read."""
    return "benches" in recipe_values(run.path / "recipe.yaml")


def compare_runs(first: Path, second: Path) -> PairedRuns:
    """Two finished evaluations, the first less the second, by type of question; those about one picture are a cluster.

    Raises LapilliError for a run that has not finished or was changed since, for two without a benchmark in common,
    and for questions or pictures that only one was asked, with their names.
    """
    runs = [RunDir.open(folder) for folder in (first, second)]
    for run in runs:
        run.verify(pages=False)
    ends = shortest_ends([run.path.absolute() for run in runs])
    recipes = [recipe_values(run.path / "recipe.yaml") for run in runs]
    _require_same_inputs(runs, recipes)
    one, other = (_by_benchmark(run) for run in runs)
    common = [name for name in one if name in other and name not in ASKED]
    if not common:
        benches = "; ".join(f"{end}: {', '.join(of) or 'none'}" for end, of in zip(ends, (one, other), strict=True))
        raise LapilliError(f"no benchmark to compare: {benches}; of published ones compare the answers: lapilli score")
    pairs = {name: _joined(ends, name, (one[name], other[name])) for name in common}
    every = [pair for of in pairs.values() for pair in of]
    names = (ends[0], ends[1])
    return PairedRuns(
        names,
        differing=tuple(sorted(_differing(*recipes))),
        types=tuple(_types(names, pairs)),
        changed=tuple(_changed(every, _thumbnails(runs))),
        reworded=sum(one.right == other.right and one.given != other.given for one, other in every),
        left_out=tuple(sorted({*one, *other} - set(common))),
    )


def _require_same_inputs(runs: Sequence[RunDir], recipes: Sequence[Mapping[str, Any]]) -> None:
    """Raise LapilliError where both say what they read, and it is not the same."""
    drawn = [run.load("questions") if run.has("questions") else {} for run in runs]
    inputs = [{**(recipe.get("inputs") or {}), **of} for recipe, of in zip(recipes, drawn, strict=True)]
    if others := [name for name, digest in inputs[0].items() if inputs[1].get(name, digest) != digest]:
        where = f"{runs[0].path} and {runs[1].path}"
        raise LapilliError(f"{where}: other questions or pictures ({', '.join(others)}); ask both runs the same")


def _differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> set[str]:
    return {name for name in {*first, *second} - _PLACES if first.get(name) != second.get(name)}


def _by_benchmark(run: RunDir) -> dict[str, Answers]:
    """The answers of a run that are right or wrong, without those of controls."""
    answers: dict[str, Answers] = {}
    counts: Counter[Hashable] = Counter()
    earlier: defaultdict[Hashable, tuple[Hashable, ...]] = defaultdict(tuple)
    for row in checked(list[Answer], run.load("answers"), str(run.path / "results/answers.json"), _AGAIN):
        if row.condition in _CONDITIONS and row.right is not None:
            alone = (row.benchmark, row.question, row.expected)
            conversation = (row.benchmark, row.question.split, row.question.conversation)
            key = (*alone, earlier[conversation])
            if row.question.conversation:
                earlier[conversation] += (alone,)
            counts[key] += 1  # a file may ask a question twice
            answers.setdefault(row.benchmark, {})[key, counts[key]] = row
    return answers


def _joined(ends: Sequence[str], benchmark: str, answers: tuple[Answers, Answers]) -> list[Pair]:
    """Both answers to each question. Raises LapilliError for questions that only one run was asked."""
    first, second = answers
    alone = [[row for key, row in of.items() if key not in other] for of, other in (answers, answers[::-1])]
    if any(alone):
        only = (
            f"{len(of):,} only in {end}: {listed(map(_called, of))}" for end, of in zip(ends, alone, strict=True) if of
        )
        raise LapilliError(f"{benchmark}: other questions: {'; '.join(only)}; ask both runs the same")
    return [(row, second[key]) for key, row in first.items()]


def _called(row: Answer) -> str:
    return f"{row.question.split} {row.question.id} {row.question.question}".strip()


def _types(names: tuple[str, str], pairs: Mapping[str, Sequence[Pair]]) -> Iterator[TypeCompared]:
    """A row for every type of a benchmark and every turn, and behind those of a split one for all."""
    groups: dict[tuple[str, str], list[Pair]] = {}
    for name, of in pairs.items():
        for split in dict.fromkeys(one.question.split for one, _ in of):
            ours = [pair for pair in of if pair[0].question.split == split]
            kinds = dict.fromkeys(one.type for one, _ in ours)
            groups |= {
                (name, kind): [pair for pair in ours if pair[0].type == kind] for kind in kinds if len(kinds) > 1
            }
            turns = sorted({one.question.turn for one, _ in ours})
            groups |= {
                (name, f"{split} turn {turn}".strip()): [pair for pair in ours if pair[0].question.turn == turn]
                for turn in turns
                if len(turns) > 1
            }
            groups[name, f"{split} {ALL}".strip()] = ours
    sides = [_sides(names, of) for of in groups.values()]
    for key, (one, other), compared in zip(groups, sides, compare_pairs(_SCORE, sides), strict=True):
        yield TypeCompared(*key, _share(one), _share(other), compared)


def _share(of: NamedRows) -> float:
    return sum(row.score for row in of[1]) / len(of[1])


def _sides(names: tuple[str, str], pairs: Sequence[Pair]) -> tuple[NamedRows, NamedRows]:
    first, second = ([_judged(at, row) for at, row in enumerate(of)] for of in zip(*pairs, strict=True))
    return (names[0], first), (names[1], second)


def _judged(at: int, row: Answer) -> Judged:
    """An answer as it was scored; questions without a picture are each their own cluster."""
    cluster = row.question.image or at
    return Judged(str(at), "", cluster, row.given, row.normalised, expected="", score=float(bool(row.right)))


def _thumbnails(runs: Sequence[RunDir]) -> dict[tuple[str, str, str], str]:
    """The pictures that either run has kept, by benchmark, split and name."""
    rows = [
        row
        for run in runs
        for row in checked(list[Picture], run.load("pictures"), str(run.path / "results/pictures.json"), _AGAIN)
    ]
    return {(row.benchmark, row.split, row.image): row.uri for row in rows}


def _changed(pairs: Sequence[Pair], uris: Mapping[tuple[str, str, str], str]) -> Iterator[Changed]:
    for one, other in pairs:
        if one.right != other.right:
            yield Changed((one, other), uris.get((one.benchmark, one.question.split, one.question.image), ""))
