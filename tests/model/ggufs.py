"""Tiny language models in GGUF files, as llama.cpp's converters write them, beside the model that is in them."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from lapilli.model.upstream import GGUF_PRE_TOKENIZER_SPLITS

SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<filename>"]
TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
TEXTS = [
    "A list:\n\n1. one\n\n2. two\n\n\n3.  three   of 12,345",
    "What color is the circle?\n\n2024 there were  42 circles, 3 red ones and 17 blue ones",
    "über naïve café, don't we'll I'M  they're",
]
HEADS, KEYS = 4, 2
NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
OUTER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def tokenizer_of(rule: str) -> PreTrainedTokenizerFast:
    """A tokenizer whose text is cut by the rule of that name, as its model's own folder on the hub has it."""
    bpe = Tokenizer(models.BPE(ignore_merges=rule == "llama-bpe"))
    whole = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if rule in GGUF_PRE_TOKENIZER_SPLITS:
        split = pre_tokenizers.Split(Regex(GGUF_PRE_TOKENIZER_SPLITS[rule]), behavior="isolated")
        whole = pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    elif rule == "smollm":
        whole = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), whole])
    bpe.pre_tokenizer, bpe.decoder = whole, decoders.ByteLevel()
    if rule == "qwen2":
        bpe.normalizer = normalizers.NFC()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = [AddedToken(token, normalized=False, special=True) for token in SPECIAL]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(TEXTS * 3, trainer)
    if rule == "llama-bpe":
        _leave_out_a_merge(bpe)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        chat_template=TEMPLATE,
    )


def _leave_out_a_merge(bpe: Tokenizer) -> None:
    """Make a word of the vocabulary one that no merge leads to."""
    content = json.loads(bpe.to_str())
    merges = [tuple(merge) for merge in content["model"]["merges"]]
    bpe.model = models.BPE(content["model"]["vocab"], merges[:-1], ignore_merges=True)


def write_gguf(
    file: Path,
    rule: str = "smollm",
    kind: str = "F32",
    tied: bool = True,
    architecture: str = "llama",
    factor: float | None = None,
    settings: dict[str, Any] | None = None,
    tensors: dict[str, np.ndarray] | None = None,
) -> tuple[Any, PreTrainedTokenizerFast]:
    """Write a LLaMA or Qwen2 of two layers, and return what is in the file: matrices rounded to the format `kind`."""
    tokenizer = tokenizer_of(rule)
    model = _network(architecture, len(tokenizer), tied, factor)
    writer = gguf.GGUFWriter(file, architecture)
    _write_settings(writer, model.config, settings or {})
    _write_tokenizer(writer, tokenizer, rule)
    for name, weight in model.named_parameters():
        array = weight.detach().numpy()
        stored = gguf.GGMLQuantizationType.F32 if array.ndim == 1 else gguf.GGMLQuantizationType[kind]
        heads = {"q_proj": HEADS, "k_proj": KEYS}.get(name.split(".")[-2], 0) if architecture == "llama" else 0
        turned = _turned(array, heads)
        packed = gguf.quants.quantize(turned, stored)
        writer.add_tensor(gguf_name(name), packed, raw_dtype=stored)
        unpacked = gguf.quants.dequantize(packed, stored).reshape(array.shape)
        weight.data = torch.from_numpy(_turned(unpacked, heads, back=True).copy())
    if factor is not None:
        writer.add_tensor("rope_freqs.weight", llama_3_factors(factor, 16, 500_000.0))
    for name, array in (tensors or {}).items():
        writer.add_tensor(name, array)
    _write_out(writer)
    return model.eval(), tokenizer


def llama_3_factors(factor: float, width: int, theta: float) -> np.ndarray:
    """By what llama.cpp divides the frequencies of a Llama 3.1: waves above 8,192 tokens by it, below 2,048 by 1."""
    waves = 2 * np.pi * theta ** (np.arange(0, width, 2) / width)
    smooth = np.clip((8192 / waves - 1) / 3, 0, 1)
    return (1 / ((1 - smooth) / factor + smooth)).astype(np.float32)


