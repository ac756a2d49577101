"""Train pebble-vision: a CLIP vision encoder, contrastively, on scenes and what people say about them.

Three losses, each a cross-entropy over cosine similarities:
* picture and caption, over the batch (Radford et al., CLIP, arXiv 2103.00020), from the CLS token;
* phrase and picture, over the batch, where a phrase meets the patch that suits it best (late interaction: Yao et al.,
  FILIP, arXiv 2111.07783), which keeps what a patch shows in that patch;
* a phrase against the same phrase with one fact changed (hard negatives: Yuksekgonul et al., arXiv 2210.01936), which
  asks for every fact, and for which fact belongs to which thing.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import cross_entropy, normalize, pad
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerFast,
)

from lapilli.data.scenes.phrases import Captioned, caption_seed, draw_seed
from lapilli.data.scenes.scene import SIDE
from lapilli.training.muon import Muon
from lapilli.training.tokenizer import tokenizer_from


@dataclass(frozen=True)
class VisionRecipe:
    """How pebble-vision is trained; `recipes/pebble-vision.yaml` holds the values of the shipped one."""

    stage: Literal["vision"]
    out: Path
    tokenizer: Path | None = None
    seed: int = 0
    scenes: int = 30_000
    steps: int = 2_000
    batch_size: int = 128
    learning_rate: float = 1e-3
    muon_learning_rate: float = 2e-2
    weight_decay: float = 0.01
    patch: int = 16
    width: int = 128
    layers: int = 5
    heads: int = 4
    text_width: int = 64
    text_layers: int = 2
    log_every: int = 25


GRAIN = 0.3
"""The variance below which a patch's principal component is more grain than picture."""


class Contrast(nn.Module):
    """The encoder of pictures beside an encoder of texts, which only serves to train it, and the space they share."""

    def __init__(self, recipe: VisionRecipe, vocabulary: int, stop: int) -> None:
        super().__init__()
        width = recipe.width
        self.vision = CLIPVisionModel(
            CLIPVisionConfig(
                image_size=SIDE, patch_size=recipe.patch, hidden_size=width, intermediate_size=4 * width,
                num_hidden_layers=recipe.layers, num_attention_heads=recipe.heads, projection_dim=width,
            )
        )  # fmt: skip
        self.text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=vocabulary, hidden_size=recipe.text_width, intermediate_size=2 * recipe.text_width,
                num_hidden_layers=recipe.text_layers, num_attention_heads=recipe.heads, max_position_embeddings=128,
                eos_token_id=stop, bos_token_id=stop, pad_token_id=stop,
            )
        )  # fmt: skip
        self.whole = nn.Linear(width, width, bias=False)
        self.patch = nn.Linear(width, width, bias=False)
        self.caption = nn.Linear(recipe.text_width, width, bias=False)
        self.phrase = nn.Linear(recipe.text_width, width, bias=False)
        self.stop = stop
        self.log_scales = nn.Parameter(torch.full((3,), math.log(10.0)))

    def losses(self, pixels: Tensor, captions: Tensor, phrases: Tensor, wrong: Tensor, owner: Tensor) -> Tensor:
        """The three losses, shape (3,). `pixels` is (image, 3, row, column) and the ids are (text, token).

        `phrases[i]` is true of image `owner[i]` and `wrong[i]`, of the same length, is not.
        """
        seen = self.vision(pixels)
        scales = self.log_scales.clamp(max=math.log(100.0)).exp()
        patches = normalize(self.patch(seen.last_hidden_state[:, 1:]), dim=-1)
        whole = normalize(self.whole(seen.pooler_output), dim=-1)
        said = normalize(self.caption(self._read(captions)), dim=-1)
        both = self._read(torch.cat((phrases, wrong)))
        right, false = normalize(self.phrase(both), dim=-1).chunk(2)
        return torch.stack(
            (
                _of_captions(scales[0], whole, said),
                _of_phrases(scales[1], right, patches, owner),
                _of_facts(scales[2], right, false, patches[owner]),
            )
        )

    def _read(self, ids: Tensor) -> Tensor:
        """The state at each text's stop token, (text, d_model); CLIP's own pooler looks elsewhere when that id is 2."""
        states: Tensor = self.text(ids).last_hidden_state
        return states[torch.arange(len(ids)), (ids == self.stop).int().argmax(-1)]


def _of_captions(scale: Tensor, whole: Tensor, said: Tensor) -> Tensor:
    """Which caption belongs to which picture, both ways; unit vectors (image, d), caption i being of image i."""
    pairs = scale * whole @ said.T
    target = torch.arange(len(pairs))
    return (cross_entropy(pairs, target) + cross_entropy(pairs.T, target)) / 2


def _of_phrases(scale: Tensor, right: Tensor, patches: Tensor, owner: Tensor) -> Tensor:
    """Which picture a phrase belongs to, by its best patch there; unit vectors (phrase, d) and (image, patch, d)."""
    meeting = torch.einsum("td,ipd->tip", right, patches).amax(-1)
    return cross_entropy(scale * meeting, owner)


def _of_facts(scale: Tensor, right: Tensor, false: Tensor, patches: Tensor) -> Tensor:
    """Which of two phrases is true of their picture; unit vectors (phrase, d) twice and (phrase, patch, d)."""
    own = torch.einsum("tpd,ctd->tcp", patches, torch.stack((right, false))).amax(-1)
    return cross_entropy(scale * own, torch.zeros(len(own), dtype=torch.long))


