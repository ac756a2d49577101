"""One file of samples from several: each source cut, merged and split as its recipe says, and all of them shuffled.

The recipe of LLaVA-1.5's 665,000 samples (arXiv 2310.03744, table 7) is `data/mixtures/mix665k.yaml`.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

from lapilli.core.errors import UsageError
from lapilli.core.fields import Range
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.core.recipe import read_recipe
from lapilli.data.sample import Sample, read_samples

_HEAVIEST = 100  # times that a sample is taken


@dataclass(frozen=True)
class Source:
    """A file of samples, and what becomes of it."""

    name: Annotated[str, "What reports call it; part of every id."]
    file: Annotated[Path, "Samples, .json or .jsonl."]
    images: Annotated[str, "A folder that is put in front of the pictures' paths."] = ""
    merge: Annotated[bool, "All questions about one picture become one conversation."] = False
    format: Annotated[list[str], "Said behind the first question, one of these at random."] = field(
        default_factory=list
    )
    turns: Annotated[int | None, "The most questions of a conversation; longer ones are split."] = None
    draw: Annotated[int | None, "The most questions of a conversation; of more, so many are drawn at random."] = None
    limit: Annotated[int | None, "The most samples, drawn at random."] = None
    weight: Annotated[float, "How often each sample is taken: 2 is twice, 0.5 every second one.", Range(above=0)] = 1.0


@dataclass(frozen=True)
class Mixture:
    """The sources, and the seed of all draws."""

    sources: Annotated[list[Source], "The files, one entry each."]
    seed: Annotated[int, "Of all draws.", Range(0)] = 0


@dataclass(frozen=True)
class Part:
    """What a source gave: samples that were read and taken, their questions, and the words of their answers."""

    name: str
    read: int
    taken: int
    questions: int
    answer_words: int


def read_mixture(file: Path, overrides: Sequence[str]) -> Mixture:
    """The mixture in a recipe. Raises UsageError as `read_recipe` does, and for two sources of one name."""
    mixture = read_recipe(file, overrides, Mixture)
    names = [source.name for source in mixture.sources]
    if not names:
        raise UsageError(f"{file}: sources: none; name the files that are to be mixed")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"{file}: sources: two are called {twice!r}; give each a name of its own")
    for source in mixture.sources:
        for name in ("turns", "draw", "limit"):
            if (value := getattr(source, name)) is not None and value < 1:
                raise UsageError(f"{file}: {source.name}: {name} {value}: at least 1, or null")
        if not 0 < source.weight <= _HEAVIEST:
            raise UsageError(f"{file}: {source.name}: weight {source.weight}: more than 0, at most {_HEAVIEST}")
    return mixture


def mix(mixture: Mixture) -> tuple[list[Sample], list[Part]]:
    """The samples of all sources, shuffled, and what each gave: always the same for a mixture and its files.

    Raises LapilliError, with file and row, for a source that cannot be read.
    """
    samples, parts = [], []
    for source in mixture.sources:
        generator = random.Random(f"{mixture.seed}/{source.name}")
        rows = read_samples(source.file)
        taken = _taken(source, rows, generator)
        samples += taken
        answers = [turn.text for sample in taken for turn in sample.turns[1::2]]
        words = sum(len(answer.split()) for answer in answers)
        parts.append(Part(source.name, len(rows), len(taken), len(answers), words))
    random.Random(mixture.seed).shuffle(samples)
    return samples, parts


def _taken(source: Source, rows: Sequence[Sample], generator: random.Random) -> list[Sample]:
    """What becomes of a source: merged, cut, told its format, split, drawn, named."""
    samples = merged(rows) if source.merge else list(rows)
    if source.draw:
        samples = [drawn(sample, source.draw, generator) for sample in samples]
    if source.format:
        samples = [_formatted(sample, generator.choice(source.format)) for sample in samples]
    if source.turns:
        samples = [part for sample in samples for part in split(sample, source.turns)]
    if source.limit is not None and source.limit < len(samples):
        samples = [samples[at] for at in sorted(generator.sample(range(len(samples)), source.limit))]
    samples = _weighted(samples, source.weight, generator)
    return [_named(sample, f"{source.name}/{sample.id}", source.images) for sample in samples]


def merged(samples: Iterable[Sample]) -> list[Sample]:
    """One conversation for all samples of a picture, where its first sample stood. Others stay as they are."""
    conversations: dict[object, Sample] = {}
    for at, sample in enumerate(samples):
        key: object = sample.images[0] if len(sample.images) == 1 else at
        before = conversations.get(key)
        if before is None:
            conversations[key] = sample
        else:
            turns = tuple(replace(turn, text=_without_mark(turn.text)) for turn in sample.turns)
            conversations[key] = replace(before, turns=before.turns + turns)
    return list(conversations.values())


def drawn(sample: Sample, questions: int, generator: random.Random) -> Sample:
    """The sample with at most so many of its questions, drawn at random, in their order; its pictures stay first."""
    count = len(sample.turns) // 2
    if count <= questions or len(sample.images) > 1:
        return sample
    kept = sorted(generator.sample(range(count), questions))
    first, *rest = (turn for at in kept for turn in sample.turns[2 * at : 2 * at + 2])
    mark = f"{IMAGE_MARK}\n" if sample.images else ""
    return replace(sample, turns=(replace(first, text=mark + _without_mark(first.text)), *rest))


def split(sample: Sample, questions: int) -> list[Sample]:
    """The sample in conversations of at most so many questions, each of which shows its pictures first."""
    turns, size = sample.turns, 2 * questions
    if len(turns) <= size or len(sample.images) > 1:
        return [sample]
    parts = [turns[start : start + size] for start in range(0, len(turns), size)]
    if sample.images:
        marked = [replace(part[0], text=f"{IMAGE_MARK}\n{part[0].text}") for part in parts[1:]]
        parts = [parts[0], *((first, *part[1:]) for first, part in zip(marked, parts[1:], strict=True))]
    return [replace(sample, id=f"{sample.id}-{at}", turns=part) for at, part in enumerate(parts)]


def _formatted(sample: Sample, text: str) -> Sample:
    first = sample.turns[0]
    turns = (replace(first, text=f"{first.text}\n{text}"), *sample.turns[1:])
    return replace(sample, turns=turns)


def _weighted(samples: list[Sample], weight: float, generator: random.Random) -> list[Sample]:
    whole = int(weight)
    rest = sorted(generator.sample(range(len(samples)), round((weight - whole) * len(samples))))
    repeated = [replace(sample, id=f"{sample.id}-x{n}") for n in range(1, whole) for sample in samples]
    extra = [replace(samples[at], id=f"{samples[at].id}-x{whole}") if whole else samples[at] for at in rest]
    return (samples if whole else []) + repeated + extra


def _named(sample: Sample, name: str, folder: str) -> Sample:
    images = tuple(f"{folder.rstrip('/')}/{image}" for image in sample.images) if folder else sample.images
    return replace(sample, id=name, images=images)


def _without_mark(text: str) -> str:
    return text.replace(f"{IMAGE_MARK}\n", "").replace(f"\n{IMAGE_MARK}", "").replace(IMAGE_MARK, "").strip()
