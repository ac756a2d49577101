"""A sample turned into token ids, labels and a layout, in one pass.

The conversation becomes one string, which is tokenised once. The characters a token covers say which segment of the
template it belongs to, and with that its role, its turn and whether it is learned. Tokenising twice and subtracting
lengths would be simpler, and is how labels get shifted by a token, or a whole sample gets masked.

An image is one special token in that string, and is repeated for its patches afterwards. A special token cuts the text
before anything else happens, so the ids are those of the string with the token repeated, in a third of the time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lapilli.core.errors import LapilliError
from lapilli.core.layout import OFF, Positions, Role, TokenLayout
from lapilli.core.prompt.codec import Codec
from lapilli.core.prompt.template import IMAGE_MARK, ChatTemplate, Segment
from lapilli.core.trial import tokenizing
from lapilli.data.faults import Fault
from lapilli.data.sample import Sample

IGNORED = -100
"""The label of a token that is not learned: PyTorch's cross entropy leaves it out."""

_MOST = int(np.iinfo(np.int16).max)  # exchanges, images: what a layout counts in
_NO_SEGMENT = -1  # of a token that the tokenizer put before the text, such as <s>


class SampleError(LapilliError):
    """A sample that cannot be encoded, or not be learned from; `faults` are all that were found."""

    def __init__(self, name: str, faults: Sequence[Fault]) -> None:
        super().__init__(f"sample {name!r}: {faults[0]}")
        self.faults = tuple(faults)


@dataclass(frozen=True, eq=False)
class Encoded:
    """One sample as a model reads it.

    id      of the sample
    images  names of its pictures, in the order of the image numbers in `layout`
    ids     int64 (token,), with one image token for every patch
    labels  int64 (token,), the id where the token is learned (an answer or its stop), else -100
    layout  what every token is for
    """

    id: str
    images: tuple[str, ...]
    ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    layout: TokenLayout


def encode(sample: Sample, codec: Codec, for_generation: bool = False) -> Encoded:
    """Return the sample's tokens, those that the model's own processor gives, with labels and layout.

    `for_generation` leaves out the last answer, if there is one, and ends with the text that asks for it.

    Raises SampleError, a LapilliError, when the turns are out of order or more than a layout can number, when the
    `<image>` marks do not match the images, when an answer is empty or holds the stop string or an image, and when one
    token of the tokenizer joins learned text to text that is not.
    """
    try:
        _require_number(sample)
        segments = codec.chat.segments(sample.turns, for_generation)
        if faults := list(_unsound(segments, codec.chat, codec, len(sample.images))):
            raise SampleError(sample.id, faults)
        ids, segment_of = _tokens(segments, codec)
        ids, segment_of = _with_patches(ids, segment_of, codec, len(sample.images))
        return _encoded(sample, segments, ids, segment_of, codec)
    except SampleError:
        raise
    except LapilliError as error:
        raise SampleError(sample.id, [_as_fault(error)]) from error


def _as_fault(error: LapilliError) -> Fault:
    message, separator, remedy = str(error).rpartition("; ")
    return Fault("", message, remedy) if separator else Fault("", remedy, "mend the conversation")


