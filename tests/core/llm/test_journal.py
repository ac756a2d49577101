"""The journal: nothing that was written is lost, whatever cuts it off, and nothing that was not is believed."""

import json
import os
import resource
import subprocess
import sys
from dataclasses import replace

import pytest

from lapilli.core.errors import LapilliError
from lapilli.core.llm.journal import Entry, Journal

SIGNS = 'Grüße, 世界 🌋 \u2028 \x00 " \\ ]}'


def body(text):
    return json.dumps({"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})


def entry(number, text=SIGNS):
    return Entry(f"key{number}", {"id": SIGNS}, "now", 0.5, 1, body(f"{text}{number}"))


def written(path, count):
    journal = Journal(path)
    for number in range(count):
        journal.append(entry(number))
    journal.close()
    return path.read_bytes()


def test_what_was_written_is_read(tmp_path):
    written(tmp_path / "j", 3)
    journal = Journal(tmp_path / "j")
    assert len(journal) == 3 and "key3" not in journal and journal.spoilt == 0
    assert [journal.reply(f"key{number}").text for number in range(3)] == [f"{SIGNS}{number}" for number in range(3)]
    assert list(journal.entries()) == [entry(number) for number in range(3)]


def test_cut_at_every_byte_of_the_last_line_it_loses_that_line_alone(tmp_path):
    """Of a line that lacks its break alone, nothing is lost."""
    whole = written(tmp_path / "j", 3)
    start = whole.rindex(b"\n", 0, -1) + 1
    for end in range(start, len(whole)):
        (tmp_path / "j").write_bytes(whole[:end])
        journal = Journal(tmp_path / "j")
        assert (len(journal), journal.spoilt) == (3 if end == len(whole) - 1 else 2, 0)
        if "key2" not in journal:
            journal.append(entry(2))
        journal.close()
        assert (tmp_path / "j").read_bytes() == whole


@pytest.mark.parametrize("at", [0, 7, 30, 60, 100, -20, -3, -2])
def test_a_changed_byte_spoils_one_line_which_is_counted(tmp_path, at):
    lines = written(tmp_path / "j", 3).splitlines(keepends=True)
    spoilt = bytearray(lines[1])
    spoilt[at] ^= 1
    (tmp_path / "j").write_bytes(lines[0] + bytes(spoilt) + lines[2])
    journal = Journal(tmp_path / "j")
    assert (len(journal), "key1" in journal, journal.spoilt) == (2, False, 1)


def test_the_first_answer_counts_and_what_is_none_does_not(tmp_path):
    journal = Journal(tmp_path / "j")
    journal.append(Entry("key", {}, "", 0, 1, '{"error": "none"}'))
    assert "key" not in journal
    journal.append(Entry("key", {}, "", 0, 1, body("first")))
    journal.append(Entry("key", {}, "", 0, 1, body("second")))
    assert journal.reply("key").text == "first"
    journal.close()
    assert Journal(tmp_path / "j").reply("key").text == "first"


def test_answers_of_shards_and_of_a_batch_are_adopted_once(tmp_path):
    written(tmp_path / "shard", 3)
    rows = [{"id": "b", "custom_id": "key7", "response": {"status_code": 200, "body": json.loads(body("seven"))}}]
    rows += [
        {"custom_id": "key8", "response": {"status_code": 500, "body": {}}},
        {"custom_id": "key9", "response": None},
    ]
    (tmp_path / "batch").write_text("".join(json.dumps(row) + "\n" for row in rows[::-1]))
    journal = Journal(tmp_path / "j")
    journal.append(entry(1, "mine"))
    assert journal.adopt(tmp_path / "shard", lambda key: key != "key2") == 1
    assert journal.adopt(tmp_path / "batch", lambda key: True) == 1
    assert journal.adopt(tmp_path / "batch", lambda key: True) == 0
    assert journal.reply("key1").text == "mine1" and journal.reply("key7").text == "seven"
    assert sorted(entry.key for entry in journal.entries()) == ["key0", "key1", "key7"]


@pytest.mark.parametrize("content", [b'{"a": 1}\n', b"\xff\xfe", b"[" * 9_000, b'{"custom_id": 3, "response": {}}'])
def test_what_is_no_journal_is_not_adopted(tmp_path, content):
    (tmp_path / "other").write_bytes(content)
    with pytest.raises(LapilliError, match="neither a journal nor the results of a batch"):
        Journal(tmp_path / "j").adopt(tmp_path / "other", lambda key: True)
    with pytest.raises(LapilliError, match=r"nowhere: cannot be read.*check the path"):
        Journal(tmp_path / "j").adopt(tmp_path / "nowhere", lambda key: True)


FILLING = """
import signal, sys
from pathlib import Path
from tests.core.llm.test_journal import entry
from lapilli.core.errors import LapilliError
from lapilli.core.llm.journal import Journal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
journal = Journal(Path(sys.argv[1]))
try:
    for number in range(100): journal.append(entry(number))
except LapilliError as error:
    print(number, error)
"""


def test_on_a_full_disk_it_ends_with_whole_lines(tmp_path):
    """A limit of file sizes is a full disk to the process that meets it."""
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, 3_000))  # noqa: E731
    done = subprocess.run(
        [sys.executable, "-c", FILLING, tmp_path / "j"],
        preexec_fn=limit, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    number, _, message = done.stdout.partition(" ")
    assert "cannot be written: File too large" in message, done.stderr
    journal = Journal(tmp_path / "j")
    assert len(journal) == int(number) > 5 and journal.spoilt == 0


@pytest.mark.parametrize("text", ["", "a" * 30, SIGNS])
def test_what_no_endpoint_counts_is_as_much_when_the_journal_is_read_again(tmp_path, text):
    journal = Journal(tmp_path / "j")
    journal.append(replace(entry(1, text), input_estimate=70))
    assert journal.used.input == 70
    journal.close()
    assert Journal(tmp_path / "j").used == journal.used


def test_lines_without_an_answer_are_lines(tmp_path):
    for number, content in enumerate((b"", b"spoilt\n", b'{"key": "x"}\n')):
        (tmp_path / str(number)).write_bytes(content)
        journal = Journal(tmp_path / str(number))
        assert len(journal) == 0 and journal.is_empty == (not content)
