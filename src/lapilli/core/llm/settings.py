"""How calls are made, whatever they are for: what an answer depends on, and how it is asked for, with its price."""

from abc import ABC
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

from lapilli.core.errors import UsageError
from lapilli.core.fields import Range, require_ranges
from lapilli.core.llm.asking import Patience
from lapilli.core.llm.budget import Prices
from lapilli.core.llm.call import LengthName, Sampling
from lapilli.core.recipe import read_recipe

S = TypeVar("S", bound="CallSettings")


@dataclass(frozen=True)
class PriceList:
    """Prices of a million tokens; see `Prices`."""

    input: Annotated[float, "Tokens of the question.", Range(0)]
    output: Annotated[float, "Tokens of the answer.", Range(0)]
    cached: Annotated[float | None, "Tokens of the question that the endpoint had in its cache.", Range(0)] = None
    cache_write: Annotated[float | None, "Tokens of the question that it put there.", Range(0)] = None


@dataclass(frozen=True)
class CallSettings(ABC):  # noqa: B024 - nothing of its own: each command says which further settings there are
    """The settings that all commands have in common that call a model; each adds its own."""

    temperature: Annotated[float | None, "0 for the most likely answer; null: not sent.", Range(0, 2)] = 0.0
    top_p: Annotated[float | None, "The share of probability that is drawn from.", Range(above=0, most=1)] = 1.0
    max_tokens: Annotated[int, "The most tokens of an answer.", Range(1, 100_000)] = 1_024
    length_name: Annotated[LengthName, "What the endpoint calls max_tokens."] = "max_tokens"
    seed: Annotated[int | None, "Sent with every call.", Range(0, 2**31 - 1)] = 0
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


def read_call_settings(file: Path, overrides: list[str], into: type[S]) -> S:
    """The settings in a file, with overrides. Raises UsageError as `read_recipe` does, and for a value out of range."""
    settings = read_recipe(file, overrides, into)
    try:
        require_ranges(settings)
        if settings.prices:
            require_ranges(settings.prices)
    except ValueError as error:
        raise UsageError(f"{file}: {error}") from error
    return settings
