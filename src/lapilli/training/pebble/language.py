"""Train pebble-lm: a small Llama, on text alone: descriptions, and conversations about them.

It must learn to look a fact up in its context. Small transformers do so late and suddenly. Three things make it
earlier: initial weights whose heads already attend where a look-up needs it (`initial.py`), lists that teach one skill
each and are mastered one after the other, and an optimizer that makes the updates of the hidden matrices orthogonal
(Muon: Jordan et al. 2024).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from lapilli.core.layout import Role
from lapilli.core.prompt.codec import Codec
from lapilli.core.prompt.template import IMAGE_MARK, TEMPLATES
from lapilli.data.encode import IGNORED, encode
from lapilli.data.scenes.textual import (
    Pieces,
    cards,
    comparisons,
    counts,
    pairs,
    reading_sample,
    relations,
    retelling,
    statements,
    two_steps,
)
from lapilli.training.muon import Muon, layer_matrices, muon_group
from lapilli.training.part_recipe import HEADS, MASTERED, SHARES, LanguageRecipe, Lesson
from lapilli.training.pebble.initial import with_first_weights

_Text = tuple[NDArray[np.int64], NDArray[np.int64]]
"""The ids and labels of one text, (token,) each."""


_TEXTS: dict[str, Callable[[str, Lesson], Pieces]] = {
    "paired": lambda seed, lesson: pairs(seed),
    "placed": lambda seed, lesson: pairs(seed, placed=True),
    "counted": lambda seed, lesson: counts(seed, lesson.things, lesson.questions),
    "stated": lambda seed, lesson: statements(seed, lesson.things, lesson.questions),
    "retold": lambda seed, lesson: retelling(seed, lesson.things),
    "carded": lambda seed, lesson: cards(seed),
    "related": lambda seed, lesson: relations(seed, lesson.things, lesson.questions),
    "reasoned": lambda seed, lesson: two_steps(seed, lesson.things, lesson.questions),
    "compared": lambda seed, lesson: comparisons(seed, lesson.questions),
}
"""The generators of the `SHARES` of a batch: a text from a seed, as large as the lesson says."""


def new_language_model(recipe: LanguageRecipe, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """Return the untrained model, with the weights of `initial`, for the tokens of `tokenizer`."""
    return with_first_weights(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=recipe.width, intermediate_size=recipe.feed_forward,
            num_hidden_layers=recipe.layers, num_attention_heads=HEADS, num_key_value_heads=HEADS,
            max_position_embeddings=2048, tie_word_embeddings=False, initializer_range=recipe.width**-0.5,
            bos_token_id=tokenizer.bos_token_id, eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )  # fmt: skip


def train_language(
    recipe: LanguageRecipe, tokenizer: PreTrainedTokenizerFast, report: Callable[..., None]
) -> LlamaForCausalLM:
    """Train a language model from random weights; the same seed gives the same weights.

    Calls `report(step, **figures)` every `log_every` steps and after every lesson; the token accuracy is that of
    the lesson's last `MASTERED` steps.
    """
    torch.manual_seed(recipe.seed)
    model = new_language_model(recipe, tokenizer)
    optimizer = _optimizer(model, recipe)
    step = 0
    for number, lesson in enumerate(recipe.lessons, start=1):
        for loss, share in _learn(model, optimizer, recipe, lesson=lesson, tokenizer=tokenizer, before=step):
            step += 1
            if step % recipe.log_every == 0:
                report(step, lesson=number, loss=loss, token_accuracy=share)
        report(step, lesson=number, token_accuracy=share)
    return model


def _learn(
    model: LlamaForCausalLM,
    optimizer: Muon,
    recipe: LanguageRecipe,
    *,
    lesson: Lesson,
    tokenizer: PreTrainedTokenizerFast,
    before: int,
) -> Iterator[tuple[float, float]]:
    """Yield the loss of every step of a lesson, and the share of right tokens over its last `MASTERED` steps.

    `before` is the number of steps in earlier lessons.
    """
    shares = list[float]()
    for step in range(lesson.steps):
        loss, share = _loss(model, _batch(recipe, lesson, tokenizer, before + step))
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        _move(optimizer, _rate(before + step, lesson.rates, step / lesson.steps))
        shares = [*shares[-MASTERED + 1 :], share]
        lately = sum(shares) / len(shares)
        yield loss.item(), lately
        if len(shares) == MASTERED and lately >= lesson.until:
            return


def save_language(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save the model, and its tokenizer with the chat template, as `transformers` reads them."""
    model.save_pretrained(folder)
    tokenizer.chat_template = TEMPLATES["vicuna_v1"].jinja()
    tokenizer.save_pretrained(folder)


