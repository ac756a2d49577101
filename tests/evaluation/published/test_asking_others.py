"""Published benchmarks that are asked otherwise than by LLaVA's files: tables of pictures, captions, graded answers."""

import base64
import json
import shlex
import shutil
import zlib
from dataclasses import replace
from pathlib import Path

import pytest
from tests.evaluation.published.files import lines, refusal, score, whole
from tests.evaluation.published.laid_out import (
    N,
    captions,
    cell,
    coco_pope,
    cocoqa,
    llava_bench_coco,
    llava_bench_wild,
    mm_vet,
    mmbench,
    mmbench_cn,
    pictures,
    table,
)
from tests.evaluation.published.test_asking import evaluated, value
from tests.parts import joined, picture

from lapilli.cli import run
from lapilli.core.errors import LapilliError
from lapilli.core.run import RunDir
from lapilli.data.paths import PictureError
from lapilli.evaluation.asking import opener
from lapilli.evaluation.published import llava_bench
from lapilli.evaluation.published import mm_vet as mm_vet_module
from lapilli.evaluation.published.asking import published_benchmark

LETTER = "Answer with the option's letter from the given choices directly."


def asked_of_a_model(name, folder, out, *more):
    return run(["eval", str(joined("clip", "llama")), name, "--data", str(folder), "--out", str(out), *more])


def test_mmbench_is_asked_as_llava_asks_it_with_the_pictures_of_its_table(tmp_path):
    mmbench(tmp_path)
    result, samples, _ = evaluated("mmbench", tmp_path, "A")
    prompts = [sample.turns[-1].text.removeprefix("<image>\n") for sample in samples]
    assert prompts == [
        f"What is it?\nA. ring\nB. star\n{LETTER}",
        f"What is it?\nA. star\nB. ring\n{LETTER}",
        f"A map.\nWhere?\nA. here\nB. there\n{LETTER}",
    ]
    assert [sample.images for sample in samples] == [("7",)] * N  # one picture, asked about together
    opened = opener(published_benchmark("mmbench"), tmp_path)("7")
    assert opened.tobytes() == picture(0).convert("RGB").tobytes()
    # "A" is right of two rows in three, but of one question in two: the other is wrong in its rotation.
    assert (value(result.scores, "accuracy"), value(result.scores, "single accuracy")) == (1 / 2, pytest.approx(2 / 3))


def test_mmbench_in_chinese_has_its_own_line(tmp_path):
    mmbench_cn(tmp_path)
    _, samples, _ = evaluated("mmbench-cn", tmp_path, "A")
    assert all(sample.turns[-1].text.endswith("\n请直接回答选项字母。") for sample in samples)


def test_a_question_is_asked_in_all_its_rotations_or_in_none(tmp_path):
    row = {"question": "?", "A": "x", "B": "y", "answer": "A", "image": cell()}
    kinds = [{"category": "a"}, {"category": "a"}, {"category": "b"}]
    rows = [row | kind | {"index": at + turn * 1_000_000} for turn in (0, 1) for at, kind in enumerate(kinds)]
    table(tmp_path / "mmbench_dev_20230712.tsv", rows)
    questions = published_benchmark("mmbench").read(tmp_path, "", 1)
    assert [question.id for question in questions] == ["0", "2", "1000000", "1000002"]


def test_choices_end_where_llava_ends_them(tmp_path):
    row = {"index": 1, "question": "?", "hint": "nan", "A": "x", "B": "y", "C": "None", "D": "z", "answer": "A"}
    table(tmp_path / "mmbench_dev_20230712.tsv", [row | {"image": cell()}])
    (question,) = published_benchmark("mmbench").read(tmp_path, "", 1)
    assert question.question == f"?\nA. x\nB. y\n{LETTER}"


def chunk(name, content):
    return len(content).to_bytes(4) + name + content + zlib.crc32(name + content).to_bytes(4)


