"""Train pebble-vision: a CLIP vision encoder, contrastively, on scenes and captions.

Three losses, each a cross-entropy over cosine similarities:
* picture and caption, over the batch (Radford et al., CLIP, arXiv 2103.00020), from the CLS token;
* thing and phrase, over the batch, where a thing is the patch that holds its centre (phrases meet regions: Zhong et
  al., RegionCLIP, arXiv 2112.09106);
* patch and fact, over all alternatives to the fact: a red object or a blue one, a star or a ring, an A or an E, the
  only one of its color or one of three. Every patch learns every fact in every batch, and facts are learned apart from
  each other, so that new combinations of them are not new facts.

The last two meet the patches of the layer before the last, which a LLaVA reads.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.functional import cross_entropy, normalize
from transformers import (
    CLIPImageProcessorPil,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPVisionConfig,
    CLIPVisionModel,
    PreTrainedTokenizerFast,
)

from lapilli.core.pool import end_with_parent, importing_nothing_here
from lapilli.data.scenes.phrases import FACTS, UNSAID, caption_seed, draw_seed, facts_seed
from lapilli.data.scenes.scene import SIDE
from lapilli.training.muon import Muon, layer_matrices, muon_group
from lapilli.training.part_recipe import VisionRecipe

GRAIN = 0.3
"""The variance below which a patch's principal component is more grain than picture."""


@dataclass(frozen=True)
class Batch:
    """Pictures and texts about them. Texts are ids, (text, token).

    `pixels` is (image, 3, row, column). `phrases[i]` is true of the thing in patch `place[i]` of image `owner[i]`.
    `words` are all phrases of `FACTS`, and `facts`, (image, patch, fact), which of them are true.
    """

    pixels: Tensor
    captions: Tensor
    phrases: Tensor
    words: Tensor
    owner: Tensor
    place: Tensor
    facts: Tensor


class Contrast(nn.Module):
    """The vision encoder, a text encoder that only serves to train it, and the space that they share."""

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
        self.patch = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width, bias=False))
        self.caption = nn.Linear(recipe.text_width, width, bias=False)
        self.phrase = nn.Linear(recipe.text_width, width, bias=False)
        self.stop = stop
        self.log_scales = nn.Parameter(torch.full((3,), math.log(10.0)))

    def losses(self, batch: Batch) -> Tensor:
        """The three losses, shape (3,)."""
        encoded = self.vision(batch.pixels, output_hidden_states=True)
        scales = self.log_scales.clamp(max=math.log(100.0)).exp()
        patches = normalize(self.patch(encoded.hidden_states[-2][:, 1:]), dim=-1)
        whole = normalize(self.whole(encoded.pooler_output), dim=-1)
        captions = normalize(self.caption(self._read(batch.captions)), dim=-1)
        phrases = normalize(self.phrase(self._read(batch.phrases)), dim=-1)
        facts = normalize(self.phrase(self._read(batch.words)), dim=-1)
        things = patches[batch.owner, batch.place]
        return torch.stack(
            (
                _pair_loss(scales[0] * whole @ captions.T, batch.captions),
                _pair_loss(scales[1] * things @ phrases.T, batch.phrases),
                _fact_loss(scales[2] * patches @ facts.T, batch.facts),
            )
        )

    def _read(self, ids: Tensor) -> Tensor:
        """The state at each text's stop token, (text, d_model); CLIP's own pooler takes another when that id is 2."""
        states: Tensor = self.text(ids).last_hidden_state
        return states[torch.arange(len(ids)), (ids == self.stop).int().argmax(-1)]


def _pair_loss(scores: Tensor, texts: Tensor) -> Tensor:
    """Return the loss of matching texts and pictures or things, both ways; `scores` (thing, text) pairs the diagonal.

    A text that equals another is not counted as a wrong answer; `texts` are the ids, (text, token).
    """
    same = (texts[:, None] == texts[None]).all(-1).fill_diagonal_(False)
    scores = scores.masked_fill(same, float("-inf"))
    target = torch.arange(len(scores))
    return (cross_entropy(scores, target) + cross_entropy(scores.T, target)) / 2


def _fact_loss(scores: Tensor, facts: Tensor) -> Tensor:
    """Return the loss of choosing the true phrase of each line of `FACTS`: the sum over lines of the mean over patches.

    `scores` are (image, patch, phrase), all lines one after another, and `facts` (image, patch, fact).
    """
    lines = torch.split(scores, [len(line) for line in FACTS.values()], dim=-1)
    losses = [
        cross_entropy(line.flatten(0, 1), fact.flatten(), ignore_index=UNSAID)
        for line, fact in zip(lines, facts.unbind(-1), strict=True)
        if (fact != UNSAID).any()
    ]
    return torch.stack(losses).sum()


