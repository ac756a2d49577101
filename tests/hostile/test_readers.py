"""Every reader of files, given anything at all: what it should hold, or one line; in no time.

Arbitrary bytes, a valid file with some bytes changed, and a valid one of JSON with any value in any field's place. The
seed is fixed, so that a failure is the same everywhere.
"""

import base64
import json
import struct
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.parts import picture

from lapilli.core.errors import LapilliError
from lapilli.core.llm.call import read_reply
from lapilli.core.llm.journal import Entry, Journal
from lapilli.core.recipe import read_recipe
from lapilli.core.run import RunDir
from lapilli.data.caption_file import filter_captions
from lapilli.data.contamination import overlap
from lapilli.data.context_sources import Choice, gather_contexts
from lapilli.data.generation.rating import rate_file
from lapilli.data.mix import read_mixture
from lapilli.data.own import import_rows
from lapilli.data.phrases import Balance
from lapilli.data.pictures import open_picture
from lapilli.data.questions import read_picture_questions
from lapilli.data.sample import read_sample
from lapilli.data.scenes.facts import asked_about, read_scenes
from lapilli.data.validate import validate
from lapilli.evaluation.answer_file import read_answers
from lapilli.evaluation.answer_log import AnswerLog
from lapilli.evaluation.judging.pairs import Files, read_contexts, read_pairs
from lapilli.evaluation.published.protocol import ASKED as ASKED_OF
from lapilli.evaluation.published.protocol import published
from lapilli.evaluation.question_file import read_question_file
from lapilli.model.card import read_card
from lapilli.model.gguf_header import read_header
from lapilli.model.stored import model_config, stored_tensors
from lapilli.report.explanation import bundle
from lapilli.report.training.page import render
from lapilli.report.training.read import read_runs
from lapilli.studies.paired_runs import compare_runs
from lapilli.studies.quickstart.times import times
from lapilli.studies.scorecard.job import kept_of
from lapilli.training.recipe import TrainRecipe

SETTINGS = settings(
    derandomize=True, max_examples=25, deadline=5_000, database=None, suppress_health_check=list(HealthCheck)
)


def scenes(folder):
    found = read_scenes(folder)
    return [asked_about(scene, "What color is the circle?") for scene in found.values()]


def begun(folder):
    return RunDir.begin(folder, {"seed": 0}, 0)


def recipe(folder):
    return read_recipe(folder / "recipe.yaml", [], TrainRecipe)


def trained(folder):
    """The page of a run that has one file of somebody else's."""
    for name, content in (("recipe.yaml", b"stage: align"), ("samples.jsonl", lines("samples.jsonl", REPLY))):
        if not (folder / name).exists():
            (folder / name).write_bytes(content)
    return render(read_runs([folder]))


THING = {"color": "red", "shape": "circle", "size": "small", "texture": "plain", "character": ""}
THING |= {"x": 10.0, "y": 20.0, "radius": 8.0, "angle": 0.0}
QUESTION = {"id": "1", "image": "a.png", "question": "What?", "answer": "red", "type": "t", "boxes": [[0, 0, 0.5, 1]]}
TURNS = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "red"}]
ROW = {"id": "1", "image": "a.png", "conversations": TURNS}
COUNTS = {"kept": 1, "overall_color": 0, "most_pictures": 0, "no_picture": 0}
KEPT = {"counts": COUNTS, "kept": [{"question": QUESTION, "given": "red", "other": "b.png"}]}
CARD = {"format": 1, "template": "plain", "connector": "linear", "notes": ["a"]}
CARD |= {"parts": {"vision": {"name": "a", "sha256": "b"}}, "original": {"a": 1}}
MANIFEST = {"finished": "now", "files": {"recipe.yaml": {"bytes": 1, "sha256": "a"}}}
STEP = {"name": "a", "seconds": 1.0, "finished": "now", "peak_memory_bytes": 1, "stage": "align"}
OWN = {"id": 1, "image": "a.png", "question": "What?", "answers": ["red", 2, True], "type": "t"}
LOGGED = {"benchmark": "b", "split": "", "condition": "image", "index": 0, "id": "1", "answer": "red"}
REPLY = {"step": 1, "id": "1", "images": ["a.png"], "question": "What?", "expected": "red", "reply": "a"}
METRICS = {"step": 3, "loss": 0.5, "learning_rate": 0.1, "a_accuracy": 0.5, "own": 2}
METRICS |= {"a_accuracy_low": 0.1, "a_accuracy_high": 0.7, "a_n": 9}
START = {"parts": [{"part": "llm", "mode": "lora", "parameters": 9, "learned_parameters": 1}], "device": "cpu"}
START |= {"steps": 9, "steps_per_epoch": 3, "samples": 1, "tokens": 2, "learned_tokens": 1, "validation_samples": 0}
RECIPE = {"stage": "align", "out": "o", "lora": {"rank": 2}, "llm": {"layers": [1]}, "validation": {"keep": "best"}}
STARTED = {"started": "now", "python": "3", "platform": "p", "versions": {"torch": "2"}}
CONFIG = {"model_type": "llava", "text_config": {"num_hidden_layers": 2}, "return_dict": True}

