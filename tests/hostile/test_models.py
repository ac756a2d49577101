"""Folders of models that are damaged or made to harm, given to every command that reads one."""

import json
import os
import shutil
import struct

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.hostile.refusal import WEIGHTS, assert_bounded, assert_refused, canary_module, command, say, snapshot
from tests.parts import part

NORM = "language_model.model.norm.weight"
COMMANDS = ("ask", "info", "convert")
READERS = ("ask", "convert")  # which need more of a folder than its description


def stored(header, body=b"", size=None):
    """A safetensors file with this header, which says that it has `size` bytes."""
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw) if size is None else size) + raw + body


def tensor(dtype="F32", shape=(2,), start=0, end=8):
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def setting(**fields):
    """A change of config.json; `text_config__hidden_size` is a field of a field."""

    def change(folder):
        file = folder / "model/config.json"
        config = json.loads(file.read_text())
        for path, value in fields.items():
            *outer, last = path.split("__")
            (config[outer[0]] if outer else config)[last] = value
        file.write_text(json.dumps(config))

    return change


def file(name, content, without=None):
    """A file of the folder replaced, and another removed."""

    def change(folder):
        if without:
            (folder / "model" / without).unlink()
        made = content(folder) if callable(content) else content
        (folder / "model" / name).write_bytes(made if isinstance(made, bytes) else made.encode())

    return change


def code(**fields):
    """A configuration that names a module in the folder."""

    def change(folder):
        setting(**fields)(folder)
        (folder / "model/e.py").write_text(canary_module(folder))

    return change


WEIGHT_FILES = {
    "a header of 2^60 bytes": stored(b"{}", size=2**60),
    "a header that is no JSON": stored(b"hello"),
    "a header of 100,000 braces": stored(b'{"a":' * 100_000),
    "a header without a tensor's fields": stored({"a": None}),
    "tensors that overlap": stored({NORM: tensor(), "b": tensor(start=4, end=12)}, bytes(12)),
    "a tensor behind the end": stored({NORM: tensor()}, bytes(4)),
    "a negative shape": stored({NORM: tensor(shape=[-2])}, bytes(8)),
    "a shape whose product overflows": stored({NORM: tensor(shape=[2**32, 2**32], end=0)}),
    "an unknown format": stored({NORM: tensor("X99")}, bytes(8)),
    "complex numbers": stored({NORM: tensor("C64", [1])}, bytes(8)),
    "halves of bytes": stored({NORM: tensor("F4", [16])}, bytes(8)),
    "a terminal's codes in a name": stored({"\x1b[31m\nred": tensor()}, bytes(8)),
    "a name of a megabyte": stored({"x" * 1_000_000: tensor()}, bytes(8)),
    "a header of 40 MB": stored(b"", size=40_000_000),
    "nothing": b"",
    "a web page": b"<!doctype html><title>404</title>",
}

CONFIGS = {
    "a million layers": (setting(text_config__num_hidden_layers=10**6), "no model has more than 1,000", COMMANDS),
    "10^9 layers of the encoder": (setting(vision_config__num_hidden_layers=10**9), "no model has more", COMMANDS),
    "a width of 10^9": (setting(text_config__hidden_size=10**9), "fetch", READERS),
    "a width of 10^18": (setting(text_config__hidden_size=10**18), "overflow", READERS),
    "a width below zero": (setting(text_config__hidden_size=-48), "negative dimension", READERS),
    "a width of nothing": (setting(text_config__hidden_size=0), "fetch", READERS),
    "a width in words": (setting(text_config__hidden_size="big"), "expected int, got str", COMMANDS),
    "no width": (setting(text_config__hidden_size=None), "expected int, got NoneType", COMMANDS),
    "10^12 words": (setting(text_config__vocab_size=10**12), "fetch", READERS),
    "no heads": (setting(text_config__num_attention_heads=0), "ZeroDivisionError", COMMANDS),
    "7 heads for 48": (setting(text_config__num_attention_heads=7), "not a multiple", COMMANDS),
    "no patches": (setting(vision_config__patch_size=0), "no square patches", COMMANDS),
    "patches of two sides": (setting(vision_config__patch_size=[8, 8]), "no square patches", COMMANDS),
    "pictures of 10^9 pixels a side": (setting(vision_config__image_size=10**9), "fetch", READERS),
    "the 99th hidden state": (setting(vision_feature_layer=99), "not one of 4 hidden states", COMMANDS),
    "an image token beyond the vocabulary": (setting(image_token_index=10**9), "its image_token_index is", COMMANDS),
    "an image token that is another": (setting(image_token_index=7), "its tokenizer does not fit", ("ask",)),
    "an activation that is code": (setting(text_config__hidden_act="__import__('os')"), "KeyError", READERS),
    "another kind of model": (setting(model_type="bert"), "no LLaVA (its model_type: bert)", COMMANDS),
    "a kind that is a list": (setting(model_type=["llava"]), "no LLaVA", COMMANDS),
    "a language model of other names": (setting(text_config__model_type="bert"), "; ", READERS),
    "a language model that nobody knows": (setting(text_config__model_type="evil"), "subconfig: evil", COMMANDS),
    "no language model": (setting(text_config=None), "fetch", READERS),
    "an encoder that is a list": (setting(vision_config=[]), "vision_config", COMMANDS),
    "a format that is a module": (setting(dtype="hub"), "cannot be read", COMMANDS),
    "4 bits without what reads them": (setting(quantization_config={"quant_method": "gptq"}), "; ", ("ask",)),
    "kernels from elsewhere": (setting(attn_implementation="somebody/evil"), "code from elsewhere", COMMANDS),
    "tuples": (setting(return_dict=False), "return_dict is False, as no LLaVA's", COMMANDS),
    "tuples of its language model": (setting(text_config__return_dict=None), "return_dict is None", COMMANDS),
    "an encoder and a decoder": (setting(is_encoder_decoder=True), "is_encoder_decoder is True", COMMANDS),
    "half a config.json": (file("config.json", '{"a":'), "not JSON", COMMANDS),
    "one of 100,000 braces": (file("config.json", '{"a":' * 100_000), "nested too deeply", COMMANDS),
    "one that is a list": (file("config.json", "[]"), "not a JSON object", COMMANDS),
    "one that is no text": (file("config.json", b"\xff\xfe\0"), "not UTF-8", COMMANDS),
}

