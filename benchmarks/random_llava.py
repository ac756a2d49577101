"""A LLaVA of random weights with 24 x 24 patches, as LLaVA-1.5's, for what only has to take its time."""

from pathlib import Path
from typing import Any

import torch
from transformers import CLIPImageProcessorPil, CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlamaForCausalLM

from lapilli.model.llava import Llava, join
from lapilli.model.parts import part_path, read_language
from lapilli.model.reading import quiet

SIDE, PATCH = 336, 14


def random_llava(
    folder: Path,
    vision: dict[str, Any],
    language: dict[str, Any],
    side: int = SIDE,
    dtype: torch.dtype = torch.float32,
) -> Llava:
    """Its parts are saved in `folder` on the way; `vision` and `language` are what their configurations say.

    Pictures are of `side` pixels, weights are kept in `dtype`.
    """
    tokenizer = read_language(part_path("pebble-lm")).tokenizer
    torch.manual_seed(0)
    eye = CLIPVisionModel(CLIPVisionConfig(image_size=side, patch_size=PATCH, **vision))
    voice = LlamaForCausalLM(LlamaConfig(**{"vocab_size": len(tokenizer)} | language))
    prepare = CLIPImageProcessorPil(size={"shortest_edge": side}, crop_size={"height": side, "width": side})
    with quiet():
        for name, parts in {"eye": (eye, prepare), "voice": (voice, tokenizer)}.items():
            for part in parts:
                (part.to(dtype) if isinstance(part, torch.nn.Module) else part).save_pretrained(folder / name)
    return join(folder / "eye", folder / "voice")
