"""`original` is written in words that tokenizers 0.15 and transformers 4.37 know; what has none is named.

Which those are was found by reading such files with these two releases.
"""

import copy
import json
import shutil

import pytest
from tests.parts import joined, part
from tokenizers import Tokenizer
from transformers import AutoTokenizer, LlamaConfig

from lapilli.cli import run
from lapilli.model.checkpoints.older import later_settings, older_tokenizer
from lapilli.model.checkpoints.read import read_checkpoint
from lapilli.model.checkpoints.write import Writing, write_checkpoint

TEXT = "USER: <image>\nWhat color is  the circle? naïve\n\n 12</s>"


def stored(folder):
    return json.loads((folder / "tokenizer.json").read_text())


@pytest.mark.parametrize("pair", [("clip", "llama"), ("siglip", "qwen2")])
def test_merges_are_strings_and_the_ids_the_same(tmp_path, pair):
    said = []
    model = joined(*pair)
    write_checkpoint(read_checkpoint(model), tmp_path / "out", "original", Writing(note=said.append))
    merges = stored(tmp_path / "out")["model"]["merges"]
    assert len(merges) > 50 and all(isinstance(merge, str) and merge.count(" ") == 1 for merge in merges)
    here, there = (AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"] for folder in (model, tmp_path / "out"))
    assert here == there
    assert said == []


def state():
    """A tokenizer's content with merges as pairs, whatever release wrote it."""
    return copy.deepcopy(stored(part("llama")))


SPLIT = {"type": "Split", "pattern": {"Regex": r"\s+"}, "behavior": "Isolated", "invert": False}
METASPACE = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": True}
SAID = {
    "nothing": ({}, []),
    "a metaspace in a sequence": ({"pre_tokenizer": {"type": "Sequence", "pretokenizers": [SPLIT, METASPACE]}}, []),
    "one that does not split": (
        {"pre_tokenizer": METASPACE | {"split": False}, "decoder": METASPACE | {"split": False}},
        ["pre_tokenizer Metaspace without splitting"],
    ),
    "bytes by the normalizer": (
        {"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}, {"type": "ByteLevel"}]}},
        ["normalizer ByteLevel"],
    ),
    "bytes by the pre-tokenizer": ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False,
        "trim_offsets": True, "use_regex": True}}, []),
    "pieces of a length": ({"pre_tokenizer": {"type": "FixedLength", "length": 5}}, ["pre_tokenizer FixedLength"]),
}  # fmt: skip


@pytest.mark.parametrize("name", SAID)
def test_what_older_readers_lack_is_named_and_newer_ones_read_the_same(name):
    change, lacking = SAID[name]
    before, after = state() | change, state() | copy.deepcopy(change)
    assert older_tokenizer(after) == lacking
    ids = [Tokenizer.from_str(json.dumps(one)).encode(TEXT).ids for one in (before, after)]
    assert ids[0] == ids[1]


@pytest.mark.parametrize(("scheme", "prefix"), [("first", True), ("always", True), ("never", False)])
def test_a_metaspace_says_its_prefix_in_both_ways(scheme, prefix):
    content = state() | {"decoder": METASPACE | {"prepend_scheme": scheme}}
    older_tokenizer(content)
    assert content["decoder"]["add_prefix_space"] is prefix
    assert Tokenizer.from_str(json.dumps(content)).decoder.prepend_scheme == scheme


@pytest.mark.parametrize("pieces", [("a", " b"), ("a ", "b"), ("#version", "x")])
def test_merges_that_no_string_can_say_stay_pairs(pieces):
    content = state()
    vocabulary = content["model"]["vocab"]
    for piece in (*pieces, "".join(pieces)):
        vocabulary.setdefault(piece, len(vocabulary))
    content["model"]["merges"].append(list(pieces))
    expected = copy.deepcopy(content)
    assert older_tokenizer(content) == ["merges as pairs"]
    assert content == expected


def test_other_kinds_of_models_pass():
    assert older_tokenizer(state() | {"model": {"type": "WordLevel", "vocab": {"a": 0}, "unk_token": "a"}}) == []


def test_the_command_says_what_the_old_programs_do_not_know(tmp_path, capsys):
    model = shutil.copytree(joined("clip", "llama"), tmp_path / "model")
    content = stored(model)
    content["model"]["ignore_merges"] = True
    (model / "tokenizer.json").write_text(json.dumps(content))
    assert run(["model", "convert", str(model), str(tmp_path / "out"), "--to", "original"]) == 0
    line = "transformers 4.37, which LLaVA's own code asks for, does not know ignore_merges"
    assert line in capsys.readouterr().err


@pytest.mark.parametrize(
    ("fields", "lacking"),
    [
        ({}, []),
        ({"head_dim": 12}, ["head_dim 12"]),
        ({"mlp_bias": True}, ["mlp_bias"]),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}}, []),
        (
            {"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 1e4}},
            ["rope_type yarn"],
        ),
    ],
)
def test_settings_that_came_later_are_named(fields, lacking):
    assert later_settings(LlamaConfig(hidden_size=32, num_attention_heads=4, **fields)) == lacking