OTHER_FILES = {
    "a card without fields": (file("lapilli.json", '{"format": 1}'), "not what lapilli writes", COMMANDS),
    "a card of brackets": (file("lapilli.json", "[" * 100_000), "nested too deeply", COMMANDS),
    "a card that is no text": (file("lapilli.json", b"\xff"), "not UTF-8", COMMANDS),
    "a tokenizer cut off": (file("tokenizer.json", "{"), "cannot be read", READERS),
    "a tokenizer without anything": (file("tokenizer.json", "{}"), "cannot be read", READERS),
    "a tokenizer of brackets": (file("tokenizer.json", "[" * 100_000), "cannot be read", READERS),
    "tokenizer settings in a list": (file("tokenizer_config.json", "[]"), "cannot be read", READERS),
    "a processor in a list": (file("processor_config.json", "[]"), "fetch", COMMANDS),
    "an image processor that nobody knows": (
        file("preprocessor_config.json", '{"image_processor_type": "Evil"}'),
        "Unrecognized image processor",
        READERS,
    ),
    "an index of a list": (
        file("model.safetensors.index.json", '{"weight_map": [1]}'),
        "does not name a file",
        COMMANDS,
    ),
    "an index that leads out": (
        file("model.safetensors.index.json", '{"weight_map": {"a": "../elsewhere.safetensors"}}'),
        "which the folder has not",
        COMMANDS,
    ),
    "only an index that leads out": (
        file("model.safetensors.index.json", '{"weight_map": {"a": "../elsewhere.safetensors"}}', without=WEIGHTS),
        "safetensors",
        COMMANDS,
    ),
    "generation settings in a list": (file("generation_config.json", "[]"), "cannot be read", READERS),
    "a template that is no text": (
        file("chat_template.jinja", b"\xff", without="lapilli.json"),
        "utf-8",
        COMMANDS,
    ),
}

PICTURE_SETTINGS = {
    "pictures of 10^12 pixels": {"size": {"shortest_edge": 10**6}, "crop_size": {"height": 10**6, "width": 10**6}},
    "a size below zero": {"size": {"shortest_edge": -1}},
    "another size than the encoder's": {"crop_size": {"height": 48, "width": 48}},
    "a resampling that is none": {"resample": 99},
    "a deviation of zero": {"image_std": [0, 0, 0]},
}

CODE = {
    "of the model": code(auto_map={"AutoConfig": "e.Config", "AutoModelForImageTextToText": "e.Model"}),
    "of an unknown model": code(model_type="evil", auto_map={"AutoConfig": "e.Config"}),
    "of its language model": code(text_config__model_type="evil", text_config__auto_map={"AutoConfig": "e.Config"}),
    "of its tokenizer": file("tokenizer_config.json", json.dumps({"auto_map": {"AutoTokenizer": ["e.T", "e.T"]}})),
    "of its processor": file("processor_config.json", '{"processor_class": "E", "auto_map": {"AutoProcessor": "e.P"}}'),
}  # fmt: skip