def train_vision(recipe: VisionRecipe, report: Callable[..., None]) -> CLIPVisionModel:
    """Train from nothing; the same seed gives the same weights.

    Calls `report(step, **figures)` every `log_every` steps.
    """
    torch.manual_seed(recipe.seed)
    tokenizer = tokenizer_from(recipe.tokenizer)
    seeds = [f"vision-{recipe.seed}-{index}" for index in range(recipe.scenes)]
    pictures = _render(seeds)
    batches = _batches(recipe, seeds, pictures, tokenizer)
    model = Contrast(recipe, len(tokenizer), tokenizer.eos_token_id)
    _whiten(model.vision.embeddings, pictures[:1000])
    optimizers = _optimizers(model, recipe)
    schedules = [torch.optim.lr_scheduler.LambdaLR(one, lambda step: _rate(step, recipe.steps)) for one in optimizers]
    for step, batch in enumerate(batches, start=1):
        losses = model.losses(*batch)
        losses.sum().backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        model.zero_grad(set_to_none=True)
        if step % recipe.log_every == 0:
            names = ("caption_loss", "phrase_loss", "fact_loss")
            report(step, **dict(zip(names, losses.tolist(), strict=True)))
    return model.vision


def _whiten(embeddings: Any, pictures: np.ndarray) -> None:
    """Begin with patches taken apart into their principal components, made about equally loud, and with places as loud.

    `embeddings` are CLIP's: a convolution for the patches, and a vector for every place. Neighbouring pixels are alike:
    random filters see the mean colour of a patch and little else, so that edges and letters come late. With the
    0.02 that CLIP's position embeddings begin with, places hardly came at all.
    """
    patches = functional.unfold(normalised(pictures), embeddings.patch_size, stride=embeddings.patch_size)
    flat = patches.transpose(1, 2).flatten(0, 1).double()
    values, vectors = torch.linalg.eigh(torch.cov(flat.T))
    weight: Tensor = embeddings.patch_embedding.weight
    width = weight.shape[0]
    filters = (vectors[:, -width:] / (values[-width:] + GRAIN).sqrt()).T
    with torch.no_grad():
        weight.copy_(filters.float().view_as(weight))
        embeddings.position_embedding.weight.normal_(std=0.5)


def _optimizers(model: Contrast, recipe: VisionRecipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for the rest; biases, norms and scales do not decay."""
    layers = [p for name, p in model.named_parameters() if ".layers." in name and p.ndim == 2]
    rest = [p for name, p in model.named_parameters() if not (".layers." in name and p.ndim == 2)]
    groups = [
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return [
        Muon(layers, lr=recipe.muon_learning_rate, weight_decay=recipe.weight_decay),
        torch.optim.AdamW(groups, lr=recipe.learning_rate, betas=(0.9, 0.98)),
    ]


def _batches(
    recipe: VisionRecipe, seeds: list[str], pictures: np.ndarray, tokenizer: PreTrainedTokenizerFast
) -> Iterator[tuple[Tensor, ...]]:
    """One batch a step: pictures that were painted once, with fresh words about them."""
    rng = random.Random(recipe.seed)
    for _ in range(recipe.steps):
        chosen = rng.sample(range(recipe.scenes), recipe.batch_size)
        yield _batch(pictures[chosen], [caption_seed(seeds[index], rng) for index in chosen], tokenizer)


def save_vision(model: CLIPVisionModel, folder: Path) -> None:
    """The encoder and its image processor, as `transformers` reads them."""
    model.save_pretrained(folder)
    side = {"height": SIDE, "width": SIDE}
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=side).save_pretrained(folder)


def _render(seeds: list[str]) -> np.ndarray:
    """The pictures of the seeds, uint8 (image, row, column, channel)."""
    with ProcessPoolExecutor() as pool:
        return np.stack(list(pool.map(draw_seed, seeds, chunksize=256)))


def _rate(step: int, steps: int) -> float:
    """Three per cent of warm-up, then half a cosine down to zero."""
    warmup = max(1, int(0.03 * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def normalised(pictures: np.ndarray) -> Tensor:
    """uint8 `(image, row, column, channel)` to what the CLIP image processor makes of pictures of this size."""
    processor = CLIPImageProcessorPil()
    mean, std = torch.tensor(processor.image_mean), torch.tensor(processor.image_std)
    pixels = torch.from_numpy(pictures).float() / 255
    return ((pixels - mean) / std).permute(0, 3, 1, 2).contiguous()


def _batch(pictures: np.ndarray, said: list[Captioned], tokenizer: PreTrainedTokenizerFast) -> tuple[Tensor, ...]:
    """The arguments of `Contrast.losses`."""
    owner = torch.tensor([index for index, one in enumerate(said) for _ in one.phrases])
    phrases = _ids([phrase for one in said for phrase in one.phrases], tokenizer)
    wrong = _ids([phrase for one in said for phrase in one.wrong], tokenizer)
    width = max(phrases.shape[1], wrong.shape[1])
    phrases, wrong = (pad(part, (0, width - part.shape[1]), value=tokenizer.pad_token_id) for part in (phrases, wrong))
    return normalised(pictures), _ids([one.caption for one in said], tokenizer), phrases, wrong, owner


def _ids(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """The texts with a stop token, padded to the longest: (text, token)."""
    stopped = [text + tokenizer.eos_token for text in texts]
    ids: Tensor = tokenizer(stopped, padding=True, return_tensors="pt", max_length=128, truncation=True)["input_ids"]
    return ids