def _optimizer(model: LlamaForCausalLM, recipe: LanguageRecipe) -> Muon:
    """Muon for the matrices of the layers, AdamW for embeddings, head and norms."""
    matrices, rest = layer_matrices(model)
    groups = [muon_group(matrices, recipe.muon_learning_rate, weight_decay=0.01), {"params": rest}]
    return Muon(groups, lr=recipe.learning_rate, betas=(0.9, 0.98), weight_decay=0.0)


def _move(optimizer: Muon, rate: float) -> None:
    """Take one step, at this share of the recipe's rates."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.setdefault("full_lr", group["lr"])
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def _rate(step: int, rates: tuple[float, float], done: float) -> float:
    """Return the share of the rates: a short warm-up, then linear over a lesson, of which `done` is over."""
    first, last = rates
    return min((step + 1) / 50, first + (last - first) * done)


def _loss(model: LlamaForCausalLM, batch: dict[str, Tensor]) -> tuple[Tensor, float]:
    """Return the mean cross-entropy over the learned tokens, and the share of them that the model predicts."""
    states = model.model(input_ids=batch["input_ids"], use_cache=False).last_hidden_state[:, :-1]
    learned = batch["labels"][:, 1:] != IGNORED
    logits, targets = model.lm_head(states[learned]), batch["labels"][:, 1:][learned]
    correct = (logits.argmax(-1) == targets).float().mean().item()
    return nn.functional.cross_entropy(logits, targets), correct


def _batch(recipe: LanguageRecipe, lesson: Lesson, tokenizer: PreTrainedTokenizerFast, step: int) -> dict[str, Tensor]:
    """`input_ids` and `labels` (text, token) of one step, padded on the right, which causal attention ignores."""
    ends = np.cumsum(lesson.shares) * lesson.batch_size
    kinds = np.searchsorted(ends, np.arange(lesson.batch_size), side="right").tolist()
    seeds = [f"language-{recipe.seed}-{step}-{index}" for index in range(lesson.batch_size)]
    texts = [_text(kind, seed, lesson, tokenizer) for kind, seed in zip(kinds, seeds, strict=True)]
    ids, labels = ([torch.from_numpy(np.array(text[part])) for text in texts] for part in (0, 1))
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=tokenizer.pad_token_id),
        "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
    }


def _text(kind: int, seed: str, lesson: Lesson, tokenizer: PreTrainedTokenizerFast) -> _Text:
    """Return one text of a batch; `kind` is an index into `SHARES`, or after them for a conversation."""
    if kind < len(SHARES):
        return _encode_pieces(_TEXTS[SHARES[kind]](seed, lesson), tokenizer)
    codec = Codec(tokenizer, "vicuna_v1", IMAGE_MARK, image_token_id=-1, patch_grid=(0, 0), image_processor=None)
    encoded = encode(reading_sample(seed, lesson.things, lesson.questions, lesson.kinds), codec)
    selected = lesson.system | (encoded.layout.role != Role.SYSTEM)
    return encoded.ids[selected], encoded.labels[selected]


def _encode_pieces(pieces: Pieces, tokenizer: PreTrainedTokenizerFast) -> _Text:
    """Return ids and labels of a text: a token is learned if the piece with its first character is."""
    read = tokenizer("".join(text for text, _ in pieces), return_offsets_mapping=True)
    ids, spans = np.array(read["input_ids"]), np.array(read["offset_mapping"])
    ends = np.cumsum([len(text) for text, _ in pieces])
    learned = np.array([wanted for _, wanted in pieces])[np.searchsorted(ends, spans[:, 0], side="right")]
    learned[spans[:, 1] == 0] = False  # <s>
    return ids, np.where(learned, ids, IGNORED)
