"""What a log of answers spares, and that it makes no difference to the answers."""

import numpy as np
import pytest

from lapilli.core.run import RunDir
from lapilli.data.questions import one_question
from lapilli.evaluation.answer_log import BATCH, WHOLE, AnswerLog

COUNT = 2 * BATCH + 7
OF = ("toy", "", "image")


def samples():
    """Questions of many lengths, some of them as long as others."""
    lengths = np.random.default_rng(0).integers(1, 40, COUNT)
    return [one_question("a.png", "What " * int(length)) for length in lengths]


def asked(run, shard=WHOLE, others=()):
    """The answers of a round, the batches that were asked, and the progress that was reported."""
    batches, noted = [], []

    def answer(batch, pictures):
        batches.append([len(sample.turns[0].text) for sample in batch])
        return [f"beside {batches[-1]}, {at}" for at in range(len(batch))]  # as padding: it depends on the others

    log = AnswerLog(run, lambda step, done, total: noted.append((done, total)), shard, others)
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


def test_shards_ask_the_batches_of_the_whole_and_their_answers_make_its_log(tmp_path):
    whole_run = RunDir.create(tmp_path / "whole", {}, 0)
    whole, batches, _ = asked(whole_run)
    shards = [RunDir.create(tmp_path / f"part{part}", {}, 0) for part in range(2)]
    for part, shard in enumerate(shards):
        some, of_part, noted = asked(shard, (part, 2))
        assert of_part == batches[part::2] and noted[-1] == (sum(map(len, of_part)),) * 2
        assert all(text in ("", wanted) for text, wanted in zip(some, whole, strict=True))
    merged = RunDir.create(tmp_path / "merged", {}, 0)
    texts, rest, _ = asked(merged, others=shards)
    assert texts == whole and rest == []
    assert (tmp_path / "merged/metrics.jsonl").read_text() == (tmp_path / "whole/metrics.jsonl").read_text()


def test_rounds_of_a_batch_or_two_are_shared_out_evenly():
    """Each of 12 rounds has 1 or 2 batches: 18 for three shards."""
    counts, texts = [], []
    for part in range(3):
        log, batches = AnswerLog(None, lambda *_: None, (part, 3)), []

        def answer(batch, pictures, batches=batches):
            batches.append(len(batch))
            return ["an answer"] * len(batch)

        rounds = [samples()[: 5 + BATCH * (at % 2)] for at in range(12)]
        texts.append(
            [
                text
                for at, some in enumerate(rounds)
                for text in log.answerer(answer, ("toy", str(at), "image"))(some, None)
            ]
        )
        counts.append(len(batches))
    assert counts == [6, 6, 6]
    assert all(sum(map(bool, answers)) == 1 for answers in zip(*texts, strict=True))


def test_what_no_shard_has_is_asked_in_whole_batches(tmp_path):
    whole, batches, _ = asked(None)
    shard = RunDir.create(tmp_path / "part", {}, 0)
    asked(shard, (0, 2))
    log = tmp_path / "part/metrics.jsonl"
    log.write_text("".join(log.read_text().splitlines(keepends=True)[: BATCH + 3]))
    texts, rest, _ = asked(None, others=[shard])
    assert texts == whole and rest == batches[1:]


def test_the_questions_about_a_picture_are_asked_together(tmp_path):
    """The longest comes first, and with it all about its picture."""
    order = [one_question(f"{at % 3}.png", "What " * (1 + at % 7)) for at in range(BATCH)]
    asked_about = []

    def answer(batch, pictures):
        asked_about.extend(sample.images[0] for sample in batch)
        return [sample.turns[0].text for sample in batch]

    texts = AnswerLog(None, lambda *_: None).answerer(answer, OF)(order, None)
    assert texts == [sample.turns[0].text for sample in order]
    assert asked_about == sorted(asked_about, key=["0.png", "1.png", "2.png"].index) and len(set(asked_about)) == 3
