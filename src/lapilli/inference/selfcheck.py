"""Checks that a model works, whatever it answers: the ways in which a LLaVA fails without an error."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from PIL import Image

from lapilli.core.errors import LapilliError
from lapilli.core.finding import Finding
from lapilli.core.layout import Role
from lapilli.core.prompt.template import IMAGE_MARK
from lapilli.core.prompt.tokenizer_template import FAILURES, unbounded
from lapilli.core.trial import tokenizing
from lapilli.data.encode import encode
from lapilli.data.sample import Sample, Turn
from lapilli.inference.answer import answer
from lapilli.inference.chat import Chat
from lapilli.model.llava import Llava
from lapilli.model.placement import placed
from lapilli.model.reading import quiet

_TOKENS = 12  # of an answer: enough for two to differ
_QUESTIONS = ("What is in the picture?", "Yes?", "What color is it, and where does it lie?")
_WIDTH, _HEIGHT = 97, 61  # neither square nor a multiple of any patch


def self_check(llava: Llava) -> Iterator[Finding]:
    """Run every check, one after the other, on a picture of noise."""
    for name, check in _CHECKS.items():
        try:
            with tokenizing():
                holds, detail = check(llava)
        except (LapilliError, ValueError, RuntimeError) as error:  # transformers raises these where sizes do not fit
            holds, detail = False, " ".join(str(error).split())
        except FAILURES as error:
            holds, detail = False, " ".join(f"{type(error).__name__}: {error}".split())
        yield Finding(name, holds, detail)


def _finite(llava: Llava) -> tuple[bool, str]:
    bad = [name for name, weight in llava.model.named_parameters() if not torch.isfinite(weight).all()]
    return not bad, f"NaN or infinity in {', '.join(bad[:3])}: fetch them again" if bad else "all of them"


def _placeholders(llava: Llava) -> tuple[bool, str]:
    """The prompt has as many <image> tokens as the projector gives features for a picture."""
    tokens = len(encode(_question_sample(_QUESTIONS[0]), llava.codec, for_generation=True).layout.positions(Role.IMAGE))
    model: Any = llava.model
    pixels = llava.pixels([_noise("")]).to(model.device, model.model.vision_tower.dtype)
    with torch.inference_mode():
        (features,) = model.get_image_features(pixel_values=pixels).pooler_output
    return tokens == len(features), f"{tokens} tokens, {len(features)} features of a picture"


def _stored_template(llava: Llava) -> tuple[bool, str]:
    """The folder's chat template, which other programs render, is the one that is used here."""
    expected = llava.codec.chat.jinja()
    stored = llava.processor.chat_template
    same = stored == expected
    remedy = "`lapilli model convert` writes it anew"
    return same, llava.template if same else f"{llava.template} is not what chat_template.jinja says; {remedy}"


def _same_tokens(llava: Llava) -> tuple[bool, str]:
    """The processor of transformers makes the same tokens of a conversation."""
    sample = _question_sample(_QUESTIONS[0])
    ours = encode(sample, llava.codec, for_generation=True).ids
    theirs = _read_by_transformers(llava, [_QUESTIONS[0]])
    ids = np.ravel(theirs["input_ids"])
    return np.array_equal(ours, ids), f"{len(ours)} here, {len(ids)} by its processor"


def _ends(llava: Llava) -> tuple[bool, str]:
    """Other programs end answers at the same token."""
    eos = llava.model.generation_config.eos_token_id
    stops = [] if eos is None else np.ravel(eos).tolist()
    token = llava.processor.tokenizer.convert_ids_to_tokens(llava.stop_id)
    return llava.stop_id in stops, f"{token!r} ({llava.stop_id}); generation_config.json has {stops}"


