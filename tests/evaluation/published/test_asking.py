"""Published benchmarks asked of a tiny model, from the authors' files; killed and resumed."""

import json

import pytest
from tests.evaluation.published.files import lines, whole
from tests.parts import joined, picture

from lapilli.cli import run
from lapilli.core.run import RunDir
from lapilli.evaluation.answer_log import BATCH, AnswerLog
from lapilli.evaluation.asking import evaluate
from lapilli.evaluation.published.asking import published_benchmark
from lapilli.evaluation.published.mme import COGNITION, PERCEPTION
from lapilli.evaluation.published.protocol import ASKED

N = 3
TEN = [{"answer": "red"}] * 10


def pictures(folder, names):
    for at, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture(at).save(folder / name)


def coco_pope(folder):
    rows = [
        {"question_id": at, "image": f"{at}.png", "text": "Is there a dog?", "category": split}
        for at, split in enumerate(("adversarial", "popular", "random"))
    ]
    (folder / "coco").mkdir()
    for row in rows:
        lines(folder / f"coco/coco_pope_{row['category']}.json", [row | {"label": "yes"}])
    lines(folder / "llava_pope_test.jsonl", rows)
    pictures(folder / "val2014", [row["image"] for row in rows])


def gqa(folder):
    lines(
        folder / "llava_gqa_testdev_balanced.jsonl",
        [{"question_id": str(at), "image": f"{at}.png", "text": "What?"} for at in range(N)],
    )
    (folder / "data").mkdir()
    whole(
        folder / "data/testdev_balanced_questions.json", {str(at): {"answer": "red", "imageId": "1"} for at in range(N)}
    )
    pictures(folder / "data/images", [f"{at}.png" for at in range(N)])


def vqav2(folder):
    rows = [{"question_id": 10 + at, "image_id": at, "question": "What?"} for at in range(N)]
    whole(folder / "v2_OpenEnded_mscoco_val2014_questions.json", {"questions": rows})
    whole(folder / "v2_mscoco_val2014_annotations.json", {"annotations": [row | {"answers": TEN} for row in rows]})
    pictures(folder / "val2014", [f"COCO_val2014_{at:012}.jpg" for at in range(N)])


def vizwiz(folder):
    (folder / "Annotations").mkdir()
    rows = [{"image": f"VizWiz_val_{at:08}.jpg", "question": "What?", "answers": TEN} for at in range(N)]
    whole(folder / "Annotations/val.json", rows)
    pictures(folder / "val", [row["image"] for row in rows])


def textvqa(folder):
    rows = [{"question_id": "a", "image": "a.jpg", "text": f"What {at}?\nAnswer briefly."} for at in range(N)]
    lines(folder / "llava_textvqa_val_v051_ocr.jsonl", rows)
    labels = [{"image_id": "a", "question": f"What {at}?", "answers": ["red"] * 10} for at in range(N)]
    whole(folder / "TextVQA_0.5.1_val.json", {"data": labels})
    pictures(folder / "train_images", ["a.jpg"])


def scienceqa(folder):
    turns = [{"from": "human", "value": "<image>\nWhat?\nA. x\nB. y"}, {"from": "gpt", "value": "A"}]
    rows = [{"id": str(at), "conversations": turns} | ({"image": f"{at}/image.png"} if at else {}) for at in range(N)]
    whole(folder / "llava_test_CQM-A.json", rows)
    problem = {"answer": 0, "choices": ["x", "y"], "split": "test"}
    whole(folder / "problems.json", {str(at): problem | {"image": "image.png" if at else None} for at in range(N)})
    pictures(folder / "images/test", [f"{at}/image.png" for at in range(1, N)])