def bomb():
    """A PNG whose header says 60,000 by 60,000 pixels."""
    header = (60_000).to_bytes(4) * 2 + b"\x08\x02\x00\x00\x00"
    content = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b""))
    return base64.b64encode(content).decode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not base64!", "not base64"),
        ("", "not a picture"),
        (base64.b64encode(b"%!PS-Adobe-3.0 EPSF-3.0").decode(), "not a picture"),
        ("../../etc/passwd", "not base64"),
        (bomb(), "pixels"),
    ],
)
def test_a_cell_that_is_no_picture_is_named_before_a_model_is_loaded(content, message, tmp_path, capsys):
    row = {"question": "?", "A": "x", "B": "y", "answer": "A"}
    rows = [row | {"index": 1, "image": cell()}, row | {"index": 2, "image": content}]
    table(tmp_path / "mmbench_dev_20230712.tsv", rows)
    assert asked_of_a_model("mmbench", tmp_path, tmp_path / "out") == 1
    line = capsys.readouterr().err
    assert "mmbench_dev_20230712.tsv, line 3" in line and message in line and line.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_a_picture_that_breaks_off_is_named_when_it_is_opened(tmp_path):
    content = base64.b64decode(cell())
    broken = base64.b64encode(content[: len(content) // 2]).decode()
    row = {"index": 1, "question": "?", "A": "x", "B": "y", "answer": "A", "image": broken}
    table(tmp_path / "mmbench_dev_20230712.tsv", [row])
    with pytest.raises(PictureError, match="line 2: cannot be decoded"):
        opener(published_benchmark("mmbench"), tmp_path)("1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"answer": ""}, "line 2: answer ''"),
        ({"index": 8}, "two rows have one index"),
        ({"index": ""}, "a name or whole number expected"),
    ],
)
def test_a_table_of_another_form_is_refused(change, message, tmp_path):
    row = {"question": "?", "A": "x", "B": "y", "answer": "A", "image": cell()}
    table(tmp_path / "mmbench_dev_20230712.tsv", [row | {"index": 7} | change, row | {"index": 8}])
    with pytest.raises(LapilliError, match=message):
        published_benchmark("mmbench").read(tmp_path, "", 9)


def test_mmbench_leaves_a_run_folder_and_no_picture_elsewhere(tmp_path, capsys):
    data = tmp_path / "data"
    data.mkdir()
    mmbench(data)
    assert asked_of_a_model("mmbench", data, tmp_path / "run", "--choose", "--json") == 0
    scores = {row["name"]: row["value"] for row in json.loads(capsys.readouterr().out)["scores"]}
    assert scores["unparsed"] == 0 and scores["rows"] == N
    assert [file.name for file in data.iterdir()] == ["mmbench_dev_20230712.tsv"]
    assert {file.name for file in tmp_path.iterdir()} == {"data", "run"}
    assert {row["image"] for row in RunDir.open(tmp_path / "run").load("pictures")} == {"7"}
    labels = data / "mmbench_dev_20230712.tsv"
    alone = score(capsys, "mmbench", "--answers", tmp_path / "run/mmbench.jsonl", "--references", labels)
    assert (alone["accuracy"], alone["rows"]) == (scores["accuracy"], N)


def test_shards_of_a_table_make_the_whole(tmp_path, capsys):
    data = tmp_path / "data"
    data.mkdir()
    mmbench(data)
    assert asked_of_a_model("mmbench", data, tmp_path / "alone", "--choose") == 0
    for part in (1, 2):
        assert asked_of_a_model("mmbench", data, tmp_path / f"part{part}", "--shard", f"{part}/2", "--choose") == 0
    shards = [word for part in (1, 2) for word in ("--answers", str(tmp_path / f"part{part}"))]
    assert asked_of_a_model("mmbench", data, tmp_path / "whole", "--choose", *shards) == 0
    alone, whole = (tmp_path / f"{name}/mmbench.jsonl" for name in ("alone", "whole"))
    assert alone.read_bytes() == whole.read_bytes()
    table(data / "mmbench_dev_20230712.tsv", [{"index": 7, "question": "?", "A": "x", "answer": "A", "image": cell(5)}])
    assert asked_of_a_model("mmbench", data, tmp_path / "other", "--choose", *shards) == 1
    assert "a shard of another evaluation (inputs)" in capsys.readouterr().err  # of other pictures


def test_coco_qa_is_asked_in_the_study_s_words_and_scored_by_four_rules(tmp_path):
    cocoqa(tmp_path)
    result, samples, _ = evaluated("cocoqa", tmp_path, "it is a red two on the large bed")
    assert [sample.turns[-1].text.removeprefix("<image>\n") for sample in samples] == [
        f"{question}?\nAnswer the question using a single word or phrase."
        for question in ("what color is it", "how many are there", "where is it")
    ]
    rules = ("containment", "exact", "normalised", "length controlled")
    # "bed" is not among the first five words.
    assert [value(result.scores, rule) for rule in rules] == [1, 0, 0, pytest.approx(2 / 3)]
    assert value(result.scores, "by type color accuracy") == 1
    assert {question.question.image for question in result.responses} == {
        "COCO_val2014_000000000005.jpg", "COCO_val2014_000000524286.jpg",
    }  # fmt: skip
    assert published_benchmark("cocoqa").answer_tokens == 10


def test_coco_qa_s_answers_are_scored_alone_as_they_were(tmp_path, capsys):
    cocoqa(tmp_path)
    assert asked_of_a_model("cocoqa", tmp_path, tmp_path / "run", "--json") == 0
    scores = {row["name"]: row["value"] for row in json.loads(capsys.readouterr().out)["scores"]}
    alone = score(capsys, "cocoqa", "--answers", tmp_path / "run/cocoqa.jsonl")
    assert alone["containment"] == scores["containment"] and alone["by_type"].keys() == {"color", "number", "location"}
    assert alone["containment_interval"] == next(
        [row["low"], row["high"]] for row in scores_of(tmp_path) if row["name"] == "containment"
    )


def scores_of(folder):
    return RunDir.open(folder / "run").load("scores")


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("answers", "red\ntwo\n", "answers.txt 2"),
        ("types", "2\n4\n3\n", "questions.txt:2: picture '5' and type '4'"),
        ("img_ids", "5\n../../a\n7\n", "questions.txt:2: picture '../../a'"),
        ("questions", "", "lines are questions.txt 1"),
    ],
)
def test_coco_qa_s_files_must_belong_together(file, content, message, tmp_path):
    cocoqa(tmp_path)
    (tmp_path / f"test/{file}.txt").write_text(content)
    with pytest.raises(LapilliError, match=message):
        published_benchmark("cocoqa").read(tmp_path, "", 9)