CONTEXT = {
    "id": "1",
    "image": "a.png",
    "captions": ["A dog."],
    "instances": [{"category": "dog", "bbox": [0, 0, 1, 1]}],
}
COCO = {"images": [{"id": 9, "file_name": "9.jpg", "width": 20, "height": 10}]}
COCO |= {
    "annotations": [{"image_id": 9, "caption": "A dog."}, {"image_id": 9, "category_id": 1, "bbox": [0, 0, 5, 5.5]}]
}
COCO |= {"categories": [{"id": 1, "name": "dog"}]}
GENOME = [{"image_id": 4, "width": 9, "height": 9, "objects": [{"names": ["a"], "x": 0, "y": 0, "w": 1, "h": 1}]}]
GENOME[0] |= {"regions": [{"phrase": "a", "x": 0, "y": 0, "width": 1, "height": 1}]}
REPLIED = {"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}], "model": "m"}
REPLIED |= {"usage": {"prompt_tokens": 3, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}}
ANSWERED = {"custom_id": "k", "response": {"status_code": 200, "body": REPLIED}}
MIXTURE = {"seed": 1, "sources": [{"name": "a", "file": "a.json", "format": ["a"], "weight": 2, "turns": 3}]}


def adopted(file):
    """A journal that takes over a file, and is read again."""
    journal = Journal(file.with_name("other"))
    journal.adopt(file, lambda key: True)
    journal.close()
    return list(Journal(file.with_name("other")).entries())


def imported(folder):
    picture(1, 12, 9).save(folder / "a.png")
    return import_rows(folder / "table.jsonl", folder, folder / "out", 0.1, 0)


def filtered(folder):
    return filter_captions(folder / "captions.jsonl", folder / "out", Balance(), None, lambda *_: None)


JUDGED = {"image": "a.png", "captions": ["A dog."], "instances": [{"category": "dog", "bbox": [0, 0, 1, 1.5]}]}
ASKED = {"question_id": 1, "image": "a.png", "category": "conv", "text": "What?"}


def paired(folder):
    """The one question, beside two answers to it."""
    (folder / "replies.jsonl").write_text('{"question_id": 1, "text": "a"}')
    return read_pairs(Files(folder / "pairs.jsonl", *[folder / "replies.jsonl"] * 2))


TEN = ["red"] * 10
LABELS = {
    "pope": {"question_id": 1, "image": "a.jpg", "text": "Is it?", "label": "yes"},
    "gqa": {"1": {"answer": "red", "imageId": "2", "types": {"structural": "query"}}},
    "vqa": {"annotations": [{"question_id": 1, "image_id": 2, "answer_type": "other", "answers": [{"answer": "red"}]}]},
    "textvqa": {"data": [{"image_id": "1", "question": "What?", "answers": TEN}]},
    "scienceqa": {"1": {"answer": 1, "choices": ["a", "b"], "image": "a.png", "split": "test", "subject": "s"}},
    "seed": {
        "questions": [{"question_id": "1", "answer": "A", "data_type": "image", "question_type_id": 1, "data_id": "1"}],
        "question_type": {"Scene": 1},
    },
    "mm-vet": {"v1_0": {"imagename": "a.png", "answer": "a", "capability": ["ocr"]}},
    "captions": {"annotations": [{"image_id": 1, "caption": "a dog"}]},
}
"""Labels of published benchmarks; those of the others are tables."""
HELD = {
    "mm-vet": {"v1_0": {"content": ["good"], "score": [0.5, 1]}},
    "llava-bench": {"question_id": 1, "category": "conv", "tuple": [8, 9.5], "content": "8 9.5"},
    "cocoqa": {"sample_id": 1, "predicted_answer": "a dog", "ground_truth": "dog"},
    "captions": {"image_id": 1, "caption": "a dog"},
}
"""Answers of published benchmarks that are not LLaVA's own lines."""


def labels_of(name):
    return lambda folder: published(name).references([folder / f"labels/{name}.json"])


def judged_by(name):
    """Those that hold their own labels are scored too."""

    def read(folder):
        rows = published(name).answers(folder / f"answers/{name}.jsonl")
        if published(name).references is None:
            published(name).figures(published(name).judge([(row, None) for row in rows]))

    return read


QUESTIONS = {
    "vqav2": {"questions": [{"question_id": 1, "image_id": 2, "question": "What?"}]},
    "vizwiz": [{"image": "a.jpg", "question": "What?"}],
    "scienceqa": [{"id": "1", "image": "a.png", "conversations": TURNS}],
    "llava-bench-coco": {"question_id": 1, "image": "a.jpg", "text": "What?", "category": "conv"},
    "mm-vet": {"v1_0": {"imagename": "a.png", "question": "What?", "answer": "a", "capability": ["ocr"]}},
}
if find_spec("pycocoevalcap"):  # without the package no captions are asked for
    QUESTIONS["captions"] = {"images": [{"id": 1, "file_name": "a.jpg"}]}
"""Questions of published benchmarks that are not LLaVA's own lines."""


def asked(name):
    of = published(ASKED_OF[name]).layouts[name]
    return lambda folder: list(of.rows(folder / f"asked/{name}.json"))


def coco_qa(folder):
    """The questions, beside one answer, picture and type."""
    for name, text in {"answers": "red", "img_ids": "1", "types": "2"}.items():
        (folder / f"asked/{name}.txt").write_text(f"{text}\n")
    return list(published("cocoqa").layouts["cocoqa"].rows(folder / "asked/questions.txt"))


def mmbench(folder):
    """The rows of a table, and the pictures in it."""
    file, layout = folder / "asked/a.tsv", published("mmbench").layouts["mmbench"]
    return [layout.picture(file, row["image"]) for _, row in layout.rows(file)]


EVALUATED = {"benchmark": "b", "condition": "image", "question": QUESTION | {"split": "s"}, "prompt": "?"}
EVALUATED |= {"given": "red", "normalised": "red", "right": True, "expected": ["red"]}


def evaluations(folder):
    """An evaluation compared with itself."""
    (folder / "recipe.yaml").write_text("benches: [b]")
    pictures = folder / "results/pictures.json"
    if not pictures.exists():
        pictures.write_text("[]")
    RunDir(folder).finish()
    return compare_runs(folder, folder)


JSON_READERS = {
    "contexts.jsonl": (CONTEXT, lambda folder: gather_contexts([folder / "contexts.jsonl"], Choice())),
    "coco.json": (COCO, lambda folder: gather_contexts([folder / "coco.json"], Choice())),
    "genome.json": (GENOME, lambda folder: gather_contexts([folder / "genome.json"], Choice())),
    "reply.json": (REPLIED, lambda folder: read_reply((folder / "reply.json").read_text(errors="surrogateescape"))),
    "batch.jsonl": (ANSWERED, lambda folder: adopted(folder / "batch.jsonl")),
    "mixture.yaml": (MIXTURE, lambda folder: read_mixture(folder / "mixture.yaml", [])),
    "table.jsonl": ({"image": "a.png", "question": "What?", "answer": "red"}, imported),
    "captions.jsonl": ({"caption": "A dog.", "phrases": ["dog"]}, filtered),
    "asked.jsonl": ({"image": "a.png", "question": "What?"}, lambda folder: overlap([], folder / "asked.jsonl")),
    "rated.json": ([ROW], lambda folder: rate_file(folder / "rated.json", {})),
    **{f"labels/{name}.json": (value, labels_of(name)) for name, value in LABELS.items()},
    **{f"answers/{name}.jsonl": (value, judged_by(name)) for name, value in HELD.items()},
    **{f"asked/{name}.json": (value, asked(name)) for name, value in QUESTIONS.items()},
    "answers.jsonl": ({"question_id": 1, "prompt": "?", "text": "a"}, lambda f: read_answers(f / "answers.jsonl")),
    "judged.jsonl": (JUDGED, lambda folder: read_contexts(folder / "judged.jsonl")),
    "pairs.jsonl": (ASKED, paired),
    "scenes.jsonl": ({"id": "0", "image": "a.png", "background": "light", "things": [THING]}, scenes),
    "questions.jsonl": (QUESTION, read_picture_questions),
    "rows.json": ([ROW], lambda folder: (read_sample(folder / "rows.json", 0), validate(folder / "rows.json", folder))),
    "own.jsonl": (OWN, lambda folder: read_question_file(folder / "own.jsonl")),
    "log/metrics.jsonl": (LOGGED, lambda folder: AnswerLog(RunDir(folder / "log"), lambda *_: None)),
    "lapilli.json": (CARD, read_card),
    "config.json": (CONFIG, model_config),
    "manifest.json": (MANIFEST, lambda folder: RunDir(folder).verify()),
    "metrics.jsonl": ({"step": 1, "loss": 0.5}, lambda folder: RunDir(folder).metrics()),
    "run/metrics.jsonl": (METRICS, lambda folder: trained(folder / "run")),
    "samples.jsonl": (REPLY, trained),
    "results/start.json": (START, trained),
    "results/training.json": ({"steps": 3, "seconds": 2.5, "validation_step": 1}, trained),
    "results/sample_pictures.json": ({"a.png": "data:image/png;base64,AAAA"}, trained),
    "environment.json": (STARTED, trained),
    "run/recipe.yaml": (RECIPE, lambda folder: trained(folder / "run")),
    "results/kept.json": (KEPT, lambda folder: kept_of(RunDir(folder).load("kept"))),
    "results/answers.json": ([EVALUATED], evaluations),
    "steps.json": ([STEP], lambda folder: times(folder / "steps.json")),
    "recipe.yaml": ({"stage": "align", "model": "m", "data": {"file": "f"}, "out": "o", "epochs": 1}, recipe),
    "explanation.json": ({"schema": "lapilli.explanation/2", "answer": {"text": ""}}, lambda f: described(f)),
}
"""A valid content of every file of JSON (of YAML, which JSON is too), and what reads it in a folder."""


def described(folder):
    return bundle.check(bundle._description(folder / "explanation.json"), {}, str(folder))


@cache
def npz():
    made = BytesIO()
    np.savez_compressed(made, maps=np.arange(6.0).reshape(2, 3))
    return made.getvalue()


@cache
def weights():
    header = json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(8)


@cache
def png():
    made = BytesIO()
    picture(1, 12, 9).save(made, "PNG")
    return made.getvalue()


@cache
def gguf():
    """A header with a setting of every kind, and one tensor of four numbers."""
    text = lambda value: struct.pack("<Q", len(value)) + value  # noqa: E731
    settings = text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")
    settings += text(b"a") + struct.pack("<II", 4, 7) + text(b"b") + struct.pack("<IIQ2f", 9, 6, 2, 0.5, 1.5)
    settings += text(b"c") + struct.pack("<IIQ", 9, 8, 1) + text(b"piece")
    tensor = text(b"d") + struct.pack("<I2QIQ", 2, 2, 2, 0, 0)
    header = b"GGUF" + struct.pack("<IQQ", 3, 1, 4) + settings + tensor
    return header + bytes(-len(header) % 32 + 16)


@cache
def journal():
    with TemporaryDirectory() as folder:
        made = Journal(Path(folder) / "journal")
        made.append(Entry(key="k", about={"a": "b"}, at="now", seconds=0.5, tries=1, body=json.dumps(REPLIED)))
        made.close()
        return made.path.read_bytes()


OTHER_READERS = {
    "journal.jsonl": (journal, lambda folder: list(Journal(folder / "journal.jsonl").entries())),
    "captions.csv": (
        lambda: b"image,caption,category,x1,y1,x2,y2\na.png,A dog.,dog,0,0,1,1\n",
        lambda folder: gather_contexts([folder / "captions.csv"], Choice()),
    ),
    "results/a.npz": (npz, lambda folder: RunDir(folder).load_arrays("a")),
    "model.safetensors": (weights, lambda folder: [one.read() for one in stored_tensors(folder).values()]),
    "picture.png": (png, lambda folder: open_picture(folder, "picture.png")),
    "own.csv": (lambda: b'image;question;answer\na.png;"What?";red\n', lambda f: read_question_file(f / "own.csv")),
    "labels/OCR.txt": (lambda: b"1.jpg\tIs it?\tYes\n", lambda f: published("mme").references([f / "labels/OCR.txt"])),
    "labels/a.tsv": (
        lambda: b"index\tquestion\tA\tB\tanswer\n1\tWhat?\tx\ty\tA\n",
        lambda f: published("mmbench").references([f / "labels/a.tsv"]),
    ),
    "asked/a.tsv": (
        lambda: b"index\tquestion\tA\tB\tanswer\timage\n1\tWhat?\tx\ty\tA\t" + base64.b64encode(png()) + b"\n",
        mmbench,
    ),
    "asked/questions.txt": (lambda: b"what is it\n", coco_qa),
    "begun/recipe.yaml": (lambda: b"seed: 0\n", lambda folder: begun(folder / "begun")),
}
if find_spec("gguf"):  # without the package there is no reader
    OTHER_READERS["model.gguf"] = (gguf, lambda folder: read_header(folder / "model.gguf"))


def lines(name, value):
    """As it is written: one line in a .jsonl, and text that JSON has an escape for as that."""
    return (json.dumps(value) + "\n").encode()


VALID = {name: lines(name, value) for name, (value, _) in JSON_READERS.items()}
VALID |= {name: content() for name, (content, _) in OTHER_READERS.items()}
READ = {name: read for name, (_, read) in (JSON_READERS | OTHER_READERS).items()}

TEXTS = st.text(st.characters(codec=None), max_size=8) | st.sampled_from(
    ["\ud800", "\0", "\x1b[31m", "../x", "x" * 5_000]
)
NUMBERS = st.integers() | st.floats() | st.sampled_from([10**400, -1, 2**64])
ANYTHING = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


def places(value, path=()):
    """Where in a value of JSON something else can stand."""
    yield path
    entries = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in entries:
        yield from places(inner, (*path, key))


def put(value, path, new):
    """The value with another one at that place; `...` takes the place out."""
    if not path:
        return None if new is ... else new
    made = value.copy()
    if new is ... and len(path) == 1:
        del made[path[0]]
    else:
        made[path[0]] = put(value[path[0]], path[1:], new)
    return made


def assert_read_or_refused(name, content):
    with TemporaryDirectory() as folder:
        file = Path(folder) / name
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        try:
            READ[name](Path(folder))
        except LapilliError as error:
            assert str(error)


@pytest.mark.parametrize("name", VALID)
def test_a_valid_file_is_read(name, tmp_path):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(VALID[name])
    if name in ("explanation.json", "manifest.json"):  # which need more files
        with pytest.raises(LapilliError):
            READ[name](tmp_path)
    else:
        READ[name](tmp_path)


@pytest.mark.parametrize("name", VALID)
@given(content=st.binary(max_size=60))
@SETTINGS
def test_any_bytes(name, content):
    assert_read_or_refused(name, content)


@pytest.mark.parametrize("name", VALID)
@given(data=st.data())
@SETTINGS
def test_a_valid_file_with_bytes_changed(name, data):
    valid = VALID[name]
    start = data.draw(st.integers(0, len(valid)))
    end = data.draw(st.integers(start, min(len(valid), start + 8)))
    assert_read_or_refused(name, valid[:start] + data.draw(st.binary(max_size=8)) + valid[end:])


@pytest.mark.parametrize("name", JSON_READERS)
@given(data=st.data())
@SETTINGS
def test_any_value_in_any_place(name, data):
    value = JSON_READERS[name][0]
    path = data.draw(st.sampled_from(list(places(value))))
    assert_read_or_refused(name, lines(name, put(value, path, data.draw(ANYTHING | st.just(...)))))


@pytest.mark.parametrize("name", [name for name in VALID if name != "picture.png"])
@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"a":' * 100_000, b"9" * 5_000, b"\xff\xfe", b"{}{}", b'"\\ud800"']
)
def test_what_readers_trip_over(name, content):
    assert_read_or_refused(name, content)
