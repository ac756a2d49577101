"""What the commands have in common that call a language model: what it would take, how far it is, what it took."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from lapilli.cli.console import note, print_json, progress_bar, say
from lapilli.core.errors import LapilliError

if TYPE_CHECKING:
    from lapilli.core.llm.asking import Counts
    from lapilli.core.llm.call import Call, Usage
    from lapilli.core.llm.many import Estimate, Progress

_INTERRUPTED = 130  # as shells have it

_EVERY = 60  # seconds between lines of progress off a terminal


def require_endpoint(base_url: str) -> None:
    """Raise UsageError for what is no address, and for a key in the environment that is none."""
    from lapilli.core.llm.endpoint import read_key, require_address

    require_address(base_url)
    read_key()


def print_call(name: str, call: "Call") -> None:
    """Print the messages of a call as they are sent."""
    say(f"=== {name}, about {call.input_estimate} tokens")
    for message in call.messages:
        say(f"--- {message.role}\n{message.content}")


def print_estimate(expected: "Estimate", remark: str, as_json: bool) -> None:
    """Print what the calls would take, with a remark on what is not counted."""
    if as_json:
        print_json(expected)
        return
    say(f"{expected.calls} calls to make, {expected.reusable} answers in the journal")
    say(f"about {expected.usage.input:,} tokens of questions and {expected.usage.output:,} of answers{remark}")
    cost = (
        "unknown: give prices with --set 'prices={input: .., output: ..}'"
        if expected.cost is None
        else f"{expected.cost:.2f}"
    )
    say(f"about what it costs: {cost}")


@contextmanager
def display(noun: str) -> Iterator[Callable[["Progress"], None]]:
    """A bar with the cost and the time that is left; off a terminal, a line a minute."""
    last = time.monotonic()
    with progress_bar() as bar:
        task = bar.add_task(noun, total=None)

        def tell(progress: "Progress") -> None:
            nonlocal last
            spent = f"{progress.tokens:,} tokens" if progress.cost is None else f"{progress.cost:.2f} spent"
            line = f"{noun}, {spent}, {progress.under_way} under way"
            bar.update(task, description=line, completed=progress.done, total=progress.total)
            if bar.disable and time.monotonic() - last >= _EVERY:
                last = time.monotonic()
                note(f"{progress.done} of {progress.total} {line}")

        yield tell


def print_spent(calls: "Counts", spent: "Usage", cost: float | None) -> None:
    """Print how many calls were made, and what all answers took; nothing where there was none."""
    if not (calls.requests or calls.reused):
        return
    say(
        f"{calls.requests} requests, {calls.answered} answers, {calls.reused} from the journal, "
        f"{calls.throttled} throttled, {calls.failed} failed, {calls.perhaps_paid} perhaps paid without an answer"
    )
    money = "" if cost is None else f", {cost:.4g} in money"
    estimated = f" ({calls.without_usage} estimated)" if calls.without_usage else ""
    say(f"{spent.tokens:,} tokens{estimated}{money}")


def require_whole(out: Path, stopped: str, done: str) -> None:
    """Fail for work that was stopped, with the reason and what of it is done; the same command goes on."""
    if stopped == "interrupted":
        note(f"{out}: stopped; the same command goes on")
        raise typer.Exit(_INTERRUPTED)
    if stopped:
        raise LapilliError(f"{out}: {done}: {stopped}; the same command goes on")
