"""How many calls are under way, against servers of known capacity, in a time that is simulated."""

import asyncio
import heapq
import itertools

import pytest

from lapilli.core.llm.pace import Pace


def simulate(pace, seconds, calls):
    """Calls that end after `seconds(under way)`; a negative number is a refusal. Returns the level after each."""
    now, order, ends, levels = [0.0], itertools.count(), [], []
    pace.clock = lambda: now[0]
    pace.__post_init__()

    async def run():
        for _ in range(calls):
            while pace.under_way < pace.level:
                began = await pace.enter()
                duration = seconds(pace.under_way)
                heapq.heappush(ends, (now[0] + abs(duration), next(order), began, duration > 0))
            now[0], _, began, answered = heapq.heappop(ends)
            await pace.leave(began, answered, overloaded=not answered)
            levels.append(pace.level)

    asyncio.run(run())
    return levels


@pytest.mark.parametrize("limit", [1, 5, 64, 200])
def test_it_doubles_up_to_the_limit_while_the_server_keeps_up(limit):
    levels = simulate(Pace(limit), lambda n: 1.0, 20 * limit)
    assert max(levels) == levels[-1] == limit
    assert levels.index(limit) <= 2 * limit


@pytest.mark.parametrize("capacity", [10, 24, 60])
def test_it_settles_about_the_capacity_of_a_server_that_refuses(capacity):
    levels = simulate(Pace(256), lambda n: 1.0 if n <= capacity else -0.01, 200 * capacity)
    settled = levels[len(levels) // 2 :]
    assert 0.7 * capacity <= sum(settled) / len(settled) <= 1.1 * capacity
    assert max(settled) <= 1.2 * capacity + 1


@pytest.mark.parametrize("capacity", [40, 100, 150])
def test_it_does_not_grow_past_a_server_that_only_becomes_slower(capacity):
    levels = simulate(Pace(1_000), lambda n: max(1.0, n / capacity), 300 * capacity)
    settled = levels[len(levels) // 2 :]
    assert 0.7 * capacity <= sum(settled) / len(settled) <= 2.2 * capacity
    assert max(levels) <= 4.5 * capacity


@pytest.mark.parametrize("limit", [1, 32, 64])
def test_a_usual_limit_holds_from_the_start(limit):
    assert simulate(Pace(limit), lambda n: 1.0, 20 * limit) == [limit] * 20 * limit


def test_a_burst_of_refusals_is_one():
    async def run():
        pace = Pace(8)
        began = [await pace.enter() for _ in range(8)]
        for start in began:
            await pace.leave(start, answered=False, overloaded=True)
        return pace.level, pace.throttled

    assert asyncio.run(run()) == (6, 8)


def test_who_waits_is_woken_for_a_free_place_alone():
    """Each of 200 that wait would otherwise wake at each of 200 ends."""
    times = 0

    def clock():
        nonlocal times
        times += 1
        return 0.0

    async def run():
        pace = Pace(1, clock)

        async def work():
            await pace.leave(await pace.enter(), answered=True)

        await asyncio.gather(*(work() for _ in range(200)))

    asyncio.run(run())
    assert times < 10 * 200


def test_a_level_that_has_grown_is_filled_as_calls_end():
    """Calls that begin together end together: a burst would last."""
    begun = []

    async def run():
        pace = Pace(256)

        async def work():
            began = await pace.enter()
            begun.append(pace.under_way)
            await ended.get()
            await pace.leave(began, answered=True)

        ended = asyncio.Queue()
        works = [asyncio.ensure_future(work()) for _ in range(256)]
        levels = []
        for _ in range(256):
            before = len(begun)
            ended.put_nowait(None)
            for _ in range(10):
                await asyncio.sleep(0)
            levels.append((pace.level, len(begun) - before))
        await asyncio.gather(*works)
        return levels

    levels = asyncio.run(run())
    assert max(level for level, _ in levels) >= 128 and len(begun) == 256
    assert max(started for _, started in levels[1:]) <= 2 and max(begun) > 100


def test_nothing_begins_during_a_pause():
    async def run():
        pace = Pace(4)
        pace.pause(0.2)
        pace.pause(0.05)
        start = pace.clock()
        times = await asyncio.gather(*(pace.enter() for _ in range(4)))
        return min(times) - start

    assert asyncio.run(run()) >= 0.2


@pytest.mark.parametrize("windows", [1, 3, 20])
def test_a_call_that_was_late_lowers_the_level_however_many_were_answered_meanwhile(windows):
    async def run():
        pace = Pace(8)
        late = [await pace.enter() for _ in range(4)]
        for _ in range(8 * windows):
            await pace.leave(await pace.enter(), answered=True)
        for began in late:
            await pace.leave(began, answered=False, overloaded=True)
        return pace.level

    assert asyncio.run(run()) == 6


@pytest.mark.parametrize("limit", [64, 100, 192, 256])
def test_calls_that_end_together_do_not_hide_that_more_of_them_bring_more(limit):
    """Each place is taken up again as it becomes free, before the last call of a burst has ended."""

    async def run():
        now, pace, ends, levels = [0.0], Pace(limit), [], []
        pace.clock = lambda: now[0]
        pace.__post_init__()
        for _ in range(40 * limit):
            while pace.under_way < pace.level:
                ends.append((now[0] + 1.0, await pace.enter()))
            end, began = ends.pop(0)
            now[0] = max(now[0] + 1e-6, end)
            await pace.leave(began, answered=True)
            levels.append(pace.level)
        return levels

    levels = asyncio.run(run())
    assert levels[-30 * limit :] == [limit] * (30 * limit)