def gguf_name(name: str) -> str:
    """What a parameter of transformers' LLaMA is called in GGUF."""
    module, _, end = name.rpartition(".")
    if module in OUTER:
        return f"{OUTER[module]}.{end}"
    _, _, layer, inner = module.split(".", 3)
    return f"blk.{layer}.{NAMES[inner]}.{end}"


def _network(architecture: str, vocabulary: int, tied: bool, factor: float | None = None) -> Any:
    torch.manual_seed(7)
    kind, make = {"llama": (LlamaConfig, LlamaForCausalLM), "qwen2": (Qwen2Config, Qwen2ForCausalLM)}[architecture]
    rotary = {"rope_type": "default", "rope_theta": 500_000.0}
    if factor is not None:
        old = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
        rotary |= {"rope_type": "llama3", "factor": factor, **old}
    config = kind(
        vocab_size=vocabulary, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=HEADS,
        num_key_value_heads=KEYS, max_position_embeddings=256, initializer_range=0.15, tie_word_embeddings=tied,
        rms_norm_eps=2**-17, rope_parameters=rotary, bos_token_id=1, eos_token_id=2, pad_token_id=2,
    )  # fmt: skip
    model = make(config)
    for name, weight in model.named_parameters():
        if name.endswith(".bias"):
            torch.nn.init.normal_(weight)
    return model


def _turned(array: np.ndarray, heads: int, back: bool = False) -> np.ndarray:
    """Queries and keys with the two halves of each head as llama.cpp turns a LLaMA's, neighbours; or back."""
    if not heads:
        return array
    pairs = (len(array) // heads // 2, 2) if back else (2, len(array) // heads // 2)
    return array.reshape(heads, *pairs, -1).swapaxes(1, 2).reshape(array.shape)


def _write_settings(writer: gguf.GGUFWriter, config: Any, more: dict[str, Any]) -> None:
    writer.add_name("tiny")
    writer.add_license("apache-2.0")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    width = config.hidden_size // config.num_attention_heads
    writer.add_rope_dimension_count(width)
    writer.add_vocab_size(config.vocab_size)
    writer.add_key_length(width)
    adders = {str: writer.add_string, bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32}
    for key, value in more.items():
        adders[type(value)](key, value)


def _write_tokenizer(writer: gguf.GGUFWriter, tokenizer: PreTrainedTokenizerFast, rule: str) -> None:
    content = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(content["vocab"], key=content["vocab"].__getitem__)
    writer.add_tokenizer_model("gpt2")
    if rule:
        writer.add_tokenizer_pre(rule)
    writer.add_token_list(tokens)
    kinds = {True: gguf.TokenType.CONTROL, False: gguf.TokenType.NORMAL}
    writer.add_token_types([kinds[token in SPECIAL] for token in tokens])
    writer.add_token_merges([" ".join(merge) for merge in content["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_unk_token_id(0)
    writer.add_pad_token_id(2)
    if rule != "llama-bpe":  # whose older files leave it to the rule
        writer.add_add_bos_token(False)
    writer.add_chat_template(TEMPLATE)


def write_pieces(file: Path, prefix: bool) -> SentencePieceProcessor:
    """Write a LLaMA with sentencepiece's vocabulary, which puts a space before a text or does not; return that."""
    made = BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 3), model_writer=made, model_type="bpe", vocab_size=320, byte_fallback=True,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=prefix,
        allow_whitespace_only_pieces=True, minloglevel=2,
    )  # fmt: skip
    pieces = SentencePieceProcessor(model_proto=made.getvalue())
    model = _network("llama", len(pieces), tied=True)
    writer = gguf.GGUFWriter(file, "llama")
    _write_settings(writer, model.config, {})
    writer.add_tokenizer_model("llama")
    ids = range(len(pieces))
    kinds = [(pieces.is_unknown, 2), (pieces.is_control, 3), (pieces.is_byte, 6), (lambda index: True, 1)]
    writer.add_token_list([pieces.id_to_piece(index) for index in ids])
    writer.add_token_scores([pieces.get_score(index) for index in ids])
    writer.add_token_types([next(kind for holds, kind in kinds if holds(index)) for index in ids])
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(False)
    writer.add_add_space_prefix(prefix)
    for name, weight in model.named_parameters():
        writer.add_tensor(gguf_name(name), weight.detach().numpy())
    _write_out(writer)
    return pieces


def _write_out(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
