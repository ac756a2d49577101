"""A written folder read back: every file against the others, and the same bytes however it was made."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.data.scenes.oracle import answer, facts, read_description

from lapilli.core.errors import LapilliError
from lapilli.data.sample import read_samples
from lapilli.data.scenes.dataset import write_scenes
from lapilli.data.scenes.dialogue import dialogue
from lapilli.data.scenes.draw import draw_scene
from lapilli.data.scenes.facts import read_scenes
from lapilli.data.scenes.questions import TYPES
from lapilli.data.scenes.scene import sample_scene
from lapilli.data.scenes.textual import DETAIL_REQUESTS
from lapilli.data.scenes.vocabulary import is_withheld
from lapilli.data.validate import validate

SERIAL, PARALLEL = 199, 200  # from 200 on, several processes share the work


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("scenes") / "train"
    write_scenes(out, SERIAL, seed=5)
    return out


def lines(file):
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def bytes_of(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_a_scene_has_the_same_bytes_alone_among_others_and_in_another_process(folder, tmp_path):
    """One scene more, several processes, and another order of Python's sets."""
    code = "from pathlib import Path; from lapilli.data.scenes.dataset import write_scenes; import sys\n"
    code += f"write_scenes(Path(sys.argv[1]), {PARALLEL}, seed=5)"
    environment = {"PYTHONHASHSEED": "77", "PYTHONPATH": ":".join(sys.path)}
    subprocess.run([sys.executable, "-c", code, tmp_path / "more"], check=True, env=environment)
    few, more = bytes_of(folder), bytes_of(tmp_path / "more")
    assert more.keys() - few.keys() == {f"images/{SERIAL:06d}.png", f"masks/{SERIAL:06d}.png"}
    for name, content in few.items():
        if name.endswith(".json"):
            assert more[name].startswith(content.removesuffix(b"\n]\n") + b",\n")
        elif name.endswith(".jsonl"):
            assert more[name].startswith(content)
        else:
            assert more[name] == content


def test_seeds_and_splits_share_no_scene(tmp_path):
    names = [("train", 0), ("train", 1), ("held_out", 0), ("compositional", 0)]
    for split, seed in names:
        write_scenes(tmp_path / f"{split}{seed}", 12, split, seed)
    pictures = [(tmp_path / f"{s}{n}/images/{i:06d}.png").read_bytes() for s, n in names for i in range(12)]
    assert len(set(pictures)) == len(pictures)
    withheld = {
        split: [is_withheld(t["color"], t["shape"], t["cell"]) for t in things_of(tmp_path / f"{split}0")]
        for split in ("train", "held_out", "compositional")
    }
    assert not any(withheld["train"] + withheld["held_out"])
    assert all(withheld["compositional"])