def _require_number(sample: Sample) -> None:
    """Refuse more exchanges or pictures than a TokenLayout has numbers for."""
    for what, count in (("exchanges", (len(sample.turns) + 1) // 2), ("pictures", len(sample.images))):
        if count > _MOST:
            raise LapilliError(f"{count:,} {what}, more than {_MOST:,}; cut the conversation")


def _unsound(segments: Sequence[Segment], template: ChatTemplate, codec: Codec, images: int) -> Iterator[Fault]:
    if not segments:
        what = f"template {template.name} keeps the pictures of a question alone, and there are none"
        yield Fault("", what, "show a picture, or choose another template")
    marks = sum(segment.text.count(IMAGE_MARK) for segment in segments if segment.role == Role.QUESTION)
    if marks != images:
        yield Fault("", f"{marks} {IMAGE_MARK} in the questions, {images} images", "write one mark for every image")
    # A stop of white space, the line break of plain captions, may well occur in an answer.
    refused = [IMAGE_MARK, codec.image_token, *([template.stop] if template.stop.strip() else [])]
    answered = {segment.turn for segment in segments if segment.role == Role.ANSWER and segment.text.strip()}
    for segment in segments:
        if segment.role == Role.STOP and segment.turn not in answered:  # an empty answer may have none
            yield Fault(_spoken(segment), "empty answer", "write the answer, or remove the question too")
        if segment.role == Role.ANSWER:
            forbidden = [text for text in refused if text in segment.text]
            for text in dict.fromkeys(forbidden):
                what = f"the answer holds {text!r}"
                yield Fault(_spoken(segment), what, "remove it: it is learned as what it does, not as text")


def _spoken(answer: Segment) -> str:
    """The turn of an answer as the sample counts them, questions and answers alike."""
    return f"turn {2 * answer.turn + 1}"


def _tokens(segments: Sequence[Segment], codec: Codec) -> tuple[NDArray[np.int64], Positions]:
    """Ids (token,) with one token for an image, and the segment (token,) that every token belongs to."""
    texts = [segment.text.replace(IMAGE_MARK, codec.image_token) for segment in segments]
    text = "".join(texts)
    has_start = codec.tokenizer.bos_token is not None and text.startswith(codec.tokenizer.bos_token)
    with tokenizing():
        read = codec.tokenizer(
            text,
            add_special_tokens=not has_start,  # as transformers' processors, for templates that begin with it
            return_offsets_mapping=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
    ids = np.array(read["input_ids"], dtype=np.int64)
    starts, ends = _spans(np.array(read["offset_mapping"], dtype=np.intp).reshape(-1, 2))
    if ends[-1] == 0:
        last = codec.tokenizer.convert_ids_to_tokens(int(ids[-1]))
        raise LapilliError(f"the tokenizer appends {last!r} to every text; turn its add_eos_token off")
    borders = np.cumsum([0, *map(len, texts)])[:-1]
    first = _first_tokens(text, segments, borders, starts, ends)
    segment_of = np.repeat(np.arange(len(segments)), np.diff(first, append=len(ids)))
    segment_of[ends == 0] = _NO_SEGMENT
    return ids, segment_of


def _spans(offsets: Positions) -> tuple[Positions, Positions]:
    """First character and end of every token, shape (token,) each, with no character left out.

    Some tokenizers cut the spaces off a token's offsets; they are given back to the token that comes after the gap.
    """
    starts, ends = offsets[:, 0], np.maximum.accumulate(offsets[:, 1])
    return np.minimum(starts, np.concatenate([[0], ends[:-1]])), offsets[:, 1]


def _first_tokens(
    text: str, segments: Sequence[Segment], borders: Positions, starts: Positions, ends: Positions
) -> Positions:
    """The index of the first token of every segment, shape (segment,), by the rule of `core.template`.

    A token across a border belongs to the segment with its first character that is no space; one of nothing but spaces
    to the segment with its first character. Across the border of what is learned, no token may lie.
    """
    first = np.searchsorted(starts, borders)
    first[0] = 0  # what the tokenizer puts before the text is among its tokens, for now
    for index in range(1, len(segments)):
        token, border = first[index] - 1, borders[index]
        if ends[token] <= border:
            continue
        if segments[index].learned != segments[index - 1].learned:
            raise _glued(text[starts[token] : ends[token]], segments[index - 1], segments[index])
        if not text[starts[token] : border].strip(" ") and text[border : ends[token]].strip(" "):
            first[index] = token
    return first


def _glued(token: str, before: Segment, after: Segment) -> LapilliError:
    what = f"token {token!r} joins the {before.role.name.lower()} text to the {after.role.name.lower()} text"
    remedy = "strip the white space of the answer, or use a template whose fixed texts this tokenizer keeps apart"
    return LapilliError(
        f"{_spoken(before if before.learned else after)}: {what}, and only one of them is learned; {remedy}"
    )


def _with_patches(
    ids: NDArray[np.int64], segment_of: Positions, codec: Codec, images: int
) -> tuple[NDArray[np.int64], Positions]:
    """Both arrays with every image token repeated for the patches of its image."""
    is_image = ids == codec.image_token_id
    count = int(np.count_nonzero(is_image))
    if count != images:
        remedy = "the tokenizer must have it as one special token, and no text may hold it but as a mark"
        raise LapilliError(f"{count} tokens {codec.image_token!r} for {images} images; {remedy}")
    rows, columns = codec.patch_grid
    repeats = np.where(is_image, rows * columns, 1)
    return np.repeat(ids, repeats), np.repeat(segment_of, repeats)


def _encoded(
    sample: Sample, segments: Sequence[Segment], ids: NDArray[np.int64], segment_of: Positions, codec: Codec
) -> Encoded:
    # The last entry of each table is that of _NO_SEGMENT, -1.
    role = np.array([*(segment.role for segment in segments), Role.TEMPLATE], np.int8)[segment_of]
    turn = np.array([*(segment.turn for segment in segments), OFF], np.int16)[segment_of]
    learned = np.array([*(segment.learned for segment in segments), False])[segment_of]
    labels = np.where(learned, ids, IGNORED)
    for array in (ids, labels):
        array.setflags(write=False)
    layout = _layout(role, turn, ids == codec.image_token_id, codec.patch_grid)
    return Encoded(sample.id, sample.images, ids, labels, layout)


def _layout(
    role: NDArray[np.int8], turn: NDArray[np.int16], is_image: NDArray[np.bool_], grid: tuple[int, int]
) -> TokenLayout:
    (at,) = np.nonzero(is_image)
    image, row, column = (np.full(len(role), OFF, np.int16) for _ in range(3))
    image[at], patch = np.divmod(np.arange(at.size), grid[0] * grid[1])
    row[at], column[at] = np.divmod(patch, grid[1])
    role[at] = Role.IMAGE
    return TokenLayout(role=role, turn=turn, image=image, row=row, column=column)
