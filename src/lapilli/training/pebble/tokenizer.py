"""The language model's own tokenizer: byte-level BPE, learned from the text it will read."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from lapilli.core.errors import LapilliError
from lapilli.core.prompt.template import TEMPLATES
from lapilli.data.sample import Turn
from lapilli.data.scenes.describe import caption, describe
from lapilli.data.scenes.questions import TYPES, ask
from lapilli.data.scenes.scene import sample_scene
from lapilli.model.hub import model_folder
from lapilli.model.tokenizer import require_bounded

REQUESTS = (
    "Describe the picture. Tell me everything that is in the picture. What do you see? What is in the image? "
    "Tell me about the object."
)
"""Requests that are no questions; every letter of them decides which words become tokens."""

WORDS = r" ?\p{L}+(?:-\p{L}+)*| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""The words that pieces stay within: with the space before them, as in GPT-2, but "top-left" is a single word."""

SPECIAL = ("<unk>", "<s>", "</s>", "<pad>")


def train_tokenizer(texts: Iterable[str], vocabulary: int, max_length: int) -> PreTrainedTokenizerFast:
    """A tokenizer of at most `vocabulary` pieces that can spell any text and begins every sequence with `<s>`.

    Sennrich et al., "Neural Machine Translation of Rare Words with Subword Units" (ACL 2016), over bytes.
    """
    tokenizer = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(WORDS), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    start = ("<s>", tokenizer.token_to_id("<s>"))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A $B", special_tokens=[start])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<pad>",
        model_max_length=max_length, padding_side="left",
    )  # fmt: skip


def tokenizer_from(folder: Path | None) -> PreTrainedTokenizerFast:
    """Return the tokenizer in a folder or on the hub, or without a folder the one that is learned from scenes.

    Raises LapilliError when the folder has none.
    """
    if folder is None:
        return scene_tokenizer()
    folder = model_folder(folder, weights="none")
    if not (folder / "tokenizer.json").is_file():
        raise LapilliError(f"{folder}: no tokenizer.json; name a folder that has one, or leave `tokenizer` out")
    tokenizer: PreTrainedTokenizerFast = PreTrainedTokenizerFast.from_pretrained(folder)
    require_bounded(folder, tokenizer)
    return tokenizer


def scene_tokenizer(scenes: int = 6_000, vocabulary: int = 1_024) -> PreTrainedTokenizerFast:
    """pebble-lm's tokenizer: learned from descriptions, captions and prompts about `scenes` scenes, always the same."""
    return train_tokenizer(_texts(scenes), vocabulary, max_length=2_048)


def _texts(scenes: int) -> Iterator[str]:
    for index in range(scenes):
        scene, rng = sample_scene(f"tok-{index}"), random.Random(index)
        yield describe(scene, rng)
        yield caption(scene, rng)
        for kind in TYPES:
            if question := ask(scene, kind, rng):
                turns = (Turn("user", question.text), Turn("assistant", question.answer))
                yield "".join(piece.text for piece in TEMPLATES["vicuna_v1"].segments(turns)[:-1]) + "\n"
        yield REQUESTS
