"""Calls to a real server that misbehaves: each is answered once, paid once, or given up with its reason."""

import asyncio
import logging
import os
import subprocess
import sys
import time
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from tests.llm_server import Server

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.llm.asking import Asker, Patience, RefusedError, StoppedError, UnansweredError
from lapilli.core.llm.budget import Budget, Prices
from lapilli.core.llm.call import Call, Message, Sampling, Usage, read_reply
from lapilli.core.llm.endpoint import KEY_VARIABLE, Endpoint
from lapilli.core.llm.failure import Effect, of_status, retry_after
from lapilli.core.llm.journal import Journal
from lapilli.core.llm.pace import Pace

CANARY = "sk-canary-0123456789abcdef"
FAST = Patience(first=0.01, longest=0.05)


def call(number, **sampling):
    return Call((Message("user", f"question {number}"),), "m", Sampling(**{"max_tokens": 20} | sampling), "test")


@pytest.fixture
def server():
    with Server(lambda messages: "answer to " + messages[-1]["content"]) as server:
        yield server


def ask(server, path, numbers, budget=None, workers=4, patience=FAST, deadline=0.5):
    """Ask the numbered questions; return the answers or the errors in their order, and the asker."""

    async def run():
        asker = Asker(Endpoint(server.url, deadline), Journal(path), budget or Budget(), Pace(workers), patience)
        results, waiting = {}, iter(list(enumerate(numbers)))

        async def work():
            for at, number in waiting:
                try:
                    results[at] = (await asker.ask(call(number))).text
                except (RefusedError, UnansweredError, StoppedError) as error:
                    results[at] = error

        await asyncio.gather(*(work() for _ in range(workers)))
        await asker.endpoint.close()
        asker.journal.close()
        return [results[at] for at in range(len(numbers))], asker

    return asyncio.run(run())


def answers(count):
    return [f"answer to question {number}" for number in range(count)]


@pytest.fixture(scope="module", autouse=True)
def imported():
    """The client imports much of itself with its first call, which the short deadlines here are not to see."""

    async def send():
        endpoint = Endpoint(server.url, 60)
        await endpoint.send(call(0))
        await endpoint.close()

    with Server(lambda messages: "text") as server:
        asyncio.run(send())


TRANSIENT = ("500", "502", "reset", "half", "broken_json", "empty_body", "error_object", "no_choices", "html", "hang",
             "drip", "429", "400_fast", "503", "529")  # fmt: skip


@pytest.mark.parametrize("fault", TRANSIENT)
def test_every_fault_that_may_pass_is_waited_for(server, tmp_path, fault):
    server.faults = {fault: 2}
    found, asker = ask(server, tmp_path / "j", range(6))
    assert found == answers(6)
    assert asker.counts.requests == len(server.log) == 8 and len(server.answered) == 6


def test_all_of_them_together_cost_nothing_twice(server, tmp_path):
    server.faults = dict.fromkeys(TRANSIENT, 1)
    found, _ = ask(server, tmp_path / "j", range(40))
    assert found == answers(40)
    assert len(server.answered) == 40 and len(server.log) == 40 + len(TRANSIENT)
    found, asker = ask(server, tmp_path / "j", range(40))
    assert found == answers(40) and len(server.log) == 40 + len(TRANSIENT) and asker.counts.reused == 40


@pytest.mark.parametrize("fault", ["401", "402", "404", "429_quota"])
def test_what_will_not_pass_stops_everything(server, tmp_path, fault):
    server.faults = {fault: 1_000}
    found, asker = ask(server, tmp_path / "j", range(50))
    assert all(isinstance(error, StoppedError) for error in found)
    assert "status" in asker.stopped and len(server.log) <= 4


def test_a_refused_call_is_given_up_and_twenty_in_a_row_stop_everything(server, tmp_path):
    server.fault_of = lambda body, times: "400" if "question 3" in body["messages"][0]["content"] else None
    found, _ = ask(server, tmp_path / "j", range(6))
    assert isinstance(found[3], RefusedError) and "content policy" in str(found[3])
    assert found[:3] + found[4:] == answers(3) + answers(6)[4:] and len(server.log) == 6
    server.fault_of = lambda body, times: "400"
    found, asker = ask(server, tmp_path / "j2", range(60), workers=1)
    assert "20 calls in a row were refused" in asker.stopped and len(server.log) == 26
    assert [type(error) for error in found] == [RefusedError] * 19 + [StoppedError] * 41


def test_a_call_that_always_fails_is_given_up_after_its_tries(server, tmp_path):
    server.fault_of = lambda body, times: "500" if "question 1" in body["messages"][0]["content"] else None
    found, _ = ask(server, tmp_path / "j", range(3), patience=Patience(tries=3, first=0.01))
    assert str(found[1]).startswith("no answer after 3 tries: status 500") and len(server.log) == 5
    assert found[::2] == answers(3)[::2]