def test_captions_are_scored_over_all_answers(tmp_path, capsys):
    pytest.importorskip("pycocoevalcap", reason="no pycocoevalcap")
    captions(tmp_path)
    texts = {"0": "a red ring lies on a table", "1": "two dogs run over the grass", "2": "A man rides a horse."}
    result, samples, _ = evaluated("captions", tmp_path, lambda sample: texts[sample.id])
    assert {sample.turns[-1].text for sample in samples} == {
        "<image>\nProvide a one-sentence caption for the provided image."
    }
    assert value(result.scores, "bleu 4") == pytest.approx(1) and value(result.scores, "rouge l") == pytest.approx(1)
    (row,) = [row for row in published_benchmark("captions").table(result.scores, ()).rows if row[0] == "cider"]
    assert row[2].startswith("10.000 [")  # as the library has it, in no per cent
    name, content = published_benchmark("captions").answer_file(result.responses)
    (tmp_path / name).write_text(content)
    labels = tmp_path / "annotations/captions_val2014.json"
    alone = score(capsys, "captions", "--answers", tmp_path / name, "--references", labels)
    assert alone["cider"] == value(result.scores, "cider")
    assert asked_of_a_model("captions", tmp_path, tmp_path / "run") == 0
    assert "right" not in RunDir.open(tmp_path / "run").load("answers")[0]


def test_captions_without_their_scorer_are_refused_before_a_model_is_loaded(tmp_path, capsys, monkeypatch):
    captions(tmp_path)
    monkeypatch.setattr("lapilli.evaluation.published.protocol.find_spec", lambda _: None)
    assert asked_of_a_model("captions", tmp_path, tmp_path / "out") == 1
    assert "pip install 'lapilli[score]'" in capsys.readouterr().err and not (tmp_path / "out").exists()


@pytest.fixture
def short_answers(monkeypatch):
    """The tiny models' context has no room for 1,024 tokens."""
    for module in (llava_bench, mm_vet_module):
        monkeypatch.setattr(module, "BENCHMARK", replace(module.BENCHMARK, answer_tokens=8))


