"""What calls may cost, in money and in tokens, with the calls that are under way counted at their most."""

from dataclasses import dataclass, field

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.llm.call import Call, Usage

_MILLION = 1e6


@dataclass(frozen=True)
class Prices:
    """The price of a million tokens by class, in one currency; cached and written ones cost `input` unless given."""

    input: float
    output: float
    cached: float | None = None
    cache_write: float | None = None

    def cost(self, usage: Usage) -> float:
        """What these tokens cost."""
        cached = self.input if self.cached is None else self.cached
        written = self.input if self.cache_write is None else self.cache_write
        prices = ((usage.input, self.input), (usage.cached, cached), (usage.cache_write, written))
        return (sum(count * price for count, price in prices) + usage.output * self.output) / _MILLION


class BudgetError(LapilliError):
    """The next call could exceed the budget."""


@dataclass
class Budget:
    """What may be spent, and what is: `most_cost` in the currency of `prices`, `most_tokens` of all classes.

    None is without bound. Reservations hold what calls under way can cost at most, `doubtful` what those without an
    answer may have cost.
    """

    prices: Prices | None = None
    most_cost: float | None = None
    most_tokens: int | None = None
    spent: Usage = field(default_factory=Usage)
    reserved: Usage = field(default_factory=Usage)
    doubtful: Usage = field(default_factory=Usage)
    excess: float = 1.0
    """How many times the estimate a call's input has been, at most: languages and tokenizers differ."""

    def __post_init__(self) -> None:
        if self.most_cost is not None and self.prices is None:
            raise UsageError("--max-cost: no prices; give prices.input and prices.output, for a million tokens each")

    @property
    def cost(self) -> float | None:
        """What was spent; None without prices."""
        return self.prices.cost(self.spent) if self.prices else None

    def reserve(self, call: Call) -> Usage:
        """Set aside, and return, what a call can use at most. Raises BudgetError where that is more than is left."""
        most = Usage(input=int(call.input_estimate * self.excess), output=call.sampling.max_tokens)
        wanted = self.spent + self.reserved + self.doubtful + most
        if self.most_tokens is not None and wanted.tokens > self.most_tokens:
            so_far = self._so_far(self.spent.tokens, self.doubtful.tokens)
            raise BudgetError(f"the next call could exceed {self.most_tokens:,} tokens; {so_far}")
        if self.prices and self.most_cost is not None and self.prices.cost(wanted) > self.most_cost:
            so_far = self._so_far(self.prices.cost(self.spent), self.prices.cost(self.doubtful))
            raise BudgetError(f"the next call could exceed a cost of {self.most_cost:g}; {so_far}")
        self.reserved += most
        return most

    def release(self, reserved: Usage) -> None:
        """Give back what was set aside for a call."""
        self.reserved -= reserved

    def doubt(self, usage: Usage) -> None:
        """Count what a call without an answer may have used: the endpoint may charge for it all the same."""
        self.doubtful += usage

    def spend(self, usage: Usage, call: Call | None = None) -> None:
        """Count what an answer used; with its `call`, the next reservations learn from it."""
        self.spent += usage
        if call is not None:
            self.excess = max(self.excess, (usage.tokens - usage.output) / call.input_estimate)

    @staticmethod
    def _so_far(spent: float, doubtful: float) -> str:
        doubts = f", and {_number(doubtful)} perhaps for calls without an answer" if doubtful else ""
        return f"{_number(spent)} is spent{doubts}"


def _number(amount: float) -> str:
    """Tokens as they are, money with four digits."""
    return f"{amount:,}" if isinstance(amount, int) else f"{amount:.4g}"
