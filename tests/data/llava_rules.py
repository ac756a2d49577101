"""LLaVA's own way from a conversation to ids and labels, restated: an oracle, with its mistakes.

Its training code tokenises the prompt in the pieces between the images, joins them around a placeholder of -200, and
makes the labels by tokenising every round again and counting (LLaVA v1.2.2, `preprocess_v1`, `preprocess_plain`,
`preprocess_multimodal`, `tokenizer_image_token`). Here it is in our words and on the sentencepiece library itself, so
that nothing is shared with what it judges.

Its tokenizer is the slow one of transformers 4 in one of two manners: `legacy` puts a space before every piece of text
between special tokens, the newer manner only before the first.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import sentencepiece

UNK, BOS, EOS = 0, 1, 2
PAD = UNK  # Llama has no padding token, and LLaVA takes this one
IMAGE = -200
IGNORED = -100
SPECIAL = {"<unk>": UNK, "<s>": BOS, "</s>": EOS}
SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions."
)
ASKS = " ASSISTANT: "


@dataclass(frozen=True)
class Trained:
    """What a sample becomes: ids with every image as `patches` times its own id, labels, and the code's own warning."""

    ids: list[int]
    labels: list[int]
    mismatch: bool = False


class SlowLlama:
    """The ids of a text, as LlamaTokenizer(use_fast=False) of transformers 4 gives them."""

    def __init__(self, folder: Path, legacy: bool):
        self.legacy = legacy
        self._pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        self._guard = self._pieces.encode("\n")  # of bytes, with which no piece merges

    def __call__(self, text):
        """The ids with <s> before them."""
        return [BOS, *self._without_start(text)]

    def _without_start(self, text):
        """A space before the text, or in the legacy manner before each piece of it; special tokens cut the pieces."""
        if not self.legacy and text:
            text = "▁" + text.replace("▁", " ")
        pieces = [piece for piece in re.split("(<unk>|<s>|</s>)", text) if piece]
        if not self.legacy and len(pieces) > 1 and pieces[0] == "▁":
            del pieces[0]
        return [token for piece in pieces for token in self._piece(piece)]

    def _piece(self, piece):
        if piece in SPECIAL:
            return [SPECIAL[piece]]
        if self.legacy:
            return self._pieces.encode(piece)  # with the space
        return self._pieces.encode("\n" + piece)[len(self._guard) :]  # behind something, and so without one


def images_first(text):
    """A question as `preprocess_multimodal` leaves it: all its marks become one, before everything else."""
    if "<image>" not in text:
        return text
    return ("<image>\n" + text.replace("<image>", "").strip()).strip()


def around_images(text, tokenizer):
    """The ids with -200 where a mark is: the text between the marks is tokenised piece by piece."""
    first, *others = [tokenizer(chunk) for chunk in text.split("<image>")]
    return first + [token for chunk in others for token in (IMAGE, *chunk[1:])]


def vicuna_v1(turns, tokenizer, has_image, max_length=2048):
    """Ids and labels of [(speaker, text), ..] before the images are put in, with the warning's truth."""
    if turns[0][0] != "human":
        turns = turns[1:]
    assert [speaker for speaker, _ in turns] == [("human", "gpt")[index % 2] for index in range(len(turns))]
    said = (f"USER: {text} " if speaker == "human" else f"ASSISTANT: {text}</s>" for speaker, text in turns)
    prompt = f"{SYSTEM} {''.join(said)}"
    count = (lambda text: len(around_images(text, tokenizer))) if has_image else (lambda text: len(tokenizer(text)))
    ids = around_images(prompt, tokenizer) if has_image else tokenizer(prompt)[:max_length]
    return _counted(ids, prompt, count, tokenizer.legacy, max_length)


def _counted(ids, prompt, count, legacy, max_length):
    labels, at = list(ids), 1
    labels[0] = IGNORED
    for index, spoken in enumerate(prompt.split("</s>")):
        halves = spoken.split(ASKS)
        if not spoken or len(halves) != 2:
            break
        glued = 1 if index and not legacy else 0  # "USER" after </s> is a token less than "USER" after nothing
        asked = count(halves[0] + ASKS) - 2 - glued
        labels[at : at + asked] = [IGNORED] * len(labels[at : at + asked])
        at += count(spoken) - glued
    labels[at:] = [IGNORED] * len(labels[at:])
    mismatch = at < max_length and at != sum(token != PAD for token in ids)
    return ids, [IGNORED] * len(ids) if mismatch else labels, mismatch


def plain(turns, tokenizer):
    """Stage 1: the picture and the caption; the question is thrown away, with whatever it said."""
    (_, question), (_, caption) = turns
    assert "<image>" in question
    ids = around_images(f"<image>{caption}\n", tokenizer)
    asked = len(around_images("<image>", tokenizer))
    return ids, [IGNORED] * asked + ids[asked:], False


def trained(template, turns, tokenizer, image_id, patches, files=0, moved=True, max_length=2048):
    """A sample all the way, as it enters the language model: every image is `patches` tokens `image_id`.

    `files` is the number of its pictures; that they are as many as the marks, nobody looks. What is too long is cut,
    before the images are put in and again afterwards. `moved=False` leaves out `images_first`.
    """
    if files and moved:
        turns = [(speaker, images_first(text)) for speaker, text in turns]
    if template == "plain":
        ids, labels, mismatch = plain(turns, tokenizer)
    else:
        ids, labels, mismatch = vicuna_v1(turns, tokenizer, bool(files), max_length)
    cut = list(zip(ids, labels, strict=True))[:max_length]
    wide = [one for pair in cut for one in ([(image_id, IGNORED)] * patches if pair[0] == IMAGE else [pair])]
    return Trained([id for id, _ in wide[:max_length]], [label for _, label in wide[:max_length]], mismatch)


def pictures_taken(marks):
    """Which sample's picture every mark of a batch is shown, of the number of marks in each: a list for each sample.

    Every sample brings one picture, a blank one if it has none, and one counter runs over all. A mark takes the picture
    it points to, whosever that is; a sample without marks takes none and counts as one. Raises IndexError where the
    last marks of a batch find no picture.
    """
    pictures, taken, at = list(range(len(marks))), [], 0
    for count in marks:
        taken.append([pictures[at + mark] for mark in range(count)])
        at += max(count, 1)
    return taken