@pytest.mark.parametrize(
    ("lay_out", "name"), [(llava_bench_coco, "llava-bench-coco"), (llava_bench_wild, "llava-bench-wild")]
)
def test_llava_bench_is_asked_and_says_how_a_judge_goes_on(lay_out, name, tmp_path):
    lay_out(tmp_path)
    result, samples, _ = evaluated(name, tmp_path, lambda sample: "a b c " * int(sample.id))
    assert [(row.name, row.value) for row in result.scores] == [("words", 3), ("empty", pytest.approx(1 / 3))]
    shown = published_benchmark(name).table(result.scores, ())
    assert "no score before the answers have been graded" in shown.note
    assert shown.rows[0][2].startswith("3.000 [")
    file, content = published_benchmark(name).answer_file(result.responses)
    assert file == f"{name}.jsonl"
    assert [json.loads(line) for line in content.splitlines()] == [
        {"question_id": str(at), "prompt": "What?", "text": ("a b c " * at).strip()} for at in range(N)
    ]
    assert [sample.turns[-1].text for sample in samples] == ["<image>\nWhat?"] * N


@pytest.mark.parametrize("count", [1, 9])
def test_two_questions_of_one_name_are_refused_where_grades_are_joined_by_it(count, tmp_path):
    llava_bench_wild(tmp_path)
    file = tmp_path / "questions.jsonl"
    first, second, *rest = file.read_text().splitlines()
    again = json.dumps(json.loads(second) | {"question_id": json.loads(first)["question_id"]})
    file.write_text("\n".join([first, again, *rest]) + "\n")
    with pytest.raises(LapilliError, match=r"questions.jsonl:2: question_id '0': another row has it"):
        published_benchmark("llava-bench-wild").read(tmp_path, "", count)


QUESTIONS = Path(__file__).parents[4] / "shared/data/coco80/qa90_questions.jsonl"


@pytest.mark.skipif(not QUESTIONS.is_file(), reason=f"{QUESTIONS}: no questions there")
def test_llava_s_own_questions_are_asked_under_the_names_of_val2014(tmp_path):
    shutil.copy(QUESTIONS, tmp_path)
    rows = [json.loads(line) for line in QUESTIONS.read_text().splitlines()]
    pictures(tmp_path / "val2014", {f"COCO_val2014_{row['image']}" for row in rows})
    questions = published_benchmark("llava-bench-coco").read(tmp_path, "", 90)
    assert [(one.id, one.question) for one in questions] == [(str(row["question_id"]), row["text"]) for row in rows]
    assert len(questions) == 90 and len({one.image for one in questions}) == 30


def test_what_llava_bench_writes_is_what_the_judge_reads(tmp_path, capsys, short_answers):
    llava_bench_wild(tmp_path)
    assert asked_of_a_model("llava-bench-wild", tmp_path, tmp_path / "run", "--questions", "1") == 0
    first, second = capsys.readouterr().out.splitlines()[-3:-1]
    references = lines(tmp_path / "answers_gpt4.jsonl", [{"question_id": at, "text": "A dog."} for at in range(N)])
    contexts = lines(tmp_path / "context.jsonl", [{"image": f"00{at}.jpg", "caption": "A dog."} for at in range(N)])
    command = first.replace("URL", "http://127.0.0.1:1/v1").replace("--out judged", f"--out {tmp_path / 'judged'}")
    program, *words = shlex.split(command)
    assert program == "lapilli" and {str(references), str(contexts)} < set(words)
    assert run([*words, "--dry-run", "--json", "--allow-unmatched"]) == 0
    assert json.loads(capsys.readouterr().out)["calls"] == 1
    assert second.strip() == "lapilli score llava-bench --reviews judged/reviews.jsonl"


def test_answers_that_are_graded_need_a_folder(tmp_path, capsys):
    mm_vet(tmp_path)
    assert run(["eval", str(joined("clip", "llama")), "mm-vet", "--data", str(tmp_path)]) == 2
    assert "mm-vet: its answers are graded before there is a score" in capsys.readouterr().err


def test_mm_vet_writes_what_its_grader_reads(tmp_path, capsys, short_answers):
    mm_vet(tmp_path)
    assert asked_of_a_model("mm-vet", tmp_path, tmp_path / "run") == 0
    assert "mm-vet_evaluator" in capsys.readouterr().out
    answers = json.loads((tmp_path / "run/mm-vet.json").read_text())
    assert list(answers) == ["v1_0", "v1_1", "v1_2"] and all(isinstance(text, str) for text in answers.values())
    assert {row["name"] for row in scores_of(tmp_path)} == {"words", "empty"}
    grades = whole(tmp_path / "grades.json", {name: {"score": [0.5]} for name in answers})
    assert score(capsys, "mm-vet", "--answers", grades, "--references", tmp_path / "mm-vet.json")["total"] == 0.5


