"""Commands on a model by its id on a hub: as on its folder, whatever happens to the download."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys

import pytest
import torch
from huggingface_hub import constants
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from tests.hub_server import Hub
from tests.lessons import recipe
from tests.parts import joined, part, picture

from lapilli.cli import run
from lapilli.core.recipe import dump
from lapilli.core.run import RunDir
from lapilli.model.checkpoints.read import read_checkpoint
from lapilli.model.checkpoints.write import Writing, write_checkpoint
from lapilli.model.llava import join, load, save
from lapilli.model.parts import origin

ID = "org/tiny"
QUESTION = "What color is the circle?"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    with Hub() as server:
        template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        names = {"ENDPOINT": server.endpoint, "HUGGINGFACE_CO_URL_TEMPLATE": template, "HF_HUB_OFFLINE": False}
        for name, value in (names | {"HF_HUB_CACHE": str(tmp_path / "cache")}).items():
            monkeypatch.setattr(constants, name, value)
        yield server


@pytest.fixture
def image(tmp_path):
    picture(5, 40, 30).save(tmp_path / "noise.png")
    return tmp_path / "noise.png"


def said(capsys, *arguments, code=0):
    capsys.readouterr()
    assert run([str(argument) for argument in arguments]) == code
    return capsys.readouterr()


def test_ask_info_and_explain_say_what_they_say_of_the_folder(hub, image, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "llava"  # of several shards
    write_checkpoint(read_checkpoint(joined("clip", "llama")), folder, writing=Writing(shard_size=100_000))
    name = f"{ID}@{hub.push(ID, folder)}"
    commands = {
        "info": lambda model: ["model", "info", model, "--json"],
        "ask": lambda model: ["ask", model, image, QUESTION, "--json"],
        "explain": lambda model: ["explain", model, image, QUESTION, "--answer", "red", "--controls", 1, "--json"],
    }
    here = {which: said(capsys, *command(folder)).out for which, command in commands.items()}
    there = {which: said(capsys, *command(ID)).out for which, command in commands.items()}
    for which in ("info", "ask"):
        assert there[which].replace(f'"{ID}"', f'"{folder}"') == here[which]
    assert explained(there["explain"], name, name) == explained(here["explain"], str(folder), "llava")
    hub.close()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for which in ("info", "ask"):
        assert said(capsys, *commands[which](ID)) == (there[which], "")
    again = said(capsys, *commands["explain"](ID)).out
    assert explained(again, name, name) == explained(there["explain"], name, name)


def explained(text, given, called):
    """An explanation without when it was made, how long that took, and the model's two names, which are checked."""
    found = json.loads(text)
    assert found["made_by"]["command"][2] == given and found["model"]["name"] == called
    text = re.sub(r'"(seconds|created)": ("[^"]*"|[^,}]*)', r'"\1": null', text)
    return text.replace(json.dumps(given), '"MODEL"').replace(json.dumps(called), '"MODEL"')