def test_an_endpoint_that_answers_nothing_stops_everything(server, tmp_path):
    server.fault_of = lambda body, times: "500"
    found, asker = ask(server, tmp_path / "j", range(9), workers=1, patience=Patience(tries=3, first=0.01))
    assert isinstance(found[0], UnansweredError) and all(isinstance(error, StoppedError) for error in found[1:])
    assert len(server.log) == 3 and asker.stopped.startswith("no answer after 3 tries")


def test_no_call_begins_before_the_time_that_was_asked_for(server, tmp_path):
    server.faults, server.retry_after = {"429": 1}, "0.6"
    found, _ = ask(server, tmp_path / "j", range(12))
    assert found == answers(12)
    throttled = next(request.at for request in server.log if request.fault)
    later = [request.at - throttled for request in server.log if request.at > throttled + 0.1]
    assert len(later) >= 9 and min(later) >= 0.55


def test_who_asks_for_an_hour_ends_the_run(server, tmp_path):
    server.faults, server.retry_after = {"429": 9}, "3600"
    started = time.monotonic()
    _, asker = ask(server, tmp_path / "j", range(5))
    assert "asks to wait for 3600 s" in asker.stopped and time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), ("0.5", 0.5), ("0", 0), ("-3", 0), ("86400", 86400), ("soon", None), ("", None), ("9" * 400, None)],
)
def test_retry_after_is_read_in_all_its_forms(header, seconds):
    assert retry_after({"retry-after": header}) == seconds
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after({"retry-after": format_datetime(now + timedelta(seconds=90))}, now) == 90
    assert retry_after({"retry-after-ms": "250", "retry-after": "9"}) == 0.25
    assert retry_after({}) is None


@pytest.mark.parametrize(
    ("status", "body", "effect"),
    [
        (429, "Rate limit reached for requests", Effect.THROTTLED),
        (429, "insufficient_quota", Effect.STOP),
        (429, "You exceeded your current quota, please check your plan", Effect.STOP),
        (429, "requests per day (RPD): limit 200", Effect.STOP),
        (400, "Too Many Requests", Effect.THROTTLED),
        (400, "max_tokens is too large", Effect.REFUSED),
        (413, "", Effect.REFUSED),
        (422, "", Effect.REFUSED),
        (402, "", Effect.STOP),
        (403, "", Effect.STOP),
        (302, "", Effect.STOP),
        (408, "", Effect.TRANSIENT),
        (504, "", Effect.TRANSIENT),
    ],
)
def test_what_a_status_means(status, body, effect):
    assert of_status(status, body, {}).effect is effect


def test_the_same_call_is_paid_once_however_many_ask(server, tmp_path):
    server.seconds = 0.1
    found, asker = ask(server, tmp_path / "j", [1] * 12, workers=6)
    assert found == ["answer to question 1"] * 12 and len(server.log) == 1 and asker.counts.reused == 11


@pytest.mark.parametrize(("most", "paid"), [(0.00048, 9), (0.00014, 2), (0.00004, 0), (0.01, 30)])
def test_the_budget_is_never_exceeded(server, tmp_path, most, paid):
    """An answer costs 44.5 millionths here: 3 tokens at 1, 3 cached at 0.5, 20 at 2; a call is set aside for 47."""
    prices = Prices(input=1.0, output=2.0, cached=0.5)
    budget = Budget(prices, most_cost=most)
    _, asker = ask(server, tmp_path / "j", range(30), budget)
    assert budget.cost == pytest.approx(prices.cost(budget.spent)) and budget.cost <= most
    assert paid <= len(server.answered) <= paid + 1 and budget.reserved == Usage()
    assert ("could exceed a cost" in asker.stopped) == (most < 0.01)


@pytest.mark.parametrize("fault", ["hang", "half", "drip", "no_choices", "broken_json"])
def test_what_may_be_charged_without_an_answer_counts_against_the_budget(server, tmp_path, fault):
    server.fault_of = lambda body, times: fault
    budget = Budget(most_tokens=100)  # a call is set aside for 27 or so
    patience = Patience(tries=50, first=0.001, longest=0.001)
    _, asker = ask(server, tmp_path / "j", range(9), budget, patience=patience, deadline=0.1)
    assert len(server.log) == 3 and budget.reserved == Usage()
    assert "could exceed 100 tokens" in asker.stopped and "perhaps for calls without an answer" in asker.stopped


@pytest.mark.parametrize("fault", ["500", "429", "503"])
def test_what_is_not_charged_does_not(server, tmp_path, fault):
    server.faults = {fault: 12}
    budget = Budget(most_tokens=200)
    found, _ = ask(server, tmp_path / "j", range(3), budget, patience=Patience(tries=20, first=0.001), workers=1)
    assert found == answers(3) and budget.doubtful == Usage()


def test_reservations_learn_how_many_tokens_a_text_has():
    budget = Budget(most_tokens=1_000)
    first = budget.reserve(call(1))
    budget.spend(Usage(input=10 * first.input), call(1))
    budget.release(first)
    assert budget.reserve(call(2)).input == 10 * first.input


