"""Pickles in every place where a model or an adapter may have one."""

import io
import pickle
import shutil
import zipfile
from functools import cache

import pytest
import torch
from safetensors.torch import save_file
from tests.hostile.refusal import WEIGHTS, Canary, assert_refused, command
from tests.model.checkpoints.originals import original
from tests.parts import joined, part


def pickled(folder):
    return pickle.dumps({"weight": Canary(folder)}, protocol=2)


def old_pickle(folder):
    torch.save({"weight": Canary(folder)}, folder / "old", _use_new_zipfile_serialization=False)
    return (folder / "old").read_bytes()


def zip_bomb(folder):
    return _zip_bomb()


@cache
def _zip_bomb():
    """512 MB of zeros where a checkpoint has its pickle."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("archive/data.pkl", "w") as one:
            for _ in range(512):
                one.write(bytes(1 << 20))
        archive.writestr("archive/version", "3\n")
    return packed.getvalue()


PICKLES = {
    "one that runs code": (pickled, "loading that would run code"),
    "one of before torch 1.6": (old_pickle, "loading that would run code"),
    "a builtin function": (b"\x80\x02cbuiltins\neval\n.", "loading that would run code"),
    "half a gigabyte in a zip": (zip_bomb, "compressed in it, which torch.save never does"),
    "text": (b"hello", "fetch the file again"),
    "nothing": (b"", "it ends too early"),
    "half a dictionary": (b"\x80\x02}q\x00", "it ends too early"),
}


@pytest.mark.parametrize("make", [pickled, old_pickle])
def test_the_canary_sings(make, tmp_path):
    """Loaded without care, the same bytes do run code: otherwise the tests below would show nothing."""
    file = tmp_path / "weights.bin"
    file.write_bytes(make(tmp_path))
    with file.open("rb") as opened:
        pickle.load(opened) if make is pickled else torch.load(file, weights_only=False)
    assert (tmp_path / "ran").is_dir()


@pytest.mark.parametrize("name", PICKLES)
@pytest.mark.parametrize("which", ["info", "convert", "adapter", "besides", "connector", "projector"])
def test_pickles_are_read_for_tensors_and_nothing_is_run(name, which, folder, capsys):
    """Wherever one may stand: a model's weights, an adapter's, what was trained besides, and trained connectors."""
    make, message = PICKLES[name]
    content, model = make(folder) if callable(make) else make, folder / "model"
    places = {"adapter": "adapter_model.bin", "besides": "non_lora_trainables.bin", "connector": "mm_projector.bin",
              "projector": "llava.projector"}  # fmt: skip
    (model / places.get(which, "pytorch_model.bin")).write_bytes(content)
    if which in ("info", "convert"):
        (model / WEIGHTS).unlink()
    (model / "adapter_config.json").write_text('{"peft_type": "LORA"}')
    if which == "besides":
        save_file({}, model / "adapter_model.safetensors")
    merge = ["model", "merge", model, folder / "out", "--base", joined("clip", "llama")]
    build = ["model", "build", folder / "out", "--vision", part("clip"), "--language", part("llama")]
    arguments = {"adapter": merge, "besides": merge, "connector": [*build, "--connector", model / "mm_projector.bin"]}
    if which == "projector":
        shutil.copytree(part("llama"), model / "language")
        shutil.copytree(part("clip"), model / "vision")
    assert_refused(
        folder, arguments.get(which) or command("info" if which == "info" else "convert", folder), capsys, message
    )


def test_an_original_without_what_it_names(tmp_path, capsys):
    path = original(tmp_path / "model", form="bin")
    shutil.rmtree(path / "vision_tower")
    named = ["model", "convert", path, tmp_path / "out", "--template", "vicuna_v1"]
    assert_refused(tmp_path, named, capsys, "give its folder (--vision)", code=2)
