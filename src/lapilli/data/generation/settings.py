"""What a generation depends on, which is frozen in its folder, and how it goes about it, which may change."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from lapilli.core.errors import UsageError
from lapilli.core.fields import Range
from lapilli.core.llm.call import Sampling
from lapilli.core.llm.settings import CallSettings, read_call_settings
from lapilli.data.generation.kinds import KINDS, Kind
from lapilli.data.generation.prompts import BOXED, NEWEST

DEFAULTS = Path("data/generation/settings.yaml")
"""The settings that hold without a file of one's own; it says what each means."""


@dataclass(frozen=True)
class Settings(CallSettings):
    """The settings of a generation: first what its answers depend on, then how they are asked for."""

    prompts: Annotated[str, "The version of the prompts, or a folder of one's own."] = NEWEST
    boxes: Annotated[list[Kind], "The kinds whose teacher sees the boxes."] = field(default_factory=lambda: list(BOXED))
    samples: Annotated[int, "Samples of a kind for each context.", Range(1, 100)] = 1
    rounds: Annotated[int, "Conversations: how often to ask again about what was not asked yet.", Range(1, 10)] = 1


def read_settings(file: Path | None, overrides: list[str]) -> Settings:
    """The settings in a file, or the package's, with overrides. Raises UsageError as `read_recipe` does."""
    return read_call_settings(file or DEFAULTS, overrides, Settings)


@dataclass(frozen=True)
class Plan:
    """What the answers depend on, frozen as the recipe of the folder: another one is another folder."""

    contexts: str
    """The SHA-256 of the contexts."""
    kinds: tuple[Kind, ...]
    engine: str
    """"llm", or "template" for scenes without one."""
    model: str
    prompts: str
    prompts_sha256: str
    boxes: tuple[Kind, ...]
    sampling: Sampling
    samples: int
    rounds: int
    shard: tuple[int, int]
    """Which of how many parts of the work, from 0; (0, 1) is all of it."""


def kinds_of(name: str) -> tuple[Kind, ...]:
    """The kinds that `--kind` means. Raises UsageError for others."""
    if name == "all":
        return KINDS
    if wrong := set(name.split(",")) - set(KINDS):
        raise UsageError(f"--kind {sorted(wrong)[0]}: no such kind; there are {', '.join(KINDS)} and all")
    return tuple(kind for kind in KINDS if kind in name.split(","))