def test_what_ctrl_c_stopped_goes_on_with_the_same_command(hub, image, tmp_path, capsys):
    folder = tmp_path / "folder"  # whose weights are more than one block of those that are written at once
    save(join(part("clip"), part("wide_llama")), folder)
    size = (folder / "model.safetensors").stat().st_size
    block = constants.DOWNLOAD_CHUNK_SIZE
    assert size > block
    hub.push(ID, folder)
    hub.cut("model.safetensors", after=block + 1000, rests=True)
    command = ["ask", ID, str(image), QUESTION, "--max-new-tokens", "2", "--json"]
    places = {"HF_ENDPOINT": hub.endpoint, "HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}
    stopped = subprocess.Popen(
        [sys.executable, "-c", "from lapilli.cli import main; main()", *command],
        env={**os.environ, **places, "PYTHONPATH": os.pathsep.join(sys.path)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # a background job ignores it
    )
    assert hub.resting.wait(120)
    partial = next((tmp_path / "cache").rglob("*.incomplete"))
    while partial.stat().st_size < block:
        pass
    stopped.send_signal(signal.SIGINT)
    _, err = stopped.communicate(timeout=60)
    assert stopped.returncode == 130
    assert err.endswith(f"{ID}: stopped; the same command goes on where it stopped\nlapilli: interrupted\n")
    assert list((tmp_path / "cache").rglob("model.safetensors")) == []
    hub.log.clear()
    again = said(capsys, *command)
    assert [(one.range, one.sent) for one in hub.bodies("model.safetensors")] == [(f"bytes={block}-", size - block)]
    assert json.loads(again.out)["answer"] == json.loads(said(capsys, "ask", folder, *command[2:]).out)["answer"]


def test_what_is_made_of_it_names_id_and_commit_and_no_place_of_this_machine(hub, tmp_path, capsys):
    commits = {name: hub.push(f"org/{name}", part(name)) for name in ("clip", "llama")}
    said(capsys, "model", "build", tmp_path / "built", "--vision", "org/clip", "--language", "org/llama@main")
    said(capsys, "model", "build", tmp_path / "same", "--vision", part("clip"), "--language", part("llama"))
    names = {role: one.name for role, one in load(tmp_path / "built").card.parts.items()}
    assert names == {role: f"org/{name}@{commits[name]}" for role, name in (("vision", "clip"), ("language", "llama"))}
    said(capsys, "model", "convert", tmp_path / "built", tmp_path / "projector", "--to", "projector")
    hub.push("org/projector", tmp_path / "projector")
    parts = ["--vision", "org/clip", "--language", "org/llama", "--connector", "org/projector"]
    said(capsys, "model", "build", tmp_path / "again", *parts)
    hub.push(ID, tmp_path / "built")
    said(capsys, "model", "convert", ID, tmp_path / "converted", "--to", "original")
    said(capsys, "model", "convert", tmp_path / "built", tmp_path / "expected", "--to", "original")
    for made in ("built", "converted"):
        for file in (tmp_path / made).rglob("*.*"):
            assert str(tmp_path).encode() not in file.read_bytes() and b"snapshots" not in file.read_bytes(), file
    for made, like in (("built", "same"), ("built", "again"), ("converted", "expected")):
        weights = [(tmp_path / one / "model.safetensors").read_bytes() for one in (made, like)]
        assert weights[0] == weights[1]


def test_an_adapter_and_its_base_are_merged_by_their_ids(hub, tmp_path, capsys):
    base, lora = joined("clip", "llama"), tmp_path / "lora"
    config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    get_peft_model(load(base).model, config).save_pretrained(lora)
    hub.push(ID, base)
    name = f"org/lora@{hub.push('org/lora', lora)}"
    said(capsys, "model", "merge", lora, tmp_path / "expected", "--base", base)
    assert f"adapter merged: {name}\n" in said(capsys, "model", "merge", "org/lora", tmp_path / "out", "--base", ID).err
    merged, expected = ((tmp_path / one / "model.safetensors").read_bytes() for one in ("out", "expected"))
    assert merged == expected


def test_a_wrong_name_among_several_is_found_before_anything_is_fetched(hub, tmp_path, capsys):
    hub.push(ID, joined("clip", "llama"))
    (tmp_path / "data").mkdir()
    out = ["--data", tmp_path / "data", "--out", tmp_path / "out"]
    compare = ["compare", ID, "org/none", *out[1:]]
    for command in (
        ["study", "color", ID, "org/none", *out],
        ["study", "hallucination", ID, "org/none", *out],
        compare,
    ):
        assert "org/none: no such folder, and no model at" in said(capsys, *command, code=1).err
    build = ["model", "build", tmp_path / "out", "--vision", ID, "--language", "org/none"]
    assert "org/none: no such folder, and no model at" in said(capsys, *build, code=1).err
    merge = ["model", "merge", ID, tmp_path / "out", "--base", "org/none"]
    assert "org/none: no such folder, and no model at" in said(capsys, *merge, code=1).err
    assert not (tmp_path / "cache").exists() or hub.bodies("config.json") == []
    assert not (tmp_path / "out").exists()


def test_a_training_names_the_commit_it_began_with(hub, tmp_path, capsys):
    lesson = recipe(tmp_path)
    name = f"{ID}@{hub.push(ID, lesson.model)}"
    (tmp_path / "recipe.yaml").write_text(dump(lesson))
    command = ["train", tmp_path / "recipe.yaml", "--set", f"model={ID}", "--set", "max_steps=1"]
    said(capsys, *command)
    run = RunDir.open(lesson.out)
    assert f"model: {name}\n" in (run.path / "recipe.yaml").read_text()
    assert run.load("sources")["model"] == origin(lesson.model).sha256
    (run.path / "manifest.json").unlink()  # as if it had been killed before its last word
    hub.push(ID, {"config.json": b"{}"})
    assert "model: org/tiny@" in said(capsys, *command, "--resume", code=2).err


def test_what_needs_no_weights_fetches_no_pickles_either(hub, tmp_path, capsys):
    """A repository of pickles alone: its tokenizer is had without them."""
    folder = shutil.copytree(joined("clip", "llama"), tmp_path / "pickled")
    for file in folder.glob("*.safetensors"):
        torch.save(load_file(file), folder / "pytorch_model.bin")
        file.unlink()
    hub.push("org/pickled", folder)
    rows = [{"id": "1", "conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}]
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    arguments = ["--row", "0", "--tokenizer", "org/pickled", "--template", "vicuna_v1", "--image-tokens", "9"]
    said(capsys, "data", "show", tmp_path / "rows.json", *arguments)
    assert hub.bodies("pytorch_model.bin") == []


def test_a_model_in_parts_is_described_by_its_id(hub, tmp_path, capsys):
    """Its vision encoder and language model lie in folders of their own; of neither are weights fetched."""
    write_checkpoint(read_checkpoint(joined("clip", "llama")), tmp_path / "split", "split")
    hub.push("org/split", tmp_path / "split")
    here, there = (
        json.loads(said(capsys, "model", "info", model, "--json").out) for model in (tmp_path / "split", "org/split")
    )
    assert {**there, "path": ""} == {**here, "path": ""}
    assert all(one.range == "bytes=0-100000" for one in hub.bodies("model.safetensors"))  # their headers


def test_what_can_be_refused_without_weights_is_refused_before_they_are_fetched(hub, image, tmp_path, capsys):
    hub.push(ID, joined("clip", "llama"))
    said(capsys, "ask", ID, image, QUESTION, "--device", "cuda:99", code=1)
    said(capsys, "explain", ID, image, QUESTION, "--device", "cuda:99", code=1)
    said(capsys, "scorecard", ID, tmp_path / "nowhere", "--out", tmp_path / "card", code=1)
    said(capsys, "model", "convert", ID, tmp_path / "out", "--vision", "org/nobody", code=1)
    assert hub.bodies("model.safetensors") == []
