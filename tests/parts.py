"""Tiny random parts for tests: vision encoders and language models of real Hugging Face classes, in folders.

`part("clip")` and `joined("clip", "llama")` make a folder on first use; tests read it and never write into it.
"""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
    SiglipImageProcessorPil,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from lapilli.model.llava import join, save
from lapilli.model.reading import quiet

IMAGE_SIZE = 24
PATCH_SIZE = 8
FINE = 50  # pixels: 6 x 6 patches, and two pixels that fill none
HIDDEN = 32
WORDS = 360  # of either tokenizer, before <image>

SENTENCES = [
    "A chat between a curious user and an artificial intelligence assistant.",
    "The assistant gives helpful, detailed, and polite answers to the user's questions.",
    "USER: What color is the circle? ASSISTANT: red",
    "USER: How many squares are there? ASSISTANT: three",
    "a small blue triangle above a large green square",
    "Is the red circle left of the yellow star? yes no",
]

_HOLD = TemporaryDirectory(prefix="lapilli-parts-")  # kept until the tests end


@cache
def part(name: str) -> Path:
    """The folder of a part.

    They are (whole_, fine_) clip, (fine_) siglip, qwen2, (tied_, mha_, biased_, wide_) llama, or (narrow_) mistral.
    """
    makers = {
        "clip": make_clip,
        "whole_clip": make_whole_clip,
        "siglip": make_siglip,
        "fine_clip": lambda folder: make_clip(folder, FINE),
        "fine_siglip": lambda folder: make_siglip(folder, FINE),
        "llama": make_llama,
        "tied_llama": lambda folder: make_llama(folder, tied=True),
        "mha_llama": lambda folder: make_llama(folder, num_key_value_heads=4, attention_bias=True),
        "biased_llama": lambda folder: make_llama(folder, attention_bias=True, mlp_bias=True),
        "wide_llama": lambda folder: make_llama(folder, hidden_size=2048, head_dim=12, num_hidden_layers=6),
        "mistral": make_mistral,
        "narrow_mistral": lambda folder: make_mistral(folder, window=16),
        "qwen2": make_qwen2,
    }
    with quiet():
        return makers[name](Path(_HOLD.name) / name)


def joined(vision: str, language: str, connector: str = "mlp2x_gelu") -> Path:
    """The folder of a LLaVA joined from two parts, with the template that suits the language model."""
    return _joined(vision, language, connector)


@cache
def _joined(vision: str, language: str, connector: str) -> Path:
    template = {"qwen2": "chatml", "mistral": "mistral"}.get(language, "vicuna_v1")
    folder = Path(_HOLD.name) / f"{vision}-{language}-{connector}"
    save(join(part(vision), part(language), connector, template), folder)
    return folder


def picture(seed: int, width: int = IMAGE_SIZE, height: int = IMAGE_SIZE) -> Image.Image:
    """A picture of noise, RGB."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def make_clip(folder: Path, image_size: int = IMAGE_SIZE) -> Path:
    """A CLIPVisionModel: 9 patches and a class token."""
    torch.manual_seed(1)
    sizes = {"hidden_size": HIDDEN, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = CLIPVisionConfig(**sizes, image_size=image_size, patch_size=PATCH_SIZE, projection_dim=16)
    CLIPVisionModel(config).save_pretrained(folder)
    _clip_processor(image_size).save_pretrained(folder)
    return folder


def make_whole_clip(folder: Path) -> Path:
    """A CLIPModel: both towers in one folder, as released checkpoints have it."""
    torch.manual_seed(2)
    sizes = {"hidden_size": HIDDEN, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = CLIPConfig(
        text_config={**sizes, "vocab_size": 64},
        vision_config={**sizes, "image_size": IMAGE_SIZE, "patch_size": PATCH_SIZE},
        projection_dim=16,
    )
    CLIPModel(config).save_pretrained(folder)
    _clip_processor().save_pretrained(folder)
    return folder


def make_siglip(folder: Path, image_size: int = IMAGE_SIZE) -> Path:
    """A SiglipVisionModel: 9 patches, no class token."""
    torch.manual_seed(3)
    sizes = {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 4}
    config = SiglipVisionConfig(**sizes, image_size=image_size, patch_size=PATCH_SIZE)
    SiglipVisionModel(config).save_pretrained(folder)
    SiglipImageProcessorPil(size={"height": image_size, "width": image_size}).save_pretrained(folder)
    return folder


def make_llama(folder: Path, tied: bool = False, **more: Any) -> Path:
    """A LlamaForCausalLM whose tokenizer adds <s> and has </s>, but neither <image> nor a padding token."""
    torch.manual_seed(4)
    tokenizer = _llama_tokenizer()
    sizes = {**_llama_sizes(tokenizer), **more}
    LlamaForCausalLM(LlamaConfig(**sizes, tie_word_embeddings=tied)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def make_mistral(folder: Path, window: int = 64) -> Path:
    """A MistralForCausalLM with the tokenizer of `make_llama`, and a sliding window that its context exceeds."""
    torch.manual_seed(6)
    tokenizer = _llama_tokenizer()
    MistralForCausalLM(MistralConfig(**_llama_sizes(tokenizer), sliding_window=window)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _llama_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = _tokenizer(["<unk>", "<s>", "</s>"], bos="<s>")
    tokenizer.add_special_tokens({"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"})
    return tokenizer


def _llama_sizes(tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 48,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "initializer_range": 0.15,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
    }


def make_qwen2(folder: Path) -> Path:
    """A Qwen2ForCausalLM: tied embeddings, a vocabulary padded beyond the tokenizer, ChatML tokens, no BOS."""
    torch.manual_seed(5)
    tokenizer = _tokenizer(["<|endoftext|>", "<|im_start|>", "<|im_end|>"], bos=None)
    tokenizer.add_special_tokens({"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"})
    config = Qwen2Config(
        vocab_size=len(tokenizer) + 7,
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        initializer_range=0.15,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def _clip_processor(image_size: int = IMAGE_SIZE) -> CLIPImageProcessorPil:
    crop = {"height": image_size, "width": image_size}
    return CLIPImageProcessorPil(size={"shortest_edge": image_size}, crop_size=crop)


def _tokenizer(special: list[str], bos: str | None) -> PreTrainedTokenizerFast:
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    bpe.train_from_iterator(SENTENCES, trainer)
    if bos is not None:
        pair = [(bos, bpe.token_to_id(bos))]
        bpe.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=pair)
    return PreTrainedTokenizerFast(tokenizer_object=bpe)