def _batched(llava: Llava) -> tuple[bool, str]:
    """Answers in one batch, padded, with and without a picture, are those of single samples."""
    samples = [_question_sample(question) for question in _QUESTIONS]
    if not _is_caption_model(llava):
        samples.append(replace(samples[0], images=(), turns=(Turn("user", _QUESTIONS[0]),)))
    together = [reply.text for reply in answer(llava, samples, _noise, _TOKENS)]
    alone = [reply.text for sample in samples for reply in answer(llava, [sample], _noise, _TOKENS)]
    same = sum(first == second for first, second in zip(together, alone, strict=True))
    return same == len(samples), f"{same} of {len(samples)} answers the same"


def _batched_by_transformers(llava: Llava) -> tuple[bool, str]:
    """Plain transformers, which pads as the folder says, answers questions in one batch as one at a time."""
    together = _generated(llava, _QUESTIONS)
    alone = [text for question in _QUESTIONS for text in _generated(llava, [question])]
    same = sum(first == second for first, second in zip(together, alone, strict=True))
    return same == len(alone), f"{same} of {len(alone)} answers the same"


def _generated(llava: Llava, questions: Sequence[str]) -> list[str]:
    """Return the answers of transformers' own processor and `generate` to questions about noise."""
    model, processor = cast(Any, llava.model), cast(Any, llava.processor)
    batch = _read_by_transformers(llava, questions, padding=True, return_tensors="pt")
    with torch.inference_mode(), quiet():
        ids = model.generate(**placed(batch, model), do_sample=False, max_new_tokens=_TOKENS)
    texts: list[str] = processor.batch_decode(ids[:, batch["input_ids"].shape[1] :], skip_special_tokens=True)
    return texts


def _read_by_transformers(llava: Llava, questions: Sequence[str], **options: Any) -> Any:
    """Return the processor's batch of questions about noise, each in parts, as pipelines and servers send them."""
    processor: Any = llava.processor
    if wrong := unbounded(processor.tokenizer, processor.chat_template):
        raise LapilliError(f"chat_template.jinja {wrong} for a short conversation")
    chats = [
        [{"role": "user", "content": [{"type": "image", "image": _noise("")}, {"type": "text", "text": question}]}]
        for question in questions
    ]
    return processor.apply_chat_template(
        chats, add_generation_prompt=True, tokenize=True, return_dict=True, processor_kwargs=options
    )


def _chatting(llava: Llava) -> tuple[bool, str]:
    """A second turn, which reads only what is new, gets the answer that reading the whole conversation gives."""
    if _is_caption_model(llava):
        return True, "captions alone: there is no second turn"
    chat = Chat(llava, _noise, _TOKENS)
    for index, question in enumerate(_QUESTIONS[:2]):
        reply = chat.say(question, () if index else ("noise",))
        if not reply:
            return True, f"no words to question {index + 1}: nothing to go on from"
    turns = chat.sample.turns[:-1]
    (anew,) = answer(llava, [replace(chat.sample, turns=turns)], _noise, _TOKENS)
    return reply == anew.text, f"{reply!r}" if reply == anew.text else f"{reply!r}, but anew {anew.text!r}"


def _is_caption_model(llava: Llava) -> bool:
    """Whether its template is for one picture and its caption, as in stage 1."""
    return bool(getattr(llava.codec.chat, "caption", False))


def _question_sample(question: str) -> Sample:
    return Sample("self-check", ("noise",), (Turn("user", f"{IMAGE_MARK}\n{question}"),))


def _noise(_: str) -> Image.Image:
    levels = np.random.default_rng(0).integers(0, 256, (_HEIGHT, _WIDTH, 3), dtype=np.uint8)
    return Image.fromarray(levels)


_CHECKS: dict[str, Callable[[Llava], tuple[bool, str]]] = {
    "weights are numbers": _finite,
    "<image> tokens = features": _placeholders,
    "template = the stored one": _stored_template,
    "tokens = the processor's": _same_tokens,
    "an answer's end is stored": _ends,
    "batched = single": _batched,
    "the same by transformers": _batched_by_transformers,
    "chat = ask": _chatting,
}
