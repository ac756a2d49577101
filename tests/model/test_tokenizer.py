"""Tokenizers in folders: Llama's own against the sentencepiece library, and codecs without a model."""

import json
import random
import shutil

import pytest
import sentencepiece
from tests.data.readers import LLAMA, real_llama
from tests.parts import joined, part
from transformers import AutoTokenizer

from lapilli.core.errors import LapilliError, UsageError
from lapilli.data.encode import encode
from lapilli.data.sample import Sample, Turn
from lapilli.model.llava import load
from lapilli.model.tokenizer import codec_of_tokenizer, read_tokenizer
from lapilli.model.upstream import require_spacing

needs_llama = pytest.mark.skipif(not LLAMA.exists(), reason=f"{LLAMA}: no tokenizer of Llama's own there")
SAMPLE = Sample("it", ("a.png",), (Turn("user", "<image>\nWhat  is it?"), Turn("assistant", "A kite.")))


@pytest.mark.parity
@needs_llama
@pytest.mark.parametrize("legacy", [False, True])
def test_1000_random_texts_have_the_ids_of_sentencepiece(legacy):
    pieces = [
        " ",
        "  ",
        "   ",
        " " * 8,
        "\n",
        "\t",
        "a",
        "the",
        "red",
        ".",
        "中",
        "😀",
        "12",
        "def",
        "é",
        "----",
        "\n\n",
    ]
    oracle = sentencepiece.SentencePieceProcessor(model_file=str(LLAMA / "tokenizer.model"))
    tokenizer, chance = real_llama(legacy), random.Random(0)
    texts = ["x" + "".join(chance.choices(pieces, k=chance.randint(1, 20))) for _ in range(1_000)]
    assert [tokenizer.encode(text) for text in texts] == [[1, *oracle.encode(text)] for text in texts]


@needs_llama
def test_a_folder_of_pieces_alone_is_llama_2_s_tokenizer_with_its_start(tmp_path):
    tokenizer = read_tokenizer(LLAMA)
    assert tokenizer.is_fast
    spelled = tokenizer.convert_ids_to_tokens(tokenizer.encode("a  b</s>USER"))
    assert spelled == ["<s>", "▁a", "▁", "▁b", "</s>", "USER"]
    tokenizer.save_pretrained(tmp_path)
    assert read_tokenizer(tmp_path).encode("a  b</s>USER") == tokenizer.encode("a  b</s>USER")
    assert AutoTokenizer.from_pretrained(tmp_path).encode("a  b") == tokenizer.encode("a  b")


SAID = {"tokenizer_class": "LlamaTokenizer", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}


def pieces_with(folder, said, config=None):
    """A folder of Llama's pieces alone, and what is said beside them."""
    shutil.copy(LLAMA / "tokenizer.model", folder)
    (folder / "tokenizer_config.json").write_text(json.dumps(said))
    if config:
        (folder / "config.json").write_text(json.dumps(config))
    return folder


@needs_llama
@pytest.mark.parametrize(("legacy", "behind"), [(True, ["▁US", "ER"]), (False, ["USER"]), (None, ["USER"])])
def test_pieces_behind_a_special_token_are_what_the_folder_says(tmp_path, legacy, behind):
    said = SAID if legacy is None else SAID | {"legacy": legacy}
    tokenizer = read_tokenizer(pieces_with(tmp_path, said, {"model_type": "llava_llama"}))
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("a</s>USER"))[-len(behind) - 1 :] == ["</s>", *behind]


@needs_llama
@pytest.mark.parametrize("legacy", [True, False])
def test_a_release_that_cuts_them_otherwise_is_refused(legacy, tmp_path):
    tokenizer = read_tokenizer(pieces_with(tmp_path, SAID | {"legacy": legacy}))
    tokenizer.legacy = not legacy
    with pytest.raises(LapilliError, match=r"transformers .*whose legacy is .*behind </s>; lapilli has been"):
        require_spacing(tokenizer)


@needs_llama
@pytest.mark.parametrize(
    ("said", "config"),
    [
        ({"bos_token": "<s>"}, None),
        ({}, {"model_type": "phi3"}),
        (SAID | {"tokenizer_class": "PreTrainedTokenizerFast"}, None),
    ],
)
def test_pieces_of_nobody_knows_whose_are_refused(tmp_path, said, config):
    """transformers 5.23 and 5.24 make different ids of the same text with them."""
    with pytest.raises(LapilliError, match=r"a tokenizer\.model alone, and nothing says .*; copy tokenizer\.json from"):
        read_tokenizer(pieces_with(tmp_path, said, config))


@pytest.mark.parametrize(("count", "grid"), [(9, (3, 3)), (576, (24, 24)), (1, (1, 1)), (8, (1, 8))])
def test_a_codec_without_a_model_reads_as_the_model_does(count, grid):
    codec = codec_of_tokenizer(part("llama"), "vicuna_v1", count)
    assert codec.patch_grid == grid
    encoded, whole = encode(SAMPLE, codec), encode(SAMPLE, load(joined("clip", "llama")).codec)
    assert encoded.layout.patches(0).shape == grid
    if count == 9:
        assert encoded.ids.tolist() == whole.ids.tolist() and encoded.labels.tolist() == whole.labels.tolist()


def test_the_folder_is_left_as_it_was(tmp_path):
    folder = shutil.copytree(part("llama"), tmp_path / "llama")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    codec_of_tokenizer(folder, "vicuna_v1", 4)
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before


def test_what_cannot_be_read_is_said(tmp_path):
    with pytest.raises(LapilliError, match=r"no tokenizer\.json or tokenizer\.model or vocab\.json; copy it from"):
        codec_of_tokenizer(tmp_path, "vicuna_v1", 4)
    with pytest.raises(UsageError, match="template 'v1': unknown"):
        codec_of_tokenizer(part("llama"), "v1", 4)
    with pytest.raises(LapilliError, match="template own: the tokenizer has no chat template"):
        codec_of_tokenizer(part("llama"), "own", 4)
    (tmp_path / "tokenizer.model").write_bytes(b"no pieces at all")
    with pytest.raises(LapilliError, match="cannot be read as a Hugging Face model") as caught:
        codec_of_tokenizer(tmp_path, "vicuna_v1", 4)
    assert "\n" not in str(caught.value)


@needs_llama
def test_pieces_beside_another_model_s_config_are_not_taken_for_llama_s(tmp_path):
    shutil.copy(LLAMA / "tokenizer.model", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert read_tokenizer(tmp_path).encode("hi") == [1, 7251]
    (tmp_path / "config.json").write_text('{"model_type": "gemma"}')
    assert type(read_tokenizer(tmp_path)) is not type(read_tokenizer(LLAMA))