def test_tokens_are_a_budget_too_and_missing_usage_is_estimated(server, tmp_path):
    server.fault_of = lambda body, times: "no_usage"
    budget = Budget(most_tokens=200)  # of 10 or so an answer, and 28 for one under way
    _, asker = ask(server, tmp_path / "j", range(30), budget, workers=1)
    assert 150 < budget.spent.tokens <= 200 and "could exceed 200 tokens" in asker.stopped
    assert asker.counts.without_usage == asker.counts.answered > 3


def test_a_budget_of_money_wants_prices():
    with pytest.raises(UsageError, match="no prices"):
        Budget(most_cost=1.0)


def test_every_class_of_tokens_has_its_price():
    prices = Prices(input=1, output=10, cached=0.1, cache_write=1.25)
    assert prices.cost(Usage(1_000_000, 2_000_000, 4_000_000, 100_000)) == pytest.approx(1 + 0.2 + 5 + 1)
    assert Prices(input=1, output=10).cost(Usage(0, 10**6, 10**6, 0)) == 2


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 10, "completion_tokens": 2}, Usage(10, 0, 0, 2)),
        (
            {"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 6, "cache_write_tokens": 3}},  # noqa: E501
            Usage(1, 6, 3, 2),
        ),
        ({"prompt_tokens": 10, "completion_tokens": 2, "prompt_tokens_details": None}, Usage(10, 0, 0, 2)),
        ({"prompt_tokens": -1, "completion_tokens": 2}, None),
        ({"prompt_tokens": "10"}, None),
        (None, None),
    ],
)  # fmt: skip
def test_usage_is_read_as_endpoints_say_it(usage, expected):
    import json

    body = {
        "choices": [{"message": {"content": [{"type": "text", "text": "a"}, {"text": "b"}]}, "finish_reason": None}]
    }
    assert read_reply(json.dumps(body | {"usage": usage})).usage == expected
    assert read_reply(json.dumps(body)).text == "ab"


def test_the_key_is_sent_and_is_nowhere_else(server, tmp_path, monkeypatch, caplog, capfd):
    """Not even where the endpoint repeats it: in an answer, in an error's message."""
    monkeypatch.setenv(KEY_VARIABLE, CANARY)
    caplog.set_level(logging.DEBUG)
    server.fault_of = lambda body, times: "echo_key"
    found, _ = ask(server, tmp_path / "j", range(2))
    assert found == [f"{answer} [key]" for answer in answers(2)]
    assert {request.key for request in server.log} == {f"Bearer {CANARY}"}
    monkeypatch.setitem(__import__("tests.llm_server").llm_server.STATUSES, "401", (401, f"wrong key {CANARY}"))
    server.fault_of = lambda body, times: "401"
    found, asker = ask(server, tmp_path / "j2", [5])
    assert asker.stopped == "status 401: wrong key [key]; check the key in OPENAI_API_KEY"
    texts = [*(file.read_text() for file in tmp_path.iterdir()), caplog.text, *capfd.readouterr()]
    texts += ["".join(traceback.format_exception(error)) for error in found]
    assert not any(CANARY in text for text in texts)


@pytest.mark.parametrize("url", ["http://me:{}@host/v1", "http://host/v1?key={}", "https://host:1/v1#{}"])
def test_a_secret_in_an_address_is_refused_and_not_repeated(url, monkeypatch):
    with pytest.raises(UsageError, match=r"more than an address; write https?://host(:1)?/v1, ") as caught:
        Endpoint(url.format(CANARY), 1.0)
    assert CANARY not in str(caught.value)
    monkeypatch.setenv(KEY_VARIABLE, f"{CANARY}\nX-Other: 1")
    with pytest.raises(UsageError) as caught:
        Endpoint("http://host/v1", 1.0)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "", "http://", "http://host:port/v1"])
def test_what_is_no_address_is_refused(url):
    with pytest.raises(UsageError, match=r"--base-url.*no address; write it as http://localhost:8000/v1"):
        Endpoint(url, 1.0)


def test_without_the_library_the_remedy_is_said(tmp_path):
    (tmp_path / "openai.py").write_text("raise ImportError('broken')")
    program = "from lapilli.core.llm.endpoint import Endpoint; Endpoint('http://a/v1', 1)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
    assert done.stderr.rstrip().endswith("openai: not installed; install it with: pip install 'lapilli[llm]'")


def test_what_is_none_is_not_sent_and_the_length_has_the_name_that_is_wanted():
    plain = {"model": "m", "messages": [{"role": "user", "content": "question 1"}]}
    assert call(1).request() == plain | {"temperature": 0.0, "top_p": 1.0, "max_tokens": 20, "seed": 0}
    other = call(1, temperature=None, top_p=None, seed=None, length_name="max_completion_tokens")
    assert other.request() == plain | {"max_completion_tokens": 20} and other.key != call(1).key


def test_nothing_is_sent_without_an_endpoint(tmp_path):
    async def run():
        asker = Asker(None, Journal(tmp_path / "j"), Budget(), Pace(1))
        await asker.ask(call(1))

    with pytest.raises(LapilliError, match="no endpoint is given"):
        asyncio.run(run())
