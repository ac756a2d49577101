"""`lapilli data generate`, `contexts`, `filter`, `mix`, `import` and `rate`, as a user meets them."""

import json

import pytest
from tests.data.generation.teacher import FAST, contexts_file, teach
from tests.llm_server import Server
from tests.parts import picture

from lapilli.cli import run
from lapilli.data.sample import read_samples

SETTINGS = [part for setting in FAST for part in ("--set", setting)]
PRICES = ["--set", "prices={input: 1, output: 2}"]


@pytest.fixture
def server():
    with Server(teach) as server:
        yield server


@pytest.fixture
def generate(tmp_path):
    file = contexts_file(tmp_path, 5)

    def run_it(*more):
        return run(["data", "generate", str(file), "--out", str(tmp_path / "out"), "--model", "m", *SETTINGS, *more])

    return run_it


def test_it_is_estimated_made_and_made_again(server, generate, tmp_path, capsys):
    assert generate("--dry-run", *PRICES) == 0 and not (tmp_path / "out").exists()
    assert "15 calls to make, 0 answers in the journal" in capsys.readouterr().out
    assert generate("--dry-run") == 0 and "unknown: give prices" in capsys.readouterr().out
    assert generate("--base-url", server.url, *PRICES) == 0
    text = capsys.readouterr().out
    assert "15 requests, 15 answers, 0 from the journal" in text and text.endswith("out: 15 samples\n")
    assert "in money" in text and (tmp_path / "out/card.md").read_text().startswith("# 15 samples, made by m\n")
    assert generate("--json") == 0 and len(server.log) == 15
    report = json.loads(capsys.readouterr().out)
    assert (report["done"], report["calls"]["reused"], report["stopped"]) == (15, 15, "")
    rows = [json.loads(line) for line in (tmp_path / "out/provenance.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == [sample.id for sample in read_samples(tmp_path / "out/samples.json")]
    assert {"prompts", "model", "seed", "temperature", "calls", "flags"} <= rows[0].keys()
    assert rows[0]["calls"][0]["usage"]["output"] == 20 and rows[0]["calls"][0]["at"]


def test_the_prompt_is_shown_as_it_is_sent(server, generate, capsys):
    assert generate("--show-prompt", "--kind", "detail") == 0
    text = capsys.readouterr().out
    assert generate("--base-url", server.url, "--kind", "detail") == 0
    first = min(server.log, key=lambda request: "number 0" not in request.body["messages"][-1]["content"])
    assert all(f"--- {one['role']}\n{one['content']}\n" in text for one in first.body["messages"])
    assert "dog: [0.100, 0.200, 0.500, 0.800]" in text and "--- user\nA dog number 0" in text


def test_conversations_see_no_boxes_unless_they_are_to(generate, capsys):
    assert generate("--show-prompt", "--kind", "conversation") == 0 and "0.100" not in capsys.readouterr().out
    assert generate("--show-prompt", "--kind", "conversation", "--set", "boxes=[conversation]") == 0
    assert "dog: [0.100, 0.200" in capsys.readouterr().out


def test_what_stops_it_is_said_in_a_line(server, generate, tmp_path, capsys):
    server.faults = {"401": 99}
    assert generate("--base-url", server.url) == 1
    assert "0 of 15 samples are done: status 401" in capsys.readouterr().err and not (tmp_path / "out").exists()
    server.faults = {}
    assert generate("--base-url", server.url, "--max-cost", "0.006", *PRICES) == 1
    error = capsys.readouterr().err
    assert "could exceed a cost of 0.006" in error and error.endswith("the same command goes on\n")
    assert 0 < len(read_samples(tmp_path / "out/samples.json")) < 15
    assert generate() == 1 and "no endpoint is given; give --base-url" in capsys.readouterr().err


def test_an_endpoint_that_is_not_there_is_named_and_nothing_else_is_printed(generate, tmp_path, capsys):
    with Server(teach) as server:
        pass
    assert generate("--base-url", server.url, "--set", "tries=2") == 1
    printed = capsys.readouterr()
    assert printed.out == "" and not (tmp_path / "out").exists()
    assert "out: 0 of 15 samples are done: no answer after 2 tries: no connection: " in printed.err
    assert "check --base-url, and that a server listens there" in printed.err


def test_scenes_need_no_model(tmp_path, capsys):
    assert run(["data", "scenes", str(tmp_path / "scenes"), "--count", "4"]) == 0
    command = ["data", "generate", str(tmp_path / "scenes"), "--engine", "template", "--out"]
    assert run([*command, str(tmp_path / "one")]) == run([*command, str(tmp_path / "two")]) == 0
    assert (tmp_path / "one/samples.json").read_bytes() == (tmp_path / "two/samples.json").read_bytes()
    arguments = [str(tmp_path / "one/samples.json"), "--images", str(tmp_path / "scenes/images")]
    capsys.readouterr()
    assert run(["data", "validate", *arguments]) == 0
    assert run([*command[:2], str(contexts_file(tmp_path)), *command[3:], str(tmp_path / "three")]) == 1
    assert "not a folder of scenes" in capsys.readouterr().err


def test_choosing_and_mixing(tmp_path, capsys):
    (tmp_path / "c.jsonl").write_text("".join(f'{{"caption": "x", "phrases": ["p{n % 7}"]}}\n' for n in range(40)))
    assert run(["data", "filter", str(tmp_path / "c.jsonl"), "--out", str(tmp_path / "f"), "--most", "5"]) == 0
    assert "35 of 40 captions, 7 different phrases" in capsys.readouterr().out
    picture(1).save(tmp_path / "000000000009.png")
    (tmp_path / "own.csv").write_text("image,question,answer\n000000000009.png,What is it?,A dog.\n")
    out = ["--out", str(tmp_path / "own")]
    assert run(["data", "import", str(tmp_path / "own.csv"), "--images", str(tmp_path), *out]) == 0
    assert "1 questions about 1 pictures; 1 to train, 0 aside" in capsys.readouterr().out
    (tmp_path / "mix.yaml").write_text(f"sources: [{{name: own, file: {tmp_path}/own/train.json, weight: 2}}]")
    (tmp_path / "eval.jsonl").write_text('{"image": "COCO_val2014_000000000009.jpg", "text": "Why?"}\n')
    mixed = ["data", "mix", str(tmp_path / "mix.yaml"), "--out", str(tmp_path / "mix.json")]
    mixed += ["--evaluation", str(tmp_path / "eval.jsonl")]
    assert run(mixed) == 0
    assert "1 rows; 2 samples of its pictures, 0 with its question too" in capsys.readouterr().out
    assert run([*mixed, "--decontaminate"]) == 1 and "no samples are left" in capsys.readouterr().err


def test_contexts_are_made(tmp_path, capsys):
    (tmp_path / "own.csv").write_text("image,caption\na.jpg,A dog.\na.jpg,A cat.\n")
    assert run(["data", "contexts", str(tmp_path / "own.csv"), "--out", str(tmp_path / "c.jsonl")]) == 0
    assert "1 pictures, 2 captions, 0 boxes" in capsys.readouterr().out


def test_damaged_lines_of_the_journal_are_reported(server, generate, tmp_path, capsys):
    assert generate("--base-url", server.url, "--kind", "detail") == 0
    journal = tmp_path / "out/journal.jsonl"
    journal.write_bytes(journal.read_bytes().replace(b"stop", b"slop", 2))
    assert generate("--base-url", server.url, "--kind", "detail") == 0 and len(server.log) == 7
    printed = capsys.readouterr()
    assert "2 damaged lines of the journal were left out" in printed.out + printed.err


def test_nothing_is_written_over_what_is_read(server, generate, tmp_path, capsys):
    contexts, own, journal = tmp_path / "contexts.jsonl", tmp_path / "own.jsonl", tmp_path / "out/journal.jsonl"
    assert generate("--base-url", server.url, "--kind", "detail") == 0
    (tmp_path / "mix.yaml").write_text(f"sources: [{{name: own, file: {tmp_path}/out/samples.json}}]")
    own.write_bytes(contexts.read_bytes())
    samples = tmp_path / "out/samples.json"
    mix = ["data", "mix", str(tmp_path / "mix.yaml"), "--out"]
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    capsys.readouterr()
    for command in (
        lambda: run(["data", "contexts", str(own), "--out", str(tmp_path / "out/../own.jsonl")]),
        lambda: generate("--batch", str(contexts)),
        lambda: generate("--batch", str(journal)),
        lambda: run([*mix, str(samples)]),
        lambda: run([*mix, str(tmp_path / "new.json"), "--evaluation", str(tmp_path / "new.json")]),
    ):
        assert command() == 1 and "is read; choose another name" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
