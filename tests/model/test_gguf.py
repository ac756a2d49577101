"""Language models out of GGUF files: weights, tokens and template are the model's own, or it is refused."""

import os
import random

import numpy as np
import pytest
import torch
from tests.parts import part, picture

gguf = pytest.importorskip("gguf", reason="no gguf: pip install 'lapilli[gguf]'")

from tests.model.ggufs import SPECIAL, TEXTS, tokenizer_of, write_gguf, write_pieces  # noqa: E402

from lapilli.cli import run  # noqa: E402
from lapilli.core.errors import LapilliError, UsageError  # noqa: E402
from lapilli.inference.selfcheck import self_check  # noqa: E402
from lapilli.model import gguf_header  # noqa: E402
from lapilli.model.fetched import fetched_file  # noqa: E402
from lapilli.model.gguf_header import read_header  # noqa: E402
from lapilli.model.gguf_language import read_gguf  # noqa: E402
from lapilli.model.gguf_named import gguf_named  # noqa: E402
from lapilli.model.llava import join, load, save  # noqa: E402

RULES = ["smollm", "gpt-2", "qwen2", "llama-bpe"]
PIECES = [
    *TEXTS,
    *SPECIAL,
    "\n",
    "\n\n",
    "\r\n",
    " ",
    "   ",
    "\t",
    "7",
    "12",
    "½",
    "e\u0301",
    "中文",
    "🪨",
    "don't",
    "x=3",
]


