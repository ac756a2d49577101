"""Train pebble-lm: a small Llama, on text alone: descriptions, and conversations about them.

What it must learn is to look a fact up in its context. Small transformers do so late and suddenly; three things bring
the moment forward: initial weights scaled to the width (1 / sqrt(d_model), not the 0.02 made for wide models), one or
two things at first and more later, and an optimizer that keeps the hidden matrices' updates orthogonal (Muon: Jordan et
al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.optim.lr_scheduler import LambdaLR
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lapilli.core.codec import Codec
from lapilli.core.layout import Role
from lapilli.core.template import IMAGE_MARK, TEMPLATES
from lapilli.data.encode import IGNORED, encode
from lapilli.data.scenes.questions import TYPES
from lapilli.data.scenes.textual import Pieces, pairs, reading_sample, retelling, statements
from lapilli.training.muon import Muon
from lapilli.training.tokenizer import tokenizer_from

_Row = tuple[NDArray[np.int64], NDArray[np.int64]]
"""Ids and labels of one text."""


@dataclass(frozen=True)
class Lesson:
    """A part of the curriculum: for `steps` steps, scenes of at most `things` things with `questions` questions.

    Shares of every batch are something else: `copied` descriptions said twice word by word, since a look-up is a copy
    from a place that has to be found; `retold` scenes told twice in other words; `paired` lists with a sentence about
    each thing; `stated` descriptions with sentences that follow. Without `system` the template's opening is left out, a
    fifth of a short conversation and always the same.
    """

    steps: int
    things: int
    questions: int
    batch_size: int
    copied: float = 0.0
    retold: float = 0.0
    paired: float = 0.0
    stated: float = 0.0
    kinds: list[str] = field(default_factory=lambda: list(TYPES))
    system: bool = True


@dataclass(frozen=True)
class LanguageRecipe:
    """How pebble-lm is trained; `recipes/pebble-lm.yaml` holds the values of the shipped one."""

    stage: Literal["language"]
    out: Path
    lessons: list[Lesson]
    tokenizer: Path | None = None
    seed: int = 0
    width: int = 128
    layers: int = 5
    heads: int = 4
    feed_forward: int = 256
    learning_rate: float = 2e-3
    muon_learning_rate: float = 2e-2
    log_every: int = 25

    @property
    def steps(self) -> int:
        """Of all lessons."""
        return sum(lesson.steps for lesson in self.lessons)


def new_language_model(recipe: LanguageRecipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Random weights in which a token's identity is loud and looking for an equal token is the first thing to do.

    Embeddings of variance one and layers that begin by adding nothing keep what a token is from drowning in what the
    first layers make of it; half of the heads begin with equal queries and keys (mimetic initialization: Trockman and
    Kolter, arXiv 2305.09828).
    """
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=recipe.width, intermediate_size=recipe.feed_forward,
        num_hidden_layers=recipe.layers, num_attention_heads=recipe.heads, num_key_value_heads=recipe.heads,
        max_position_embeddings=2048, tie_word_embeddings=False, initializer_range=recipe.width**-0.5,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for layer in model.model.layers:
            rows = slice(0, recipe.width // 2)
            layer.self_attn.k_proj.weight[rows] = layer.self_attn.q_proj.weight[rows]
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
        embeddings = model.model.embed_tokens.weight
        embeddings.normal_().add_(torch.randn(recipe.width))
    return model


def train_language(recipe: LanguageRecipe, report: Callable[..., None]) -> LlamaForCausalLM:
    """Train from nothing; the same seed gives the same weights.

    Calls `report(step, **figures)` every `log_every` steps.
    """
    torch.manual_seed(recipe.seed)
    tokenizer = tokenizer_from(recipe.tokenizer)
    model = new_language_model(recipe, tokenizer)
    optimizers = _optimizers(model, recipe)
    lessons = [lesson for lesson in recipe.lessons for _ in range(lesson.steps)]
    schedules = [LambdaLR(optimizer, lambda step: _rate(step, len(lessons))) for optimizer in optimizers]
    for step, lesson in enumerate(lessons):
        loss, correct = _loss(model, _batch(recipe, lesson, tokenizer, step))
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        model.zero_grad(set_to_none=True)
        if (step + 1) % recipe.log_every == 0:
            report(step + 1, loss=loss.item(), token_accuracy=correct)
    return model


def save_language(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """The model and its tokenizer with the chat template, as `transformers` reads them."""
    model.save_pretrained(folder)
    tokenizer.chat_template = TEMPLATES["vicuna_v1"].jinja()
    tokenizer.save_pretrained(folder)


def _optimizers(model: LlamaForCausalLM, recipe: LanguageRecipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the layers, AdamW for embeddings, head and norms."""
    hidden = [p for name, p in model.named_parameters() if p.ndim == 2 and ".layers." in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or ".layers." not in name]
    return [
        Muon(hidden, lr=recipe.muon_learning_rate, weight_decay=0.01),
        torch.optim.AdamW(others, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _rate(step: int, steps: int) -> float:
    """A short warm-up, a plateau, and a straight line down to zero over the last half."""
    return min(1.0, (step + 1) / 50, 2 * (steps - step) / steps)


def _loss(model: LlamaForCausalLM, batch: dict[str, Tensor]) -> tuple[Tensor, float]:
    """Mean cross-entropy over the learned tokens, and the share of them that the model would say itself."""
    states = model.model(input_ids=batch["input_ids"], use_cache=False).last_hidden_state[:, :-1]
    learned = batch["labels"][:, 1:] != IGNORED
    logits, targets = model.lm_head(states[learned]), batch["labels"][:, 1:][learned]
    correct = (logits.argmax(-1) == targets).float().mean().item()
    return nn.functional.cross_entropy(logits, targets), correct


def _batch(recipe: LanguageRecipe, lesson: Lesson, tokenizer: PreTrainedTokenizerFast, step: int) -> dict[str, Tensor]:
    """`input_ids` and `labels` (text, token) of one step, padded on the right, where causal attention never looks."""
    ends = np.cumsum([lesson.copied, lesson.retold, lesson.paired, lesson.stated]) * lesson.batch_size
    kinds = np.searchsorted(ends, np.arange(lesson.batch_size), side="right").tolist()
    seeds = [f"language-{recipe.seed}-{step}-{index}" for index in range(lesson.batch_size)]
    rows = [_row(kind, seed, lesson, tokenizer) for kind, seed in zip(kinds, seeds, strict=True)]
    ids, labels = ([torch.from_numpy(np.array(row[part])) for row in rows] for part in (0, 1))
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=tokenizer.pad_token_id),
        "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
    }


def _row(kind: int, seed: str, lesson: Lesson, tokenizer: PreTrainedTokenizerFast) -> _Row:
    """One text of a batch; `kind` counts through a lesson's shares, conversations are what is left."""
    if kind < 2:
        return _encode_pieces(retelling(seed, lesson.things, verbatim=kind == 0), tokenizer)
    if kind == 2:
        return _encode_pieces(pairs(seed), tokenizer)
    if kind == 3:
        return _encode_pieces(statements(seed, lesson.things, lesson.questions), tokenizer)
    codec = Codec(tokenizer, "vicuna_v1", IMAGE_MARK, image_token_id=-1, patch_grid=(0, 0), image_processor=None)
    encoded = encode(reading_sample(seed, lesson.things, lesson.questions, lesson.kinds), codec)
    kept = lesson.system | (encoded.layout.role != Role.SYSTEM)
    return encoded.ids[kept], encoded.labels[kept]


def _encode_pieces(pieces: Pieces, tokenizer: PreTrainedTokenizerFast) -> _Row:
    """Ids and labels of a text: a token is learned if the piece with its first character is."""
    read = tokenizer("".join(text for text, _ in pieces), return_offsets_mapping=True)
    ids, spans = np.array(read["input_ids"]), np.array(read["offset_mapping"])
    ends = np.cumsum([len(text) for text, _ in pieces])
    learned = np.array([wanted for _, wanted in pieces])[np.searchsorted(ends, spans[:, 0], side="right")]
    learned[spans[:, 1] == 0] = False  # <s>
    return ids, np.where(learned, ids, IGNORED)
