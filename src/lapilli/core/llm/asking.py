"""Many calls at once: each is answered from the journal or by the endpoint, and tried again where that may help."""

import asyncio
import random
import signal
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from lapilli.core.errors import LapilliError
from lapilli.core.llm.budget import Budget, BudgetError
from lapilli.core.llm.call import Call, Reply, Usage, read_reply, spent_on
from lapilli.core.llm.endpoint import Endpoint, FailedError
from lapilli.core.llm.failure import Effect, Failure
from lapilli.core.llm.journal import Entry, Journal
from lapilli.core.llm.pace import Pace

T = TypeVar("T")

_REFUSALS = 20  # in a row, with no answer between them: something is wrong with all calls


@dataclass(frozen=True)
class Patience:
    """How long a call is tried: `tries` after failures, `throttles` after being told to wait; pauses in seconds.

    A pause is drawn between 0 and a bound that doubles from `first` to `longest`; an endpoint that asks for more than
    `most` ends the run.
    """

    tries: int = 6
    throttles: int = 30
    first: float = 1.0
    longest: float = 60.0
    most: float = 600.0

    def pause(self, attempt: int) -> float:
        """The seconds before the next try, drawn anew each time, so that calls do not come back together."""
        return random.uniform(0, min(self.longest, self.first * 2 ** min(attempt - 1, 30)))


class StoppedError(LapilliError):
    """No more calls are made: the reason, which is that of the whole run."""


class RefusedError(LapilliError):
    """A call that the endpoint will never answer."""


class UnansweredError(LapilliError):
    """A call that the endpoint did not answer in all tries; it may do so another time."""


@dataclass
class Counts:
    """The calls of this process: `requests` are all that were sent, `reused` those that the journal answered.

    `perhaps_paid` are those without an answer that the endpoint may have charged for: late, or broken off.
    """

    requests: int = 0
    answered: int = 0
    reused: int = 0
    throttled: int = 0
    failed: int = 0
    perhaps_paid: int = 0
    without_usage: int = 0


