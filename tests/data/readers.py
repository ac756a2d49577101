"""Real tokenizers of every kind that the encoder meets, trained here or, where it is at hand, Llama's own."""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import CLIPImageProcessorPil, LlavaProcessor, PreTrainedTokenizerFast

from lapilli.core.prompt.template import TEMPLATES
from lapilli.model.tokenizer import read_tokenizer

LLAMA = Path(__file__).parents[3] / "shared/data/tokenizers/llama2"
PATCH = 8
GRID = (2, 3)  # rows and columns: not square, so that the two cannot be mistaken for each other
SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>", "<image>"]
CORPUS = [
    "A chat between a curious user and an artificial intelligence assistant. USER: What is it?\nIt is red.\n",
    "The answer:\n\n  two  spaces, three   spaces.\n\n\nNew lines. ASSISTANT: café naïve 中文字 中文 😀😀 👍",
    "USER: ASSISTANT: yes no red green 12 345 ... ??? [INST] [/INST] <<SYS>> system assistant user",
] * 4
GREEDY_LINES = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


AWKWARD = [
    *("USER:", "ASSISTANT:", " ", "  ", "\n", "\n\n", "a", "red", ".", "?", "é", "e\u0301", "中", "文", "😀", "12"),
    "\U0001f468\u200d\U0001f469\u200d\U0001f467",  # one family, five characters
    *("<", "s>", "</", "▁", "Ġ", "\u00a0", "\t", "[INST]", "[/INST]", "assistant", "\u202e", "ﬁ", "İ"),
]
"""Pieces of texts on which tokenizers and templates trip."""


def trained(kind):
    tokenizer = Tokenizer(models.BPE(byte_fallback=kind == "pieces", unk_token="<unk>" if kind == "pieces" else None))
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    if kind == "pieces":  # the manner of sentencepiece
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        tokenizer.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
        alphabet = []
    elif kind == "bytes, greedy for line breaks":  # the manner of Llama 3 and Qwen: ".\n" may be one token
        cut = pre_tokenizers.Split(Regex(GREEDY_LINES), "isolated")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(False, use_regex=False)])
        tokenizer.decoder = decoders.ByteLevel()
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
    special = SPECIAL + ([f"<0x{byte:02X}>" for byte in range(256)] if kind == "pieces" else [])
    trainer = trainers.BpeTrainer(
        vocab_size=900, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    if kind == "pieces":
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
        return _fast(_plain_bytes(tokenizer), begins=True)
    if kind == "bytes, offsets trimmed":  # the manner of GPT-NeoX and Pythia: spaces missing from the offsets
        tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return _fast(tokenizer, begins=kind == "bytes")


def _plain_bytes(tokenizer):
    """The byte pieces as ordinary words of the vocabulary: as special tokens they would be found in the text."""
    state = json.loads(tokenizer.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] in SPECIAL]
    return Tokenizer.from_str(json.dumps(state))


def _fast(tokenizer, begins):
    if begins:
        single = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", tokenizer.token_to_id("<s>"))])
        tokenizer.post_processor = single
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>" if begins else None, eos_token="</s>", pad_token="<unk>"
    )


def real_llama(legacy):
    """The tokenizer of a folder that says which manner is its own, as those of Vicuna and Llama 2 do."""
    with TemporaryDirectory() as folder:
        shutil.copy(LLAMA / "tokenizer.model", folder)
        config = {"tokenizer_class": "LlamaTokenizer", "legacy": legacy, "add_bos_token": True}
        (Path(folder) / "tokenizer_config.json").write_text(json.dumps(config))
        return read_tokenizer(Path(folder))


def llama(kind):
    if not LLAMA.exists():
        pytest.skip(f"{LLAMA}: no tokenizer of Llama's own there")
    tokenizer = real_llama(legacy=kind == "llama, legacy")
    if kind == "llama, space before every text":  # how older tokenizer.json files have it, Vicuna's among them
        state = json.loads(tokenizer.backend_tokenizer.to_str())
        steps = [{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]
        state["normalizer"], state["pre_tokenizer"] = {"type": "Sequence", "normalizers": steps}, None
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer.from_str(json.dumps(state)), bos_token="<s>", eos_token="</s>"
        )
    tokenizer.add_special_tokens({"pad_token": "<unk>"})
    tokenizer.add_tokens(SPECIAL[3:], special_tokens=True)
    return tokenizer


KINDS = ["bytes", "bytes, offsets trimmed", "bytes, greedy for line breaks", "pieces"]
LLAMA_KINDS = ["llama", "llama, legacy", "llama, space before every text"]


def make_processor(tokenizer, template):
    """A processor for pictures of GRID patches; the tower's class token is dropped, as in LLaVA."""
    size = {"height": GRID[0] * PATCH, "width": GRID[1] * PATCH}
    made = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size=size, crop_size=size),
        tokenizer=tokenizer,
        patch_size=PATCH,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATES[template].jinja(),
    )
    made.template = template
    return made
