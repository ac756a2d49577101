"""A generation against a real server that misbehaves: nothing lost, nothing doubled, nothing paid for twice."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.data.generation.teacher import (
    CONTEXTS,
    FAST,
    asked_of,
    body_key,
    contexts_file,
    first_calls,
    is_first,
    journalled,
    started,
    teach,
    work,
)
from tests.llm_server import Server

from lapilli.core.errors import LapilliError
from lapilli.core.llm.endpoint import KEY_VARIABLE
from lapilli.data.generation.generate import estimate, generate, write_batch
from lapilli.data.sample import read_samples
from lapilli.data.validate import problems

CANARY = "sk-canary-0123456789abcdef"
PROGRAM = "import sys; from lapilli.cli import run; sys.exit(run(sys.argv[1:]))"

PASSING = ("500", "503", "429", "hang", "half", "reset", "broken_json", "no_choices", "empty_body")
UNUSABLE = ("wrong_format", "empty", "not_english", "refusal", "length", "null")


@pytest.fixture
def server():
    with Server(teach) as server:
        yield server


def contents(folder):
    return [(folder / name).read_bytes() for name in ("samples.json", "rejected.jsonl")]


def faulty(share, names):
    """A function of the request that says what goes wrong with it the first time, with about this share of all."""

    def fault_of(body, times):
        draw = random.Random(hashlib.sha256(body_key(body).encode()).hexdigest())
        is_chosen = draw.random() < share and times == 1 and is_first(body)
        return draw.choice(names) if is_chosen else None

    return fault_of


@pytest.mark.skipif(not CONTEXTS.is_file(), reason=f"{CONTEXTS}: no contexts there")
def test_of_80_real_contexts_every_kind_is_made_through_any_mix_of_faults(server, tmp_path):
    whole = generate(work(CONTEXTS), tmp_path / "calm", server.url)
    assert (whole.jobs, whole.done, whole.stopped, len(server.log)) == (240, 240, "", 240)
    assert whole.kinds["conversation"]["samples"] + whole.kinds["conversation"]["set aside"] == 80
    server.forget()
    server.fault_of = faulty(0.4, (*PASSING, *UNUSABLE))
    report = generate(work(CONTEXTS), tmp_path / "rough", server.url)
    faults = [request.fault for request in server.log if request.fault]
    assert len(faults) > 70 and set(faults) == {*PASSING, *UNUSABLE}
    assert len(server.log) == 240 + len(faults)
    assert contents(tmp_path / "rough") == contents(tmp_path / "calm")
    assert report.stopped == "" and report.kinds == whole.kinds
    samples = read_samples(tmp_path / "rough/samples.json")
    aside = [json.loads(line) for line in (tmp_path / "rough/rejected.jsonl").read_text().splitlines()]
    ids = [*(sample.id for sample in samples), *{row["id"] for row in aside if row["whole"]}]
    assert len(ids) == len(set(ids)) == 240 and problems(tmp_path / "rough/samples.json", None) == []


def test_what_can_never_be_used_is_set_aside_with_its_reason(server, tmp_path):
    file, reasons = contexts_file(tmp_path), dict(enumerate((*UNUSABLE, "400", "500")))
    number = lambda body: int(asked_of(body["messages"])[1].split("number ")[1].split()[0])  # noqa: E731
    server.fault_of = lambda body, times: reasons.get(number(body))
    report = generate(work(file, ("detail",), ["tries=2"]), tmp_path / "out", server.url)
    assert report.stopped.startswith("1 calls have no answer, the last: no answer after 2 tries: status 500")
    assert (report.done, report.jobs) == (11, 12) and not (tmp_path / "out/manifest.json").exists()
    rows = [json.loads(line) for line in (tmp_path / "out/rejected.jsonl").read_text().splitlines()]
    gates = ["malformed"] * 3 + ["refusal"] + ["malformed"] * 2 + ["refused", "unanswered"]
    assert {row["id"]: row["gate"] for row in rows} == {f"made-{at}-detail": gate for at, gate in enumerate(gates)}
    assert all(row["evidence"] for row in rows)
    assert "content policy" in next(row["evidence"] for row in rows if row["id"] == "made-6-detail")


def test_a_reply_is_asked_for_again_with_what_is_wrong(server, tmp_path):
    file = contexts_file(tmp_path, 1)
    server.fault_of = lambda body, times: "not_english" if is_first(body) else None
    generate(work(file, ("reasoning",)), tmp_path / "out", server.url)
    first, second = (request.body["messages"] for request in server.log)
    assert second[: len(first)] == first and [m["role"] for m in second[len(first) :]] == ["assistant", "user"]
    assert "cannot be used: it is not in English" in second[-1]["content"]
    server.forget()
    server.fault_of = lambda body, times: "length" if is_first(body) else None
    generate(work(file, ("reasoning",)), tmp_path / "longer", server.url)
    assert [request.body["max_tokens"] for request in server.log] == [1_024, 2_048]


def test_it_is_made_again_from_the_journal_with_the_network_blocked(server, tmp_path):
    file, out = contexts_file(tmp_path), tmp_path / "out"
    server.fault_of = faulty(0.5, UNUSABLE)
    generate(work(file), out, server.url)
    before, sent = contents(out), len(server.log)
    for name in ("samples.json", "rejected.jsonl", "provenance.jsonl", "manifest.json"):
        (out / name).unlink()
    report = generate(work(file), out, None)
    assert contents(out) == before and len(server.log) == sent and (out / "manifest.json").is_file()
    assert report.calls.requests == 0 and report.calls.reused == sent
    lines = (out / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (out / "journal.jsonl").write_bytes(b"".join(lines[1:]))
    assert "no endpoint is given" in generate(work(file), out, None).stopped


def test_the_order_of_the_answers_makes_no_difference(server, tmp_path):
    file = contexts_file(tmp_path)
    generate(work(file, overrides=["concurrency=1"]), tmp_path / "one", server.url)
    server.seconds = 0.05
    generate(work(file, overrides=["concurrency=64"]), tmp_path / "many", server.url)
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


def test_the_journal_cut_anywhere_in_its_last_line_costs_one_call_at_most(server, tmp_path):
    """`benchmarks/generation.py` cuts at every byte."""
    file, out = contexts_file(tmp_path, 2), tmp_path / "out"
    generate(work(file, ("detail",)), out, server.url)
    whole, before = (out / "journal.jsonl").read_bytes(), contents(out)
    start = whole.rindex(b"\n", 0, -1) + 1
    for end in [*range(start, len(whole), 60), len(whole) - 1]:
        (out / "journal.jsonl").write_bytes(whole[:end])
        sent = len(server.log)
        generate(work(file, ("detail",)), out, server.url)
        assert contents(out) == before
        assert len(server.log) - sent == (0 if end == len(whole) - 1 else 1)


def test_shards_and_batches_come_together_in_the_same_file(server, tmp_path):
    file = contexts_file(tmp_path)
    generate(work(file), tmp_path / "whole", server.url)
    sent = len(server.log)
    for part in range(3):
        generate(work(file, shard=(part, 3)), tmp_path / f"part{part}", server.url)
    assert len(server.log) == 2 * sent == 72
    journals = [tmp_path / f"part{part}/journal.jsonl" for part in range(3)]
    generate(work(file), tmp_path / "joined", None, answers=journals)
    assert contents(tmp_path / "joined") == contents(tmp_path / "whole")

    requests = tmp_path / "requests.jsonl"
    assert write_batch(work(file), tmp_path / "batch", requests) == [(requests, 36)]
    rows = [json.loads(line) for line in (tmp_path / "requests.jsonl").read_text().splitlines()]
    answers = [server_answer(row["body"]) for row in rows]
    results = [
        {"custom_id": row["custom_id"], "response": {"status_code": 200, "body": answer}}
        for row, answer in zip(rows, answers, strict=True)
    ]
    random.Random(0).shuffle(results)
    (tmp_path / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in results))
    generate(work(file), tmp_path / "batch", None, answers=[tmp_path / "results.jsonl"])
    assert contents(tmp_path / "batch") == contents(tmp_path / "whole")
    assert write_batch(work(file), tmp_path / "batch", tmp_path / "requests.jsonl") == []


@pytest.mark.parametrize(("limit", "value"), [("_BATCH_LINES", 10), ("_BATCH_BYTES", 90_000)])
def test_requests_are_written_in_files_that_a_batch_may_have(tmp_path, monkeypatch, limit, value):
    file = contexts_file(tmp_path)
    monkeypatch.setattr(f"lapilli.data.generation.generate.{limit}", value)
    parts = write_batch(work(file), tmp_path / "out", tmp_path / "r.jsonl")
    assert [path.name for path, _ in parts][:3] == ["r.jsonl", "r.2.jsonl", "r.3.jsonl"] and len(parts) >= 3
    sizes = [len(path.read_bytes()) if limit == "_BATCH_BYTES" else count for path, count in parts]
    assert max(sizes) <= value and sum(count for _, count in parts) == 36


def server_answer(body):
    message = {"role": "assistant", "content": teach(body["messages"])}
    return {"choices": [{"message": message, "finish_reason": "stop"}], "model": body["model"]}


def test_it_stops_at_the_budget_and_goes_on_with_a_larger_one(server, tmp_path):
    file, prices = contexts_file(tmp_path), ["prices={input: 1, output: 2}"]
    expected = estimate(work(file, overrides=prices), tmp_path / "out")
    assert (expected.calls, expected.reusable) == (36, 0) and expected.cost > 0
    report = generate(work(file, overrides=prices), tmp_path / "out", server.url, most_cost=expected.cost / 2)
    assert 5 < report.done < 36 and "could exceed a cost" in report.stopped and report.cost <= expected.cost / 2
    assert (
        not (tmp_path / "out/manifest.json").exists()
        and len(read_samples(tmp_path / "out/samples.json")) == report.done
    )
    assert estimate(work(file, overrides=prices), tmp_path / "out").reusable == len(server.log)
    generate(work(file, overrides=prices), tmp_path / "out", server.url, most_cost=100)
    assert len(server.log) == 36 and (tmp_path / "out/manifest.json").is_file()


def test_another_plan_is_refused_and_the_folder_stays_as_it_is(server, tmp_path):
    file, out = contexts_file(tmp_path), tmp_path / "out"
    generate(work(file, ("detail",)), out, server.url)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    for other in (
        work(file),
        work(file, ("detail",), ["temperature=1"]),
        work(contexts_file(tmp_path, 3), ("detail",)),
    ):
        with pytest.raises(LapilliError, match="a run of another recipe"):
            generate(other, out, server.url)
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_later_rounds_ask_about_what_was_left_out(server, tmp_path):
    file = contexts_file(tmp_path, 1)
    server.reply = lambda messages: (
        "Question:\nWho is there?\n===\nAnswer:\nA person." if "come up yet: person" in messages[-1]["content"]
        else "Question:\nWhat is there?\n===\nAnswer:\nA dog number 0."
    )  # fmt: skip
    generate(work(file, ("conversation",), ["rounds=3"]), tmp_path / "out", server.url)
    (sample,) = read_samples(tmp_path / "out/samples.json")
    assert [turn.text for turn in sample.turns[::2]] == ["<image>\nWhat is there?", "Who is there?"]
    assert len(server.log) == 2


def start(server, file, out, *more):
    arguments = [
        "data",
        "generate",
        str(file),
        "--out",
        str(out),
        "--model",
        "teacher",
        "--base-url",
        server.url,
        *more,
    ]
    arguments += [f"--set={setting}" for setting in FAST]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), KEY_VARIABLE: CANARY}
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_killed_and_started_again_it_loses_nothing_and_asks_nothing_twice(server, tmp_path):
    """`benchmarks/generation.py` kills at fifty moments."""
    file, out, kept, sent = contexts_file(tmp_path, 20), tmp_path / "out", set(), 0
    calls = first_calls(file)
    server.seconds = 0.03
    for answers in (1, 9, 30, 40, 55):
        process = started(file, out, server.url)
        wait_for(lambda at=answers: len(server.answered) >= at)
        process.kill()
        process.join()
        assert not kept & {calls[body_key(request.body)] for request in server.log[sent:]}
        kept, sent = journalled(out), len(server.log)
        assert len(kept) >= len(set(map(body_key, (one.body for one in server.answered)))) - 16
    process = started(file, out, server.url)
    process.join()
    assert process.exitcode == 0 and len(journalled(out)) == 60
    server.seconds = 0
    generate(work(file), tmp_path / "whole", server.url)
    assert contents(out) == contents(tmp_path / "whole")


def test_the_key_is_in_no_file_and_nothing_that_is_printed(server, tmp_path):
    file, out = contexts_file(tmp_path, 3), tmp_path / "out"
    server.fault_of = lambda body, times: "echo_key" if times == 1 else None
    process = start(server, file, out)
    output = process.communicate()[0].decode()
    assert process.returncode == 0, output
    texts = [output, *(path.read_text() for path in out.rglob("*") if path.is_file())]
    assert "[key]" in "".join(texts) and not any(CANARY in text for text in texts)
    assert {request.key for request in server.log} == {f"Bearer {CANARY}"}


def test_interrupted_it_waits_for_the_answers_under_way(server, tmp_path):
    file, out = contexts_file(tmp_path, 20), tmp_path / "out"
    server.seconds = 0.3
    process = start(server, file, out)
    wait_for(lambda: len(server.log) >= 12)
    assert CANARY.encode() not in Path(f"/proc/{process.pid}/cmdline").read_bytes()
    process.send_signal(signal.SIGINT)
    output = process.communicate(timeout=30)[0].decode()
    assert process.returncode == 130 and "the same command goes on" in output, output
    kept = len((out / "journal.jsonl").read_bytes().splitlines())
    assert kept == len(server.answered) == len(server.log) < 60


def test_two_processes_do_not_write_one_folder(server, tmp_path):
    file, out = contexts_file(tmp_path), tmp_path / "out"
    server.seconds = 0.5
    process = start(server, file, out)
    wait_for(lambda: server.log)
    with pytest.raises(LapilliError, match=f"process {process.pid} .*is writing there"):
        generate(work(file), out, server.url)
    process.kill()
    process.communicate()


@pytest.mark.parametrize("content", ["spoilt line\n", '{"key": "1", "crc32": "00000000"}\n'])
def test_a_journal_of_spoilt_lines_is_not_removed_with_a_run_that_stops(server, tmp_path, content):
    file, out = contexts_file(tmp_path, 2), tmp_path / "out"
    generate(work(file), out, server.url)
    (out / "journal.jsonl").write_text(content)
    server.fault_of = lambda body, times: "401"
    assert "status 401" in generate(work(file), out, server.url).stopped
    assert (out / "journal.jsonl").read_text() == content


def test_answers_to_other_calls_are_refused_before_all_are_paid_again(server, tmp_path):
    file = contexts_file(tmp_path, 2)
    generate(work(file), tmp_path / "one", server.url)
    sent = len(server.log)
    for name, other in {
        "sampling": work(file, overrides=["temperature=0.5"]),
        "boxes": work(contexts_file(tmp_path, 2), ("conversation",), ["boxes=[conversation]"]),
        "length": work(file, overrides=["max_tokens=500"]),
    }.items():
        with pytest.raises(LapilliError, match="none of its 6 answers is to a call that is to be made"):
            generate(other, tmp_path / name, server.url, answers=[tmp_path / "one/journal.jsonl"])
        assert not (tmp_path / name).exists()
    assert len(server.log) == sent


@pytest.mark.parametrize("missing", [{0}, {0, 1, 2, 3}, {1, 5, 9}])
def test_all_that_the_journal_answers_is_made_when_a_run_stops(server, tmp_path, missing):
    file, out = contexts_file(tmp_path), tmp_path / "out"
    wanted = work(file, ("detail",), ["concurrency=2"])
    generate(wanted, out, server.url)
    keys = {wanted.engine.call(job).key for at, job in enumerate(wanted.jobs) if at in missing}
    lines = (out / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (out / "journal.jsonl").write_bytes(b"".join(line for line in lines if json.loads(line)["key"] not in keys))
    report = generate(wanted, out, None)
    assert report.done == 12 - len(missing) and "no endpoint is given" in report.stopped
    assert len(read_samples(out / "samples.json")) == report.done