def mme(folder):
    (folder / "eval_tool/Your_Results").mkdir(parents=True)
    for task in (*PERCEPTION, *COGNITION):
        (folder / f"eval_tool/Your_Results/{task}.txt").write_text("1.jpg\tIs it?  Please answer yes or no.\tYes\n")
    short = " Please answer yes or no.\nAnswer the question using a single word or phrase."
    rows = [
        {"question_id": f"{task}/1.png", "image": f"{task}/1.jpg", "text": f"Is it?{short}"} for task in PERCEPTION[:N]
    ]
    lines(folder / "llava_mme.jsonl", rows)
    pictures(folder / "MME_Benchmark_release_version", [row["image"] for row in rows])


def seed(folder):
    rows = [{"question_id": at, "image": f"SEED-Bench-image/{at}.png", "text": "What?\nA. x"} for at in range(N)]
    lines(folder / "llava-seed-bench.jsonl", rows)
    labels = [{"question_id": str(at), "answer": "A", "data_type": "image", "question_type_id": 1} for at in range(N)]
    whole(folder / "SEED-Bench.json", {"questions": labels, "question_type": {"Scene": 1}})
    pictures(folder, [row["image"] for row in rows])


LAID_OUT = {
    "coco-pope": coco_pope, "gqa": gqa, "vqav2": vqav2, "vizwiz": vizwiz, "textvqa": textvqa, "scienceqa": scienceqa,
    "mme": mme, "seed": seed,
}  # fmt: skip
RIGHT = {"coco-pope": "Yes", "scienceqa": "A", "mme": "yes.", "seed": "A"}
HEADLINE = {"coco-pope": "f1", "mme": "perception"}


def test_every_benchmark_is_laid_out_here():
    assert list(LAID_OUT) == list(ASKED)


@pytest.mark.parametrize("name", list(ASKED))
def test_right_answers_are_right_and_others_wrong(name, tmp_path):
    LAID_OUT[name](tmp_path)
    for text, value in ((RIGHT.get(name, "red"), 1), (" " if name != "coco-pope" else "no", 0)):
        prompts, shown = [], []

        def answer(samples, open_one, text=text, prompts=prompts, shown=shown):
            prompts.extend(sample.turns[-1].text for sample in samples)
            shown.extend(open_one(image).size for sample in samples for image in sample.images)
            return [text for _ in samples]

        result = evaluate(published_benchmark(name), tmp_path, 10, answer)
        (figure,) = [row for row in result.scores if row.name == HEADLINE.get(name, "accuracy")]
        assert figure.value == pytest.approx(value * (300 if name == "mme" else 1))  # points of three tasks
        assert len(prompts) == N and len(shown) == N - (name == "scienceqa")
        assert published_benchmark(name).table(result.scores, ()).rows


@pytest.mark.parametrize("name", list(ASKED))
def test_a_missing_file_says_where_it_comes_from_and_how_all_are_laid_out(name, tmp_path, capsys):
    LAID_OUT[name](tmp_path)
    missing = published_benchmark(name).inputs(tmp_path)
    for file in list(missing)[:3]:
        kept = (tmp_path / file).read_bytes()
        (tmp_path / file).unlink()
        assert run(["eval", str(joined("clip", "llama")), name, "--data", str(tmp_path)]) == 1
        message = capsys.readouterr().err
        assert f"{file}: no such file; laid out as" in message and "come from" in message
        (tmp_path / file).write_bytes(kept)


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

    def evaluated():
        prompts = []

        def answer(samples, _):
            prompts.extend(sample.id for sample in samples)
            return [f"red {sample.id}" for sample in samples]

        log = AnswerLog(RunDir(tmp_path / "run"), lambda *_: None)
        return evaluate(published_benchmark("gqa"), tmp_path, 70, answer, log.answerer).scores, prompts

    RunDir.create(tmp_path / "run", {}, 0)
    scores, prompts = evaluated()
    log = tmp_path / "run/metrics.jsonl"
    text = log.read_bytes()
    for moment in range(20):
        cut = text[: len(text) * moment // 19]
        log.write_bytes(cut)
        kept = cut.count(b"\n") // BATCH * BATCH if moment < 19 else 70
        again, rest = evaluated()
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
