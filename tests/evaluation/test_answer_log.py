"""What a log of answers spares, and that it makes no difference to the answers."""

import numpy as np
import pytest

from lapilli.core.run import RunDir
from lapilli.data.questions import one_question
from lapilli.evaluation.answer_log import BATCH, AnswerLog

COUNT = 2 * BATCH + 7
OF = ("toy", "", "image")


def samples():
    """Questions of many lengths, some of them as long as others."""
    lengths = np.random.default_rng(0).integers(1, 40, COUNT)
    return [one_question("a.png", "What " * int(length)) for length in lengths]


def asked(run):
    """The answers of a round, the batches that were asked, and the progress that was reported."""
    batches, noted = [], []

    def answer(batch, pictures):
        batches.append([len(sample.turns[0].text) for sample in batch])
        return [f"beside {batches[-1]}, {at}" for at in range(len(batch))]  # as padding: it depends on the others

    log = AnswerLog(run, lambda step, done, total: noted.append((done, total)))
    return log.answerer(answer, OF)(samples(), None), batches, noted


@pytest.mark.parametrize("kept", [0, 1, 5, BATCH - 1, BATCH, BATCH + 1, 2 * BATCH + 3, COUNT])
def test_a_run_that_was_killed_anywhere_asks_in_the_batches_of_one_that_was_not(kept, tmp_path):
    run = RunDir.create(tmp_path / "run", {}, 0)
    whole, batches, noted = asked(run)
    assert noted == [(0, COUNT), (BATCH, COUNT), (2 * BATCH, COUNT), (COUNT, COUNT)]
    log = tmp_path / "run" / "metrics.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:kept]) + ("" if kept == COUNT else lines[kept][:9]))
    again, rest, noted = asked(run)
    assert again == whole and rest == batches[kept // BATCH if kept < COUNT else len(batches) :]
    assert log.read_text().splitlines(keepends=True) == lines
    assert noted[0] == (min(kept // BATCH * BATCH if kept < COUNT else COUNT, COUNT), COUNT) and noted[-1] == (
        COUNT,
        COUNT,
    )


def test_a_batch_that_lacks_an_answer_in_its_middle_is_asked_whole(tmp_path):
    run = RunDir.create(tmp_path / "run", {}, 0)
    whole, batches, _ = asked(run)
    log = tmp_path / "run" / "metrics.jsonl"
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[: BATCH + 2] + lines[BATCH + 3 :]))
    again, rest, _ = asked(run)
    assert (
        again == whole and rest == batches[1:2] and sorted(log.read_text().splitlines(keepends=True)) == sorted(lines)
    )
