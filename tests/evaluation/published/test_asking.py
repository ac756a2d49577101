"""Published benchmarks asked of a tiny model, from the authors' files; killed and resumed."""

import json

import pytest
from tests.evaluation.published.files import lines, whole
from tests.evaluation.published.laid_out import LAID_OUT, N, gqa, pictures, scienceqa
from tests.parts import joined

from lapilli.cli import run
from lapilli.core.run import RunDir
from lapilli.evaluation.answer_log import BATCH, AnswerLog
from lapilli.evaluation.asking import evaluate
from lapilli.evaluation.published.asking import published_benchmark
from lapilli.evaluation.published.protocol import ASKED, published

RIGHT = {"coco-pope": "Yes", "scienceqa": "A", "mme": "yes.", "seed": "A", "cocoqa": "red two bed"}
RIGHT |= dict.fromkeys(("mmbench", "mmbench-cn"), "ring here")
WRONG = {"coco-pope": "no", "cocoqa": "green"}  # in COCO-QA nothing is right
HEADLINE = {"coco-pope": "f1", "mme": "perception", "cocoqa": "containment"}
SCORED = [name for name in ASKED if published(ASKED[name]).right_or_wrong]


def evaluated(name, folder, text):
    """The scores, where each answer is a text or what a function makes of its sample; the samples; pictures' sizes."""
    every, shown = [], []

    def answer(samples, open_one):
        every.extend(samples)
        shown.extend(open_one(image).size for sample in samples for image in sample.images)
        return [text(sample) if callable(text) else text for sample in samples]

    result = evaluate(published_benchmark(name), folder, 10, answer)
    return result, every, shown


def value(scores, name):
    (one,) = [row.value for row in scores if row.name == name]
    return one


def test_every_benchmark_is_laid_out_here():
    assert list(LAID_OUT) == list(ASKED)


@pytest.mark.parametrize("name", SCORED)
def test_right_answers_are_right_and_others_wrong(name, tmp_path):
    LAID_OUT[name](tmp_path)
    for text, share in ((RIGHT.get(name, "red"), 1), (WRONG.get(name, " "), 0)):
        result, samples, shown = evaluated(name, tmp_path, text)
        points = 300 if name == "mme" else 1  # of three tasks
        assert value(result.scores, HEADLINE.get(name, "accuracy")) == pytest.approx(share * points)
        assert len(samples) == N and len(shown) == N - (name == "scienceqa")
        assert published_benchmark(name).table(result.scores, ()).rows


@pytest.mark.parametrize("name", list(ASKED))
def test_a_missing_file_says_where_it_comes_from_and_how_all_are_laid_out(name, tmp_path, capsys):
    LAID_OUT[name](tmp_path)
    layout = published(ASKED[name]).layouts[name]
    command = ["eval", str(joined("clip", "llama")), name, "--data", str(tmp_path), "--out", str(tmp_path / "out")]
    for file in list(published_benchmark(name).inputs(tmp_path))[:3]:
        kept = (tmp_path / file).read_bytes()
        (tmp_path / file).unlink()
        assert run(command) == 1 and not (tmp_path / "out").exists()
        message = capsys.readouterr().err
        assert f"{file}: no such file; laid out as" in message and message.count("\n") == 1
        assert layout.origin in message and (published(ASKED[name]).source in message) == bool(layout.references)
        assert (f"pictures in {tmp_path / layout.images}" in message) == (not layout.picture)
        (tmp_path / file).write_bytes(kept)


@pytest.mark.parametrize("name", list(ASKED))
def test_without_a_folder_the_message_says_what_belongs_in_it(name, tmp_path, capsys):
    assert run(["eval", str(joined("clip", "llama")), name, "--out", str(tmp_path / "out")]) == 2
    message, layout = capsys.readouterr().err, published(ASKED[name]).layouts[name]
    assert f"with --data, laid out as: {layout.questions}" in message and layout.origin in message


def test_a_missing_picture_is_named_before_a_model_is_loaded(tmp_path, capsys):
    gqa(tmp_path)
    (tmp_path / "data/images/1.png").unlink()
    assert (
        run(["eval", str(joined("clip", "llama")), "gqa", "--data", str(tmp_path), "--out", str(tmp_path / "o")]) == 1
    )
    assert "1.png" in capsys.readouterr().err and not (tmp_path / "o").exists()


def test_cut_off_at_any_of_twenty_moments_an_evaluation_ends_with_the_same_log(tmp_path):
    """And asks nothing twice that it has the whole batch of."""
    lines(
        tmp_path / "llava_gqa_testdev_balanced.jsonl",
        [{"question_id": str(at), "image": "0.png", "text": f"What {'is ' * (at % 9)}{at}?"} for at in range(70)],
    )
    (tmp_path / "data").mkdir()
    labels = {str(at): {"answer": "red", "imageId": "1"} for at in range(70)}
    whole(tmp_path / "data/testdev_balanced_questions.json", labels)
    pictures(tmp_path / "data/images", ["0.png"])

    def answered():
        prompts = []

        def answer(samples, _):
            prompts.extend(sample.id for sample in samples)
            return [f"red {sample.id}" for sample in samples]

        log = AnswerLog(RunDir(tmp_path / "run"), lambda *_: None)
        return evaluate(published_benchmark("gqa"), tmp_path, 70, answer, log.answerer).scores, prompts

    RunDir.create(tmp_path / "run", {}, 0)
    scores, prompts = answered()
    log = tmp_path / "run/metrics.jsonl"
    text = log.read_bytes()
    for moment in range(20):
        cut = text[: len(text) * moment // 19]
        log.write_bytes(cut)
        kept = cut.count(b"\n") // BATCH * BATCH if moment < 19 else 70
        again, rest = answered()
        assert again == scores and log.read_bytes() == text and rest == prompts[kept:]


def test_the_likeliest_choice_is_an_answer_that_can_be_read(tmp_path, capsys):
    scienceqa(tmp_path)
    command = ["eval", str(joined("clip", "llama")), "scienceqa", "--data", str(tmp_path), "--choose"]
    assert run([*command, "--out", str(tmp_path / "run"), "--json"]) == 0
    scores = {row["name"]: row["value"] for row in json.loads(capsys.readouterr().out)["scores"]}
    assert scores["unparsed"] == 0 == scores["not offered"]
    saved = RunDir.open(tmp_path / "run")
    assert {row["given"] for row in saved.load("answers")} <= {"A", "B"}
    assert saved.load("asked")["decoding"] == "likeliest choice"
    assert run([*command, "scenes"]) == 2 and "--choose: scenes has no choices" in capsys.readouterr().err


def test_a_model_is_asked_as_its_answers_are_scored_alone(tmp_path, capsys):
    gqa(tmp_path)
    command = ["eval", str(joined("clip", "llama")), "gqa", "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    assert run([*command, "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    conditions = RunDir.open(tmp_path / "run").load("asked")
    assert (
        conditions["template"]
        and conditions["preparation"]["image_mean"]
        and conditions["answer_tokens"] == {"gqa": 128}
    )
    labels = tmp_path / "data/testdev_balanced_questions.json"
    alone = [
        "score",
        "gqa",
        "--answers",
        str(tmp_path / "run/gqa.jsonl"),
        "--references",
        str(labels),
        "--json",
    ]
    assert run(alone) == 0
    accuracy = next(row["value"] for row in scores if row["name"] == "accuracy")
    assert json.loads(capsys.readouterr().out)["accuracy"] == accuracy
