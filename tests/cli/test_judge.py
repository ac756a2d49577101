"""`lapilli judge`, as a user meets it."""

import json

import pytest
from tests.evaluation.judging.judges import FAST, files, honest, lines, only
from tests.llm_server import Server

from lapilli.cli import run

SETTINGS = [part for setting in FAST for part in ("--set", setting)]
PRICES = ["--set", "prices={input: 1, output: 2}"]


@pytest.fixture
def server():
    with Server(honest) as server:
        yield server


@pytest.fixture
def judge(tmp_path):
    questions, answers, references, contexts = map(str, files(tmp_path))
    command = ["judge", questions, "--answers", answers, "--references", references, "--contexts", contexts]

    def run_it(*more):
        return run([*command, "--out", str(tmp_path / "out"), "--model", "m", *SETTINGS, *more])

    return run_it


def test_it_is_estimated_shown_made_and_made_again(server, judge, tmp_path, capsys):
    assert judge("--dry-run", *PRICES) == 0 and not (tmp_path / "out").exists()
    assert "48 calls to make, 0 answers in the journal" in capsys.readouterr().out
    assert judge("--show-prompt") == 0
    shown = capsys.readouterr().out
    assert judge("--base-url", server.url, *PRICES) == 0
    text = capsys.readouterr().out
    assert "48 requests, 48 answers, 0 from the journal" in text and "in money" in text
    assert "all position bias" in text and text.endswith("judging.html\n") and "could not be read" not in text
    sent = [request.body["messages"] for request in server.log]
    assert any(all(f"--- {one['role']}\n{one['content']}\n" in shown for one in messages) for messages in sent)
    assert judge("--json") == 0 and len(server.log) == 48
    result = json.loads(capsys.readouterr().out)
    assert (result["all"]["n"], result["report"]["calls"]["reused"], result["unmatched"]) == (12, 48, 0)
    assert "Question 3?" in (tmp_path / "out/judging.html").read_text()


@pytest.mark.parametrize("procedure", [["--published"], []])
def test_its_reviews_are_scored_as_it_scores_them(server, judge, tmp_path, capsys, procedure):
    server.fault_of = only(3, "wrong_format")
    assert judge("--base-url", server.url, "--json", *procedure) == 0
    printed = capsys.readouterr()
    ours = json.loads(printed.out)
    assert f"{'1 of 12' if procedure else '4 of 48'} replies could not be read, and " in printed.err
    assert ("count as -1 and -1 in the means" in printed.err) == bool(procedure)
    assert run(["score", "llava-bench", "--reviews", str(tmp_path / "out/reviews.jsonl"), "--json"]) == 0
    theirs = json.loads(capsys.readouterr().out)
    assert len(server.log) == (12 if procedure else 48)
    if procedure:
        assert {name: ours[name] for name in theirs if name != "unmatched"} == {
            name: value for name, value in theirs.items() if name != "unmatched"
        }
        assert ours["unparsed"] == 1 and ours["all"]["n"] == 12 and ours["without_unparsed"]["all"]["n"] == 11
        sums = [
            sum(8 - at % 2 if at != 3 else -1 for at in range(12)),
            sum(2 + at % 7 if at != 3 else -1 for at in range(12)),
        ]
        assert ours["all"]["relative"] == round(100 * sums[1] / sums[0], 1)
    else:
        for name in ("all", "conv", "detail", "complex"):
            assert theirs[name]["relative"] == round(ours[name]["relative"], 1) and theirs[name]["n"] == ours[name]["n"]


def test_what_stops_it_is_said_in_a_line(server, judge, tmp_path, capsys):
    server.faults = {"401": 99}
    assert judge("--base-url", server.url) == 1
    assert "0 of 48 judgements are made: status 401" in capsys.readouterr().err and not (tmp_path / "out").exists()
    server.faults = {}
    assert judge("--base-url", server.url, "--max-cost", "0.02", *PRICES) == 1
    error = capsys.readouterr().err
    assert "could exceed a cost of 0.02" in error and error.endswith("the same command goes on\n")
    assert "Not whole: " in (tmp_path / "out/judging.html").read_text()
    assert judge() == 1 and "no endpoint is given; give --base-url" in capsys.readouterr().err
    assert judge("--base-url", server.url) == 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "no --base-url, and no answers to work with"),
        (["--base-url", "localhost"], "no address; write it as http"),
        (["--published", "--samples", "3"], "the published procedure has one judgement"),
        (["--set", "rubric=v99"], "no such version or folder"),
        (["--set", "temperature=3"], "temperature"),
        (["--set", "rubrik=v1"], "rubric"),
    ],
)
def test_wrong_use_starts_nothing(judge, tmp_path, capsys, more, said):
    assert judge(*more) == 2 and said in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_unmatched_rows_are_an_error_unless_allowed(server, judge, tmp_path, capsys):
    lines(tmp_path / "answers.jsonl", [{"question_id": at, "text": "of worth 5"} for at in range(1, 13)])
    assert judge("--base-url", server.url) == 1
    error = capsys.readouterr().err
    assert "1 rows answer none of the questions, 1 questions have no row: '12', '0'" in error and not server.log
    assert judge("--base-url", server.url, "--allow-unmatched", "--samples", "1", "--json") == 0
    assert json.loads(capsys.readouterr().out)["unmatched"] == 2 and len(server.log) == 22
