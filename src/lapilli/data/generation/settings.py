"""What a generation depends on, which is frozen in its folder, and how it goes about it, which may change."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from lapilli.core.errors import UsageError
from lapilli.core.fields import Range, require_ranges
from lapilli.core.llm.asking import Patience
from lapilli.core.llm.budget import Prices
from lapilli.core.llm.call import LengthName, Sampling
from lapilli.core.recipe import read_recipe
from lapilli.data.generation.kinds import KINDS, Kind
from lapilli.data.generation.prompts import BOXED, NEWEST

DEFAULTS = Path("data/generation/settings.yaml")
"""The settings that hold without a file of one's own; it says what each means."""


@dataclass(frozen=True)
class PriceList:
    """Prices of a million tokens; see `Prices`."""

    input: Annotated[float, "Tokens of the question.", Range(0)]
    output: Annotated[float, "Tokens of the answer.", Range(0)]
    cached: Annotated[float | None, "Tokens of the question that the endpoint had in its cache.", Range(0)] = None
    cache_write: Annotated[float | None, "Tokens of the question that it put there.", Range(0)] = None


@dataclass(frozen=True)
class Settings:
    """The settings of a generation: first what its answers depend on, then how they are asked for."""

    prompts: Annotated[str, "The version of the prompts, or a folder of one's own."] = NEWEST
    boxes: Annotated[list[Kind], "The kinds whose teacher sees the boxes."] = field(default_factory=lambda: list(BOXED))
    temperature: Annotated[float | None, "0 for the most likely answer; null: not sent.", Range(0, 2)] = 0.0
    top_p: Annotated[float | None, "The share of probability that is drawn from.", Range(above=0, most=1)] = 1.0
    max_tokens: Annotated[int, "The most tokens of an answer.", Range(1, 100_000)] = 1_024
    length_name: Annotated[LengthName, "What the endpoint calls max_tokens."] = "max_tokens"
    seed: Annotated[int | None, "Sent with every call.", Range(0, 2**31 - 1)] = 0
    samples: Annotated[int, "Samples of a kind for each context.", Range(1, 100)] = 1
    rounds: Annotated[int, "Conversations: how often to ask again about what was not asked yet.", Range(1, 10)] = 1
    concurrency: Annotated[int, "The most calls under way.", Range(1, 256)] = 64
    deadline: Annotated[float, "Seconds that an answer may take.", Range(above=0, most=3_600)] = 120.0
    tries: Annotated[int, "How often a failed call is tried.", Range(1, 100)] = 6
    first_pause: Annotated[float, "Seconds of the first pause after a failure.", Range(0, 60)] = 1.0
    max_total_tokens: Annotated[int | None, "The most tokens of all answers together.", Range(0)] = None
    prices: Annotated[PriceList | None, "What a million tokens cost."] = None

    @property
    def sampling(self) -> Sampling:
        """How the model draws."""
        return Sampling(self.temperature, self.top_p, self.max_tokens, self.seed, self.length_name)

    @property
    def patience(self) -> Patience:
        """How long a call is tried."""
        return Patience(tries=self.tries, first=self.first_pause)

    @property
    def price_list(self) -> Prices | None:
        """The prices, where they are given."""
        of = self.prices
        return Prices(of.input, of.output, of.cached, of.cache_write) if of else None


def read_settings(file: Path | None, overrides: list[str]) -> Settings:
    """The settings in a file, or the package's, with overrides. Raises UsageError as `read_recipe` does."""
    settings = read_recipe(file or DEFAULTS, overrides, Settings)
    try:
        require_ranges(settings)
        if settings.prices:
            require_ranges(settings.prices)
    except ValueError as error:
        raise UsageError(f"{file or DEFAULTS}: {error}") from error
    return settings


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
