"""Copies of pictures are known by what they show, and others are not taken for them."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from lapilli.cli import run
from lapilli.core.errors import LapilliError
from lapilli.data.contamination import Folders, overlap
from lapilli.data.copies import LEAST, MOST, are_copies, copies, small_gray
from lapilli.data.sample import Sample, Turn, write_samples
from lapilli.data.scenes.dataset import write_scenes

REAL = Path(__file__).parents[3] / "shared/data/lcs/images"

CHANGES = {
    "jpeg": lambda one: encoded(one, "JPEG", quality=50),
    "webp": lambda one: encoded(one, "WEBP", quality=60),
    "half": lambda one: one.resize((one.width // 2, one.height // 2)),
    "square": lambda one: one.resize((224, 224)),
    "gray": lambda one: one.convert("L"),
}


def encoded(one, form, **options):
    file = io.BytesIO()
    one.save(file, form, **options)
    return Image.open(file).convert("RGB")


@pytest.mark.skipif(not REAL.is_dir(), reason=f"{REAL}: no pictures there")
def test_real_copies_are_near_and_other_pictures_are_not():
    files = sorted(REAL.rglob("*.jpg"))
    pictures = [Image.open(file).convert("RGB") for file in files]
    grays = np.stack([small_gray(one) for one in pictures])
    for change in CHANGES.values():
        changed = np.stack([small_gray(change(one)) for one in pictures])
        assert np.abs(changed - grays).mean(axis=1).max() < MOST
        assert all(are_copies(one, other[None]).all() for one, other in zip(grays, changed, strict=True))
    apart = [np.abs(grays[at + 1 :] - grays[at]).mean(axis=1).min() for at in range(len(grays) - 1)]
    assert len(files) == 200 and min(apart) > MOST


def test_scenes_are_not_taken_for_each_other(tmp_path):
    """Most of a scene is background; those that have the same things in the same places are another matter."""
    write_scenes(tmp_path / "s", 60)
    grays = np.stack([small_gray(Image.open(file)) for file in sorted((tmp_path / "s/images").iterdir())])
    apart = [np.abs(grays[at + 1 :] - grays[at]).mean(axis=1).min() for at in range(len(grays) - 1)]
    assert min(apart) > MOST


def page(at):
    """A page of lines of random words."""
    rng, paper = np.random.default_rng(at), Image.new("RGB", (850, 1100), "white")
    for y in range(80, 1020, 22):
        words = ("".join(map(chr, 97 + rng.integers(0, 26, rng.integers(2, 9)))) for _ in range(18))
        ImageDraw.Draw(paper).text((80, y), " ".join(words)[:110], fill="black")
    return paper


def chart(at):
    """A line that walks at random, between axes."""
    heights = 300 + np.cumsum(np.random.default_rng(at).normal(0, 25, 30))
    paper = Image.new("RGB", (800, 600), "white")
    ImageDraw.Draw(paper).line([(60, 20), (60, 560), (780, 560)], fill="black", width=2)
    ImageDraw.Draw(paper).line([(60 + 24 * x, y) for x, y in enumerate(heights.tolist())], fill="blue", width=3)
    return paper


@pytest.mark.parametrize("kind", [page, chart])
def test_pictures_that_are_nearly_white_are_known_by_where_they_are_dark(kind):
    pictures = [kind(at) for at in range(8)]
    grays = np.stack([small_gray(one) for one in pictures])
    pairs = [(at, other) for at in range(8) for other in range(at)]
    assert any(np.abs(grays[at] - grays[other]).mean() < MOST for at, other in pairs)  # their levels alone are near
    assert max(np.corrcoef(grays[at], grays[other])[0, 1] for at, other in pairs) < LEAST
    assert not any(are_copies(grays[at], grays[other][None]).any() for at, other in pairs)
    for name in ("jpeg", "half", "gray"):
        changed = np.stack([small_gray(CHANGES[name](one)) for one in pictures])
        assert [np.flatnonzero(are_copies(one, grays)).tolist() for one in changed] == [[at] for at in range(8)]


def test_pictures_of_one_gray_are_copies_of_the_same_gray_alone():
    levels = np.array([200, 201, 0])[:, None] * np.ones((1, 1024), np.int16)
    assert are_copies(levels[0].astype(np.int16), levels.astype(np.int16)).tolist() == [True, False, False]
    assert not are_copies(small_gray(page(0)), np.full((1, 1024), int(small_gray(page(0)).mean()), np.int16)).any()


def soft(at):
    """A picture with large areas, as photographs have."""
    colors = np.random.default_rng(at).integers(0, 256, (4, 6, 3), dtype=np.uint8)
    return Image.fromarray(colors).resize((90, 60), Image.Resampling.BICUBIC)


@pytest.fixture
def folders(tmp_path):
    """Two folders: two pictures of the first are in the second, under other names and in other forms."""
    for name in ("own", "others"):
        (tmp_path / name).mkdir()
    for at in range(6):
        soft(at).save(tmp_path / f"own/{at}.png")
    for at, name in ((2, "x.jpg"), (4, "y.png")):
        Image.open(tmp_path / f"own/{at}.png").resize((180, 120)).save(tmp_path / "others" / name, quality=90)
    (tmp_path / "own/spoilt.png").write_text("no picture")
    return Folders(tmp_path / "own", tmp_path / "others")


def test_copies_have_other_names_and_sizes(folders):
    own = [*(f"{at}.png" for at in range(6)), "spoilt.png", "nowhere.png"]
    alike = copies((folders.samples, own), (folders.evaluation, ["x.jpg", "y.png", "../own/0.png"]))
    assert (alike.names, alike.unread) == ({"2.png", "4.png"}, 3)
    assert copies((folders.samples, own), (folders.evaluation, [])).names == set()


def rows(names):
    return [
        Sample(name, (name,), (Turn("user", "<image>\nWhat is it?"), Turn("assistant", "A thing."))) for name in names
    ]


def test_a_mixture_is_freed_of_copies(folders, tmp_path, capsys):
    write_samples(tmp_path / "own.json", rows(f"{at}.png" for at in range(6)))
    (tmp_path / "e.jsonl").write_text("".join(json.dumps({"image": name}) + "\n" for name in ("x.jpg", "y.png")))
    (tmp_path / "m.yaml").write_text(f"sources: [{{name: own, file: {tmp_path}/own.json}}]")
    command = ["data", "mix", str(tmp_path / "m.yaml"), "--out", str(tmp_path / "mix.json")]
    command += ["--evaluation", str(tmp_path / "e.jsonl")]
    both = [*command, "--images", str(folders.samples), "--evaluation-images", str(folders.evaluation)]
    assert run(both) == 0
    text = capsys.readouterr().out
    assert "2 rows; 0 samples of its pictures" in text and "mix.json: 6 samples" in text
    assert "2 samples of pictures that look like its own under another name\n" in text
    assert run([*both, "--decontaminate"]) == 0 and "mix.json: 4 samples" in capsys.readouterr().out
    (tmp_path / "all.jsonl").write_text("".join(json.dumps({"image": f"{at}.png"}) + "\n" for at in range(6)))
    assert run([*command[:-1], str(tmp_path / "all.jsonl"), "--decontaminate"]) == 1
    assert "no samples are left (6 have pictures of the evaluation); take more" in capsys.readouterr().err
    assert run([*both[:-2]]) == 2 and "give both" in capsys.readouterr().err
    assert run([*command[:5], *both[7:]]) == 2 and "nothing to compare with" in capsys.readouterr().err
    assert run([*both[:-1], str(tmp_path / "no")]) == 2 and "no: no such folder" in capsys.readouterr().err


def test_an_evaluation_may_be_samples(tmp_path):
    samples = rows(["a.png", "b.png", "c.png"])
    write_samples(tmp_path / "e.json", samples[1:])
    shared = overlap(samples, tmp_path / "e.json")
    assert (shared.rows, shared.pictures, shared.questions, shared.copies) == (2, (1, 2), (1, 2), None)


def test_samples_of_text_in_an_evaluation_are_skipped(tmp_path):
    samples, text = rows(["a.png", "b.png"]), Sample("t", (), (Turn("user", "Hi"), Turn("assistant", "Hello")))
    write_samples(tmp_path / "e.json", [text, samples[1]])
    shared = overlap(samples, tmp_path / "e.json")
    assert (shared.rows, shared.pictures) == (1, (1,))
    write_samples(tmp_path / "text.json", [text])
    with pytest.raises(LapilliError, match="no row names a picture; give rows with an image"):
        overlap(samples, tmp_path / "text.json")
