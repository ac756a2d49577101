"""What a run says before its first step: what learns, on how much, for how long, and where it goes."""

from collections.abc import Mapping, Sequence

from torch import nn

from lapilli.training.length import Length
from lapilli.training.stages import Part

_NAMES: dict[Part, str] = {"projector": "projector", "language": "language model"}


def opening(learning: Mapping[Part, Sequence[nn.Parameter]], length: Length, done: int, device: str) -> list[str]:
    """Two lines: of what learns, and of how much it learns from; a run that is resumed has `done` steps behind it."""
    return [_parts(learning, length.recipe.stage), _course(length, done, device)]


def _parts(learning: Mapping[Part, Sequence[nn.Parameter]], stage: str) -> str:
    learn = [f"{_NAMES[part]} ({sum(one.numel() for one in those):,} parameters)" for part, those in learning.items()]
    frozen = ["vision encoder", *(name for part, name in _NAMES.items() if part not in learning)]
    return (
        f"{stage}: {' and '.join(learn)} {'learns' if len(learn) == 1 else 'learn'}; "
        f"{' and '.join(frozen)} {'is' if len(frozen) == 1 else 'are'} frozen"
    )


def _course(length: Length, done: int, device: str) -> str:
    recipe = length.recipe
    batch = f"batch_size {recipe.batch_size:,}" + (
        f" x accumulate {recipe.accumulate:,}" if recipe.accumulate > 1 else ""
    )
    resumed = f", resumed after step {done:,}" if done else ""
    return (
        f"{_count(length.samples, 'sample')}, {_extent(length)}{resumed}; {batch}; {recipe.precision} on {device}; "
        f"into {recipe.out}"
    )


def _extent(length: Length) -> str:
    """Steps and epochs; of a recipe that limits both, which of them ends the run, and how long before the other."""
    recipe, steps, epochs = length.recipe, _count(length.steps, "step"), _times(length.epochs)
    if recipe.max_steps is None or recipe.epochs is None or length.asked == recipe.max_steps:
        return f"{epochs}, {steps}"
    if length.cap:
        return (
            f"{steps}: max_steps {recipe.max_steps:,} ends it after {_short(length.epochs)} of {_times(recipe.epochs)}"
        )
    return f"{epochs}, {steps}, fewer than max_steps {recipe.max_steps:,}"


def _times(epochs: float) -> str:
    return f"{_short(epochs)} epoch{'' if epochs == 1 else 's'}"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _count(number: int, name: str) -> str:
    return f"{number:,} {name}{'' if number == 1 else 's'}"