def test_pictures_are_looked_for_in_their_folder_alone(tmp_path, capsys):
    mm_vet(tmp_path)
    rows = json.loads((tmp_path / "mm-vet.json").read_text())
    rows["v1_1"]["imagename"] = "../outside.png"
    whole(tmp_path / "mm-vet.json", rows)
    pictures(tmp_path, ["outside.png"])
    assert asked_of_a_model("mm-vet", tmp_path, tmp_path / "out") == 1
    assert "v1_1: ../outside.png: leads out of" in capsys.readouterr().err and not (tmp_path / "out").exists()


def repope(folder, labels):
    """RePOPE's files, with the labels that it gives the questions of these splits; it leaves out the others."""
    coco_pope(folder)
    for at, split in enumerate(("adversarial", "popular", "random")):
        row = {"question_id": at, "image": f"{at}.png", "text": "Is there a dog?"}
        other = row | {"image": "else.png", "label": "no"}
        lines(
            folder / f"coco/coco_repope_{split}.json", [row | {"label": labels[split]}] if split in labels else [other]
        )


def test_one_asking_is_scored_by_both_labels_and_ambiguous_questions_are_counted(tmp_path, capsys):
    repope(tmp_path, {"adversarial": "yes", "popular": "no"})
    result, samples, _ = evaluated("coco-pope", tmp_path, "Yes")
    assert len(samples) == N
    accuracies = {row.name: (row.value, row.n) for row in result.scores if row.name.endswith(" accuracy")}
    assert {name: pair for name, pair in accuracies.items() if "strict" not in name} == {
        "splits adversarial accuracy": (1, 1), "splits popular accuracy": (1, 1), "splits random accuracy": (1, 1),
        "RePOPE splits adversarial accuracy": (1, 1), "RePOPE splits popular accuracy": (0, 1),
    }  # fmt: skip
    assert value(result.scores, "RePOPE left out") == 1
    assert "RePOPE left out: 1" in published_benchmark("coco-pope").table(result.scores, ()).note
    assert set(published_benchmark("coco-pope").inputs(tmp_path)) >= {"coco/coco_repope_random.json"}
    (tmp_path / "coco/coco_repope_random.json").unlink()
    assert asked_of_a_model("coco-pope", tmp_path, tmp_path / "out") == 1
    assert "coco_repope_random.json: no such file; RePOPE has" in capsys.readouterr().err


def test_a_figure_of_nothing_is_a_dash_and_one_of_several_splits_has_no_n(tmp_path):
    coco_pope(tmp_path)
    result, _, _ = evaluated("coco-pope", tmp_path, "No")
    rows = {row[0]: row[1:] for row in published_benchmark("coco-pope").table(result.scores, ()).rows}
    assert rows["splits random precision"] == ["1", "–"] and rows["f1"][0] == ""


def test_without_repope_s_files_nothing_is_said_of_it(tmp_path):
    coco_pope(tmp_path)
    result, _, _ = evaluated("coco-pope", tmp_path, "Yes")
    assert not [row for row in result.scores if "RePOPE" in row.name]


def test_both_labels_give_what_scoring_the_answers_alone_gives(tmp_path, capsys):
    repope(tmp_path, {"adversarial": "yes", "popular": "no"})
    result, _, _ = evaluated("coco-pope", tmp_path, "Yes")
    name, content = published_benchmark("coco-pope").answer_file(result.responses)
    (tmp_path / name).write_text(content)
    files = [tmp_path / f"coco/coco_repope_{split}.json" for split in ("adversarial", "popular", "random")]
    command = ["pope", "--answers", tmp_path / name, "--questions", tmp_path / "llava_pope_test.jsonl"]
    command += ["--references", *files]
    assert "--allow-unmatched" in refusal(capsys, *command)
    alone = score(capsys, *command, "--allow-unmatched")
    assert alone["f1"] == value(result.scores, "RePOPE f1") and alone["splits"].keys() == {"adversarial", "popular"}