def cases(table):
    return [(name, which) for name, (*_, commands) in table.items() for which in commands]


@pytest.mark.parametrize("name", WEIGHT_FILES)
@pytest.mark.parametrize("which", COMMANDS)
def test_weights_that_are_none(name, which, folder, capsys):
    (folder / "model" / WEIGHTS).write_bytes(WEIGHT_FILES[name])
    assert_refused(folder, command(which, folder), capsys, "")


@pytest.mark.parametrize(("name", "which"), cases(CONFIGS))
def test_configurations(name, which, folder, capsys):
    change, message, _ = CONFIGS[name]
    change(folder)
    assert_refused(folder, command(which, folder), capsys, message)


@pytest.mark.parametrize("part_of", ["vision", "language"])
@pytest.mark.parametrize("field", ["num_hidden_layers", "hidden_size", "intermediate_size"])
def test_parts_to_join(field, part_of, folder, capsys):
    shutil.rmtree(folder / "model")
    shutil.copytree(part({"vision": "clip", "language": "llama"}[part_of]), folder / "model")
    setting(**{field: 10**7 + 8})(folder)
    assert_refused(folder, command(part_of, folder), capsys, "config.json")


@pytest.mark.parametrize(("name", "which"), cases(OTHER_FILES))
def test_other_files(name, which, folder, capsys):
    change, message, _ = OTHER_FILES[name]
    change(folder)
    assert_refused(folder, command(which, folder), capsys, message)


@pytest.mark.parametrize("name", PICTURE_SETTINGS)
def test_image_processors(name, folder, capsys):
    file = folder / "model/preprocessor_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **PICTURE_SETTINGS[name]}))
    assert_refused(folder, command("ask", folder), capsys, "preprocessor_config.json: ")


@pytest.mark.parametrize("which", [*COMMANDS, "vision", "language"])
@pytest.mark.parametrize("name", CODE)
def test_code_in_a_folder_is_not_run(name, which, folder, capsys):
    """Whether the folder can be read without it or not."""
    (folder / "model/e.py").write_text(canary_module(folder))
    CODE[name](folder)
    before = snapshot(folder)
    said = say(command(which, folder), capsys)
    assert said.code in (0, 1)
    assert_bounded(said)
    after = snapshot(folder)
    assert {path for path in after if not path.startswith(str(folder / "out"))} == set(before)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", [NORM, "multi_modal_projector.linear_1.weight"])
def test_weights_that_are_no_numbers(name, value, folder, capsys):
    """They are described and converted as they are, to the last bit; a model of them is not used."""
    weights = load_file(folder / "model" / WEIGHTS)
    weights[name][..., 0] = value
    save_file(weights, folder / "model" / WEIGHTS)
    assert_refused(folder, command("ask", folder), capsys, f"{name} not finite (NaN or infinite)")
    assert say(command("info", folder), capsys).code == 0
    assert say(command("convert", folder), capsys).code == 0
    kept = load_file(folder / "out" / WEIGHTS)
    assert torch.equal(kept[name].view(torch.int32), weights[name].view(torch.int32))


def test_generation_settings_do_not_take_the_machine(folder, capsys):
    settings = {"num_beams": 100_000, "num_return_sequences": 100_000, "max_length": 10**9, "do_sample": True}
    (folder / "model/generation_config.json").write_text(json.dumps(settings))
    said = say(command("ask", folder), capsys)
    assert (said.code, said.err) == (0, "")
    assert_bounded(said)


TEMPLATES = {
    "names a class": "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "loops": "{% for i in range(10**12) %}x{% endfor %}",
    "includes": "{% include '/etc/hostname' %}",
    "is cut off": "{% for",
    "swells": "{{ 'x' * 10**13 }}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_a_template_of_its_own_that_does_harm(name, folder, capsys):
    """Without a card, the folder's template is its own, rendered in a sandbox if at all."""
    (folder / "model/lapilli.json").unlink()
    (folder / "model/chat_template.jinja").write_text(TEMPLATES[name])
    before = snapshot(folder)
    said = say(command("ask", folder), capsys)
    assert said.code in (1, 2)
    assert_bounded(said)
    assert snapshot(folder) == before
    assert "--debug" not in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    "name", ["config.json", WEIGHTS, "lapilli.json", "chat_template.jinja", "preprocessor_config.json"]
)
@pytest.mark.parametrize("which", COMMANDS)
def test_pipes_are_not_waited_for(name, which, folder, capsys):
    (folder / "model" / name).unlink()
    os.mkfifo(folder / "model" / name)
    before = snapshot(folder)
    said = say(command(which, folder), capsys)
    assert said.code in (0, 1)
    assert_bounded(said)
    assert said.code == 0 or snapshot(folder) == before