def things_of(folder):
    things = [thing for scene in lines(folder / "scenes.jsonl") for thing in scene["things"]]
    return [thing | {"cell": 3 * int(thing["y"] // 32) + int(thing["x"] // 32)} for thing in things]


@pytest.mark.parametrize("name", ["align", "instruct"])
def test_the_samples_are_sound(folder, name):
    findings = validate(folder / f"{name}.json", folder / "images")
    assert (findings.rows, findings.images, findings.problems) == (SERIAL, SERIAL, ())


def test_pictures_and_masks_are_those_of_the_scenes(folder):
    for row in lines(folder / "scenes.jsonl")[:30]:
        picture, masks = draw_scene(sample_scene(f"train-5-{int(row['id'])}"))
        assert np.array_equal(np.asarray(Image.open(folder / "images" / row["image"])), np.asarray(picture))
        labels = np.asarray(Image.open(folder / "masks" / row["image"]))
        assert len(row["things"]) == len(masks)
        assert set(np.unique(labels)) <= set(range(len(masks) + 1))
        for index, mask in enumerate(masks, start=1):
            assert np.array_equal(labels == index, mask)


def test_a_sample_to_align_describes_its_picture(folder):
    scenes = {row["image"]: row for row in lines(folder / "scenes.jsonl")}
    for sample in read_samples(folder / "align.json"):
        request, description = sample.turns
        assert request.text.startswith("<image>\n")
        told = {(f.color, f.shape, f.character, f.place) for f in read_description(description.text)}
        things = scenes[sample.images[0]]["things"]
        assert told == {(t["color"], t["shape"], t["character"], t["place"]) for t in things}


def test_a_conversation_asks_up_to_ten_questions_and_answers_them_right(folder):
    scenes = {row["image"]: facts(row["things"]) for row in lines(folder / "scenes.jsonl")}
    known = described = 0
    for sample in read_samples(folder / "instruct.json"):
        texts = [turn.text.removeprefix("<image>\n") for turn in sample.turns]
        scene = scenes[sample.images[0]]
        asked = list(zip(texts[::2], texts[1::2], strict=True))
        assert len(set(texts[::2])) == len(asked) <= 11  # ten, and a description
        for question, given in asked:
            if question in DETAIL_REQUESTS or re.fullmatch(r"Tell me about .+\.", question):
                described += 1
                continue
            assert {answer_or_none(scene, kind, question) for kind in TYPES} == {given, None}
            known += 1
    assert known > 6 * SERIAL
    assert described < 1.3 * SERIAL


def test_a_dialogue_is_that_of_its_scene(folder):
    findings = validate(folder / "dialogue.json", folder / "images")
    assert findings.problems == () and 0.6 * SERIAL < findings.rows < SERIAL
    samples = {sample.images[0]: sample.turns for sample in read_samples(folder / "dialogue.json")}
    for image, scene in read_scenes(folder).items():
        questions = dialogue(scene, scene.seed)
        texts = [turn.text for turn in samples.get(image, ())]
        assert texts == [
            text for at, one in enumerate(questions) for text in ("<image>\n" * (not at) + one.text, one.answer)
        ]


def answer_or_none(scene, kind, question):
    try:
        return answer(scene, kind, question)
    except AssertionError:
        return None


def test_the_questions_for_scoring_have_right_answers_from_the_scenes(folder):
    scenes = {row["image"]: facts(row["things"]) for row in lines(folder / "scenes.jsonl")}
    rows = lines(folder / "questions.jsonl")
    for row in rows:
        assert answer(scenes[row["image"]], row["type"], row["question"]) == row["answer"]
    assert len({row["id"] for row in rows}) == len(rows)
    by_type = [sum(row["type"] == kind for row in rows) for kind in TYPES]
    assert max(by_type) == SERIAL
    assert min(by_type) > 0.2 * SERIAL


def test_the_context_is_captions_and_boxes_around_the_masks(folder):
    scenes = {row["id"]: row for row in lines(folder / "scenes.jsonl")}
    for row in lines(folder / "context.jsonl"):
        things = scenes[row["id"]]["things"]
        assert row.keys() == {"id", "image", "captions", "instances"}
        assert len(row["captions"]) == 5
        assert [one["category"] for one in row["instances"]] == [f"{t['color']} {t['shape']}" for t in things]
        labels = np.asarray(Image.open(folder / "masks" / row["image"]))
        for index, instance in enumerate(row["instances"], start=1):
            ys, xs = np.nonzero(labels == index)
            extent = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) / 96
            assert np.allclose(instance["bbox"], extent, atol=5e-4)
            assert instance["bbox"] == things[index - 1]["bbox"]


def test_progress_is_told_and_an_existing_folder_is_left_alone(tmp_path):
    told = []
    write_scenes(tmp_path / "scenes", 100, on_progress=told.append)
    assert told == [100]
    before = bytes_of(tmp_path)
    with pytest.raises(LapilliError, match="scenes"):
        write_scenes(tmp_path / "scenes", 1)
    assert bytes_of(tmp_path) == before
    assert [path.name for path in Path(tmp_path).iterdir()] == ["scenes"]