def train_vision(
    recipe: VisionRecipe, tokenizer: PreTrainedTokenizerFast, report: Callable[..., None]
) -> CLIPVisionModel:
    """Train a vision encoder from random weights; the same seed gives the same weights.

    Calls `report(step, **figures)` every `log_every` steps and after the last one.
    """
    torch.manual_seed(recipe.seed)
    seeds = [f"vision-{recipe.seed}-{index}" for index in range(recipe.scenes)]
    pictures = _render(seeds)
    batches = _batches(recipe, seeds, pictures, tokenizer)
    model = Contrast(recipe, len(tokenizer), tokenizer.eos_token_id)
    _whiten(model.vision.embeddings, pictures[:1000])
    optimizer = _optimizer(model, recipe)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, recipe.steps))
    for step, batch in enumerate(batches, start=1):
        losses = model.losses(batch)
        losses.sum().backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        model.zero_grad(set_to_none=True)
        if step % recipe.log_every == 0 or step == recipe.steps:
            names = ("caption_loss", "phrase_loss", "fact_loss")
            report(step, **dict(zip(names, losses.tolist(), strict=True)))
    return model.vision


def _whiten(embeddings: Any, pictures: np.ndarray) -> None:
    """Initialise the filters with the whitened principal components of patches, and the position embeddings as large.

    `embeddings` are CLIP's: a convolution for the patches, and a vector for every position. Neighbouring pixels are
    alike: random filters respond to the mean color of a patch and to little else, so that edges and letters are learned
    late. With CLIP's own standard deviation of 0.02 for the position embeddings, places were hardly learned at all.
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


def _optimizer(model: Contrast, recipe: VisionRecipe) -> Muon:
    """Muon for the matrices of the layers, AdamW for the rest; biases, norms and scales do not decay."""
    decay = recipe.weight_decay
    matrices, rest = layer_matrices(model)
    groups = [
        muon_group(matrices, recipe.muon_learning_rate, weight_decay=decay),
        {"params": [p for p in rest if p.ndim > 1], "weight_decay": decay},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return Muon(groups, lr=recipe.learning_rate, betas=(0.9, 0.98))


def _batches(
    recipe: VisionRecipe, seeds: list[str], pictures: np.ndarray, tokenizer: PreTrainedTokenizerFast
) -> Iterator[Batch]:
    """Yield one batch a step: pictures that were painted once, with new texts about them."""
    rng = random.Random(recipe.seed)
    for _ in range(recipe.steps):
        chosen = rng.sample(range(recipe.scenes), recipe.batch_size)
        yield _batch(pictures[chosen], [seeds[index] for index in chosen], rng, recipe.patch, tokenizer)


def save_vision(model: CLIPVisionModel, folder: Path) -> None:
    """Save the encoder and its image processor, as `transformers` reads them."""
    model.save_pretrained(folder)
    side = {"height": SIDE, "width": SIDE}
    CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=side).save_pretrained(folder)


def _render(seeds: list[str]) -> np.ndarray:
    """The pictures of the seeds, uint8 (image, row, column, channel)."""
    with importing_nothing_here(), ProcessPoolExecutor(initializer=end_with_parent) as pool:
        return np.stack(list(pool.map(draw_seed, seeds, chunksize=256)))


def _rate(step: int, steps: int) -> float:
    """Three per cent of warm-up, then half a cosine down to zero."""
    warmup = max(1, int(0.03 * steps))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))


def normalised(pictures: np.ndarray) -> Tensor:
    """Return uint8 `(image, row, column, channel)` as the CLIP image processor returns pictures of this size."""
    processor = CLIPImageProcessorPil()
    mean, std = torch.tensor(processor.image_mean), torch.tensor(processor.image_std)
    pixels = torch.from_numpy(pictures).float() / 255
    return ((pixels - mean) / std).permute(0, 3, 1, 2).contiguous()


def _batch(
    pictures: np.ndarray, seeds: list[str], rng: random.Random, patch: int, tokenizer: PreTrainedTokenizerFast
) -> Batch:
    captioned = [caption_seed(seed, rng, patch) for seed in seeds]
    return Batch(
        pixels=normalised(pictures),
        captions=_ids([scene.caption for scene in captioned], tokenizer),
        phrases=_ids([phrase for scene in captioned for phrase in scene.phrases], tokenizer),
        words=_ids([words for line in FACTS.values() for words in line], tokenizer),
        owner=torch.tensor([index for index, scene in enumerate(captioned) for _ in scene.phrases]),
        place=torch.tensor([place for scene in captioned for place in scene.patches]),
        facts=torch.from_numpy(np.stack([facts_seed(seed, patch) for seed in seeds])).long(),
    )


def _ids(texts: list[str], tokenizer: PreTrainedTokenizerFast) -> Tensor:
    """Return the ids of the texts with a stop token, padded to the longest: (text, token)."""
    stopped = [text + tokenizer.eos_token for text in texts]
    ids: Tensor = tokenizer(stopped, padding=True, return_tensors="pt", max_length=128, truncation=True)["input_ids"]
    return ids