@dataclass
class Asker:
    """Asks calls, in any number at once; the journal has every answer before anybody reads it."""

    endpoint: Endpoint | None
    """None where nothing may be sent: calls that the journal does not answer then end the run."""
    journal: Journal
    budget: Budget
    pace: Pace
    patience: Patience = Patience()
    counts: Counts = field(default_factory=Counts)
    stopped: str = ""
    """Why no more calls are made; "" while they are."""

    def __post_init__(self) -> None:
        self._stopping, self._released = asyncio.Event(), asyncio.Event()
        self._being_asked = dict[str, asyncio.Event]()
        self._refused = 0

    async def ask(self, call: Call) -> Reply:
        """Return the answer to a call, which is asked once, however often it is called for.

        Raises RefusedError and UnansweredError where this call has no answer, and StoppedError where no more are made.
        """
        while call.key in self._being_asked:
            await self._being_asked[call.key].wait()
        if call.key in self.journal:
            self.counts.reused += 1
            return self.journal.reply(call.key)
        self._being_asked[call.key] = asyncio.Event()
        try:
            return await self._ask_until_answered(call)
        finally:
            self._being_asked.pop(call.key).set()

    def stop(self, reason: str) -> None:
        """Make no more calls; those under way are answered. The first reason is kept."""
        self.stopped = self.stopped or reason
        self._stopping.set()

    @asynccontextmanager
    async def interruptible(self) -> AsyncIterator[None]:
        """Within the block the first interrupt (Ctrl-C) stops new calls, and the second one everything."""
        loop = asyncio.get_running_loop()

        def interrupt() -> None:
            self.stop("interrupted")
            loop.remove_signal_handler(signal.SIGINT)

        with suppress(ValueError, RuntimeError):  # not in the main thread, which alone may handle signals
            loop.add_signal_handler(signal.SIGINT, interrupt)
        try:
            yield
        finally:
            with suppress(ValueError, RuntimeError):
                loop.remove_signal_handler(signal.SIGINT)

    async def _reserve(self, call: Call) -> Usage:
        """Set the call's cost aside, when calls under way have cost less than they could have if need be."""
        while True:
            try:
                return self.budget.reserve(call)
            except BudgetError as error:
                if self.budget.reserved.tokens == 0:
                    self.stop(str(error))
                self._released.clear()
                await self._unless_stopped(self._released.wait())

    async def _ask_until_answered(self, call: Call) -> Reply:
        tries = throttles = 0
        while True:
            reply, failure = await self._attempt_within_budget(call, tries + throttles + 1)
            if reply is not None:
                return reply
            assert failure is not None
            throttles += failure.effect is Effect.THROTTLED
            tries += failure.effect is not Effect.THROTTLED
            self._give_up(failure, tries, throttles)
            await self._wait(failure, max(tries, throttles))

    async def _attempt_within_budget(self, call: Call, attempt: int) -> tuple[Reply | None, Failure | None]:
        """Try a call; what an endpoint may have charged for a try without an answer stays set aside."""
        reserved = await self._reserve(call)
        try:
            reply, failure = await self._attempt(call, attempt)
            if failure and failure.perhaps_paid:
                self.budget.doubt(reserved)
            return reply, failure
        finally:
            self.budget.release(reserved)
            self._released.set()

    async def _attempt(self, call: Call, attempt: int) -> tuple[Reply | None, Failure | None]:
        began = await self._unless_stopped(self.pace.enter())
        answered, failure = False, None
        try:
            reply = await self._send(call, attempt)
            answered = True
            return reply, None
        except FailedError as error:
            failure = error.failure
            if failure.effect is Effect.THROTTLED and failure.wait:
                self.pace.pause(min(failure.wait, self.patience.most))  # for all calls, before the next one enters
            return None, failure
        finally:
            await self.pace.leave(began, answered, bool(failure and failure.overloaded))

    async def _send(self, call: Call, attempt: int) -> Reply:
        """Send a call, and journal the answer before it is read. Raises FailedError, also for what is no answer."""
        if self.endpoint is None:
            self.stop("a call has no answer in the journal, and no endpoint is given; give --base-url")
            raise StoppedError(self.stopped)
        self.counts.requests += 1
        began = time.monotonic()
        body = await self.endpoint.send(call)
        at = datetime.now(UTC).isoformat(timespec="seconds")
        seconds = round(time.monotonic() - began, 3)
        entry = Entry(call.key, dict(call.about), at, seconds, tries=attempt, body=body)
        self.journal.append(replace(entry, input_estimate=call.input_estimate))
        if self.journal.is_due:
            await asyncio.to_thread(self.journal.sync)  # a busy disk takes tens of milliseconds, in which others go on
        try:
            reply = read_reply(body)
        except LapilliError as error:
            raise FailedError(Failure(Effect.TRANSIENT, str(error), perhaps_paid=True)) from error
        self.budget.spend(spent_on(reply, call.input_estimate), call)
        self.counts.answered += 1
        self.counts.without_usage += reply.usage is None
        self._refused = 0
        return reply

    def _give_up(self, failure: Failure, tries: int, throttles: int) -> None:
        """Count a failure, and raise where no further try is to be made of this call, or of any."""
        throttled = failure.effect is Effect.THROTTLED
        self.counts.throttled += throttled
        self.counts.failed += not throttled
        self.counts.perhaps_paid += failure.perhaps_paid
        if failure.effect is Effect.STOP:
            self.stop(failure.reason)
        if (failure.wait or 0) > self.patience.most:
            self.stop(f"{failure.reason}: the endpoint asks to wait for {failure.wait:.0f} s")
        self._refused += failure.effect is Effect.REFUSED
        if self._refused >= _REFUSALS:
            self.stop(f"{_REFUSALS} calls in a row were refused, the last with {failure.reason}")
        if self.stopped:
            raise StoppedError(self.stopped)
        if failure.effect is Effect.REFUSED:
            raise RefusedError(f"refused: {failure.reason}")
        if tries >= self.patience.tries or throttles >= self.patience.throttles:
            reason = f"no answer after {tries + throttles} tries: {failure.reason}"
            if not self.counts.answered:
                self.stop(reason)
            raise UnansweredError(reason)

    async def _wait(self, failure: Failure, attempt: int) -> None:
        """Pause before the next try, for as long as the endpoint asks for, and a little more."""
        pause = self.patience.pause(attempt)
        await self._unless_stopped(asyncio.sleep(pause if failure.wait is None else failure.wait + pause / 10))

    async def _unless_stopped(self, waiting: Coroutine[Any, Any, T]) -> T:
        """Wait for something, unless no more calls are to be made. Raises StoppedError then."""
        if self.stopped:
            waiting.close()
            raise StoppedError(self.stopped)
        wait, stop = asyncio.ensure_future(waiting), asyncio.ensure_future(self._stopping.wait())
        try:
            await asyncio.wait({wait, stop}, return_when=asyncio.FIRST_COMPLETED)
            if wait.done():
                return wait.result()
            raise StoppedError(self.stopped)
        finally:
            for task in (wait, stop):
                task.cancel()
