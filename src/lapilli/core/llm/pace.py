"""How many calls are under way: more while the endpoint keeps up, fewer when it throttles or is no faster for it.

Additive increase and multiplicative decrease, as TCP has it, with a second signal: servers such as vLLM never say 429
and only answer more slowly, so that the level goes back where a higher one brought no more answers a second.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

_START = 64  # a ramp from less costs seconds, and what throttles says so at once
_CUT = 0.75
_GAIN = 1.05  # the least by which a higher level must answer more calls a second
_FLAT = 2  # windows without that gain, after which the level goes back
_REST = 10  # windows before a higher level is tried again
_SLOWLY = 8  # a level grows by an eighth of itself, once it has been cut


@dataclass
class Pace:
    """The calls that may be under way: at most `limit`, and none before the end of a pause.

    `clock` is in seconds.
    """

    limit: int
    clock: Callable[[], float] = time.monotonic
    under_way: int = 0
    throttled: int = 0
    """How often the endpoint asked for fewer calls."""
    level: int = field(init=False)

    def __post_init__(self) -> None:
        self.level = min(self.limit, _START)
        self._free = asyncio.Condition()
        self._paused_until = 0.0
        self._cut_at = self.clock()
        self._doubling = True
        self._best = 0.0, self.level  # calls a second, and at which level
        self._flat, self._resting = 0, 0
        self._begin_window()

    async def enter(self) -> float:
        """Wait until another call may begin, and return the time at which it does."""
        async with self._free:
            while True:
                if (pause := self._paused_until - self.clock()) > 0:
                    await self._sleep(pause)
                elif self.under_way >= self.level:
                    await self._free.wait()
                else:
                    break
            self.under_way += 1
            return self.clock()

    async def leave(self, began: float, answered: bool, overloaded: bool = False) -> None:
        """Note the end of a call that began at `began`: answered or not, or with a sign that there were too many."""
        async with self._free:
            self.under_way -= 1
            if overloaded:
                self._cut(began)
            elif answered:
                self._count()
            # All others would wake for nothing; and a level that has grown is filled as calls end, not with a burst.
            self._free.notify(min(2, max(0, self.level - self.under_way)))

    def pause(self, seconds: float) -> None:
        """Begin no call for that long."""
        self._paused_until = max(self._paused_until, self.clock() + seconds)

    async def _sleep(self, seconds: float) -> None:
        self._free.release()  # others must be able to leave meanwhile
        try:
            await asyncio.sleep(seconds)
        finally:
            await self._free.acquire()

    def _cut(self, began: float) -> None:
        """Lower the level, once for all calls that were under way together."""
        self.throttled += 1
        if began >= self._cut_at:
            self._cut_at = self.clock()
            self.level = max(1, int(self.level * _CUT))
            self._doubling, self._best, self._flat = False, (0.0, self.level), 0
            self._begin_window(self.under_way)

    def _begin_window(self, after: int = 0) -> None:
        """Begin to measure, after so many answers: those of calls that were under way at another level."""
        self._window_began, self._answered = self.clock(), -after

    def _count(self) -> None:
        """Count an answer; a window has as many as calls may be under way, which is each of them once."""
        self._answered += 1
        if self._answered == 0:
            self._window_began = self.clock()
        if self._answered < self.level:
            return
        level = self.level
        self._weigh(self._answered / max(1e-9, self.clock() - self._window_began))
        self._begin_window(0 if self.level == level else self.under_way)

    def _weigh(self, rate: float) -> None:
        """Raise the level while that brings more answers a second, and go back where it does not."""
        if self._resting:
            self._resting -= 1
            return
        if rate > self._best[0] * _GAIN:
            self._best, self._flat = (rate, self.level), 0
        elif self.level > self._best[1]:
            self._flat += 1
            if self._flat >= _FLAT:
                self.level, self._flat, self._resting, self._doubling = self._best[1], 0, _REST, False
            return
        step = self.level if self._doubling else max(1, self.level // _SLOWLY)
        self.level = min(self.limit, self.level + step)