def strings():
    draw = random.Random(0)
    return ["".join(draw.choices(PIECES, k=draw.randint(1, 6))) for _ in range(200)]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A file, and the model and tokenizer that were written into it."""
    file = tmp_path_factory.mktemp("gguf") / "tiny.gguf"
    return file, *write_gguf(file, kind="Q4_1")


@pytest.mark.parity
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
@pytest.mark.parametrize(("kind", "tied"), [("F32", False), ("F16", True), ("Q8_0", False), ("Q4_1", True)])
def test_weights_and_logits_are_those_in_the_file(tmp_path, kind, tied, architecture):
    written, _ = write_gguf(tmp_path / "tiny.gguf", kind=kind, tied=tied, architecture=architecture)
    read = read_gguf(tmp_path / "tiny.gguf").model
    theirs, ours = dict(written.named_parameters()), dict(read.named_parameters())
    assert theirs.keys() == ours.keys()  # tied, the head is not among them
    assert all(torch.equal(theirs[name], ours[name]) for name in theirs)
    ids = torch.arange(3, 60).reshape(1, -1)
    with torch.inference_mode():
        assert torch.equal(written(ids).logits, read(ids).logits)
    read.save_pretrained(tmp_path / "plain")  # which transformers refuses while it takes the weights for packed ones
    assert "quantization_config" not in (tmp_path / "plain/config.json").read_text()


@pytest.mark.parity
@pytest.mark.parametrize("factor", [4.0, 8.0, 32.0])
def test_llama_3_scales_its_positions(tmp_path, factor):
    written, _ = write_gguf(tmp_path / "tiny.gguf", factor=factor)
    save(join(part("clip"), tmp_path / "tiny.gguf", template="own"), tmp_path / "out")
    read, loaded = read_gguf(tmp_path / "tiny.gguf").model, load(tmp_path / "out").model.model.language_model
    turned = written.model.rotary_emb.inv_freq
    assert torch.equal(turned, read.model.rotary_emb.inv_freq) and torch.equal(turned, loaded.rotary_emb.inv_freq)
    ids = torch.arange(3, 60).reshape(1, -1)
    with torch.inference_mode():
        assert torch.equal(written(ids).logits, read(ids).logits)


@pytest.mark.parity
@pytest.mark.parametrize("rule", RULES)
def test_text_becomes_the_tokens_that_the_model_was_trained_with(tmp_path, rule):
    _, theirs = write_gguf(tmp_path / "tiny.gguf", rule)
    ours = read_gguf(tmp_path / "tiny.gguf").tokenizer
    begin = [1] if rule == "llama-bpe" else []
    for text in strings():
        assert ours(text)["input_ids"] == begin + theirs(text)["input_ids"], text
        assert ours.decode(ours(text)["input_ids"][len(begin) :]) == theirs.decode(theirs(text)["input_ids"])
    for name in ("bos", "eos", "pad", "unk"):
        assert getattr(ours, f"{name}_token_id") == getattr(theirs, f"{name}_token_id")
    flags = {token.content: (token.special, token.normalized) for token in ours.added_tokens_decoder.values()}
    assert flags == dict.fromkeys(SPECIAL, (True, False))


@pytest.mark.parity
@pytest.mark.parametrize("prefix", [True, False])
def test_sentencepiece_is_read_as_it_cuts_text_itself(tmp_path, prefix):
    theirs = write_pieces(tmp_path / "tiny.gguf", prefix)
    save(join(part("clip"), tmp_path / "tiny.gguf"), tmp_path / "out")
    ours = load(tmp_path / "out").processor.tokenizer
    for text in filter(None, strings()):
        if not any(special in text for special in SPECIAL) and not text[0].isspace():
            assert ours(text)["input_ids"] == theirs.encode(text), text
            assert ours.decode(theirs.encode(text)) == text


def test_the_strings_tell_the_rules_apart():
    """Else the test above would not see that one stands for another."""
    ids = {rule: [tokenizer_of(rule)(text)["input_ids"] for text in strings()] for rule in RULES}
    cut = tokenizer_of("smollm")
    cut.backend_tokenizer.pre_tokenizer = tokenizer_of("gpt-2").backend_tokenizer.pre_tokenizer
    assert [cut(text)["input_ids"] for text in strings()] != ids["smollm"]
    composed = tokenizer_of("qwen2")
    composed.backend_tokenizer.normalizer = None
    assert [composed(text)["input_ids"] for text in strings()] != ids["qwen2"]
    merged = tokenizer_of("llama-bpe")
    merged.backend_tokenizer.model.ignore_merges = False
    assert [merged(text)["input_ids"] for text in strings()] != ids["llama-bpe"]


def test_a_llava_of_it_is_saved_loaded_and_asked(tiny, tmp_path):
    file, written, theirs = tiny
    save(join(part("clip"), file, template="own"), tmp_path / "out")
    llava = load(tmp_path / "out")
    rows = written.config.vocab_size
    embedding = llava.model.get_input_embeddings().weight
    assert torch.equal(embedding[:rows], written.get_input_embeddings().weight)
    assert llava.model.lm_head.weight is embedding
    assert not hasattr(llava.model.config.text_config, "quantization_config")
    ours = llava.processor.tokenizer
    assert all(ours(text)["input_ids"] == theirs(text)["input_ids"] for text in strings())
    talk = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "red"}]
    assert ours.apply_chat_template(talk, tokenize=False) == theirs.apply_chat_template(talk, tokenize=False)
    assert [finding for finding in self_check(llava) if not finding.holds] == []
    assert llava.card.parts["language"].name == "tiny.gguf"
    stated = "unpacked from GGUF (Q4_1 and F32) into float32; the file states name tiny, license apache-2.0"
    assert f"language model: {stated}" in llava.card.notes


def test_what_lies_beside_the_file_is_not_read(tiny, tmp_path):
    """A download folder has other models' files, which transformers would take for this one's."""
    file, _, theirs = tiny
    for name in ("tokenizer.json", "tokenizer_config.json", "config.json", "generation_config.json"):
        if (part("llama") / name).exists():
            (tmp_path / name).write_bytes((part("llama") / name).read_bytes())
    (tmp_path / "tiny.gguf").write_bytes(file.read_bytes())
    assert read_gguf(tmp_path / "tiny.gguf").tokenizer("1. one")["input_ids"] == theirs("1. one")["input_ids"]


LEFT_OUT = [
    ({"settings": {"llama.rope.scaling.type": "linear"}}, "llama.rope.scaling.type is 'linear', which transformers"),
    ({"settings": {"llama.expert_count": 8}}, "llama.expert_count is 8, which transformers does not read"),
    ({"settings": {"llama.value_length": 8}}, "llama.value_length is 8"),
    ({"settings": {"llama.logit_scale": 0.5}}, "llama.logit_scale is 0.5"),
    (
        {"tensors": {"rope_freqs.weight": np.arange(1, 9, dtype=np.float32)}},
        "scales positions otherwise than Llama 3.1",
    ),
    (
        {"tensors": {"rope_freqs.weight": np.full(4, 8, np.float32)}},
        "scales positions otherwise than Llama 3.1 does; give",
    ),
    ({"tensors": {"blk.0.odd.weight": np.ones(8, np.float32)}}, r"among them blk.0.odd.weight, but [\d,]+ in a Llama"),
    ({"settings": {"split.count": "three"}}, "split.count is 'three', a whole number expected; fetch it again"),
    ({"settings": {"llama.block_count": "two"}}, "llama.block_count is 'two', a number expected"),
    ({"settings": {"llama.rope.freq_base": "1e4"}}, "llama.rope.freq_base is '1e4', a number expected"),
    ({"settings": {"llama.attention.head_count": "4\n" * 99}}, r"head_count is '4\\n4.*…, a number expected"),
    ({"settings": {"tokenizer.ggml.add_space_prefix": 7}}, "add_space_prefix is 7, true or false expected"),
    (
        {"rule": "llama-bpe", "settings": {"tokenizer.ggml.add_bos_token": "yes"}},
        "add_bos_token is 'yes', true or false expected",
    ),
    ({"settings": {"llama.odd": "long " * 999}}, r"llama.odd is 'long [long ]{60,80}…, which transformers does not"),
    ({"tensors": {"odd\n" * 999: np.ones(8, np.float32)}}, r"among them odd odd [od ]{60,80}…, but [\d,]+ in a Llama"),
    ({"rule": "odd\n" * 999}, r"by the rule 'odd\\n[od\\n]{60,80}…, and any other than its own"),
    ({"tensors": {"blk.0.attn_q.bias": np.ones(64, np.float32)}}, "among them blk.0.attn_q.bias"),
    ({"settings": {"split.count": 3}}, "one of 3 files of a model; join them with llama.cpp's"),
    ({"rule": "falcon"}, "cuts text by the rule 'falcon', and any other than its own makes other tokens; give"),
    ({"rule": ""}, "does not say by which rule it cuts text"),
]


@pytest.mark.parametrize(("changes", "message"), LEFT_OUT)
def test_what_transformers_would_leave_out_is_refused(tmp_path, changes, message):
    write_gguf(tmp_path / "tiny.gguf", **changes)
    with pytest.raises(LapilliError, match=message) as raised:
        read_gguf(tmp_path / "tiny.gguf")
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500


@pytest.mark.parametrize(
    ("value", "stated"),
    [
        ("tiny\n\n# A heading\r\n* a point", "tiny # A heading * a point"),
        ("x" * 9_999, "x" * 79 + "…"),
        ("\x1b[2J\u202etiny", "\\x1b[2J\\u202etiny"),
        (7, "7"),
    ],
)
@pytest.mark.parametrize("key", ["name", "organization", "author", "license"])
def test_what_a_file_states_of_its_origin_is_one_printable_line_of_the_card(key, value, stated, tmp_path):
    write_gguf(tmp_path / "tiny.gguf", settings={f"general.{key}": value})
    (note,) = read_gguf(tmp_path / "tiny.gguf").notes
    assert f"{key} {stated}" in note and "\n" not in note and note.isprintable() and len(note) < 500


def test_settings_that_change_nothing_are_passed_over(tmp_path):
    write_gguf(tmp_path / "tiny.gguf", settings={"llama.rope.scaling.type": "none", "llama.expert_count": 0})
    read_gguf(tmp_path / "tiny.gguf")


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    write_gguf(tmp_path / "tiny.gguf")
    content = bytearray((tmp_path / "tiny.gguf").read_bytes())
    content[-4:] = np.float32("nan").tobytes()
    (tmp_path / "tiny.gguf").write_bytes(content)
    with pytest.raises(LapilliError, match=r"not finite \(NaN or infinite\); fetch it again"):
        read_gguf(tmp_path / "tiny.gguf")


@pytest.mark.parametrize("share", [0.0001, 0.01, 0.1, 0.5, 0.9999])
def test_a_torn_file_is_refused_by_its_header(tiny, tmp_path, share):
    content = tiny[0].read_bytes()
    (tmp_path / "torn.gguf").write_bytes(content[: max(5, int(share * len(content)))])
    with pytest.raises(LapilliError, match=r"torn.gguf: torn: .*; fetch it again$"):
        read_header(tmp_path / "torn.gguf")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a GGUF file"),
        (b"PK\x03\x04" + bytes(60), "not a GGUF file: it does not begin with GGUF; fetch it again"),
        (b"GGUF\x01\0\0\0" + bytes(16), "GGUF of version 1; 2 and 3 are read: convert the model again"),
        (b"GGUF\0\0\0\x03" + bytes(16), "GGUF of version 50331648"),
        (b"GGUF\x03\0\0\0" + bytes(16), "torn: its header ends too early, or is damaged"),
        (b"GGUF\x03\0\0\0" + b"\xff" * 16, "torn: its header ends too early, or is damaged"),
    ],
)
def test_what_is_no_gguf_is_refused(tmp_path, content, message):
    (tmp_path / "odd.gguf").write_bytes(content)
    with pytest.raises(LapilliError, match=message):
        read_header(tmp_path / "odd.gguf")


def test_a_damaged_header_is_read_or_refused_at_once(tiny, tmp_path):
    content, file, draw = tiny[0].read_bytes(), tmp_path / "damaged.gguf", random.Random(0)
    refused = 0
    for _ in range(300):
        damaged = bytearray(content)
        for _ in range(draw.randint(1, 4)):
            damaged[draw.randrange(4, 1500)] = draw.choice([0, 1, 127, 255])
        file.write_bytes(damaged)
        try:
            read_header(file)
        except LapilliError:
            refused += 1
    assert refused > 100


@pytest.mark.parametrize("other", ["mamba2", "clip", "nonsense"])
def test_an_architecture_that_transformers_does_not_read_is_refused(tmp_path, other):
    writer = gguf.GGUFWriter(tmp_path / "other.gguf", other)
    writer.add_tensor("a", np.ones((2, 2), np.float32))
    for write in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        write()
    writer.close()
    with pytest.raises(LapilliError, match=rf"its architecture, {other}, is none that transformers reads from GGUF \("):
        read_gguf(tmp_path / "other.gguf")


def test_without_the_package_the_remedy_is_said(tiny, monkeypatch):
    monkeypatch.setattr(gguf_header, "find_spec", lambda name: None)
    with pytest.raises(LapilliError, match=r"package that reads it is not installed; pip install 'lapilli\[gguf\]'"):
        read_gguf(tiny[0])


def test_a_folder_with_one_file_means_that_file(tmp_path):
    assert gguf_named(tmp_path) is None
    (tmp_path / "a.gguf").touch()
    (tmp_path / "LICENSE").touch()
    assert gguf_named(tmp_path) == gguf_named(tmp_path / "a.gguf") == tmp_path / "a.gguf"
    (tmp_path / "b.GGUF").touch()
    with pytest.raises(UsageError, match=r"2 GGUF files; give one of them, such as .*a\.gguf"):
        gguf_named(tmp_path)
    (tmp_path / "config.json").touch()
    assert gguf_named(tmp_path) is None
    with pytest.raises(UsageError, match=r"c\.gguf: no such file; give a GGUF file"):
        gguf_named(tmp_path / "c.gguf")
    assert gguf_named("org/name") is None and gguf_named(300 * "a") is None


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(LapilliError, match="no such file"):
        read_header(tmp_path / "pipe.gguf")


@pytest.mark.slow
def test_smollm2_is_built_asked_and_explained(tmp_path):
    """The real file: its tokens as its tokenizer on the hub makes them, and what can be done with a LLaVA of it."""
    try:
        file = fetched_file("smollm2")
    except UsageError as error:
        pytest.skip(f"no SmolLM2: {error}")
    picture(1, 64, 64).save(tmp_path / "circle.png")
    model, circle, question = str(tmp_path / "model"), str(tmp_path / "circle.png"), "What color is the circle?"
    assert (
        run(["model", "build", model, "--vision", "pebble-vision", "--language", "smollm2", "--template", "own"]) == 0
    )
    assert run(["ask", model, circle, question]) == 0
    assert run(["explain", model, circle, question, "--out", str(tmp_path / "why")]) == 0
    llava = load(tmp_path / "model")
    tokenizer = llava.processor.tokenizer
    assert tokenizer("a\n\n1.  2")["input_ids"] == [81, 1116, 33, 30, 256, 34]
    assert tokenizer("<|im_start|>user\nhi<|im_end|>\n")["input_ids"] == [1, 4093, 198, 6004, 2, 198]
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 2)
    assert [finding for finding in self_check(llava) if not finding.holds] == []
    packed = next(tensor for tensor in gguf.GGUFReader(file).tensors if tensor.name == "blk.7.ffn_down.weight")
    down = llava.model.model.language_model.layers[7].mlp.down_proj.weight
    assert torch.equal(down, torch.tensor(gguf.dequantize(packed.data, packed.tensor_type)))
    assert llava.card.notes[0].startswith(
        "language model: SmolLM2-135M-Instruct by HuggingFaceTB, Apache-2.0, from llm-"
    )
