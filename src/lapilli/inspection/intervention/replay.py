"""Replay: the end of a traced sequence once more, in many variants at a time, with some attention edges cut.

An image comes before the text that asks about it, and a cut behind it does not change its keys and values. So a variant
runs again only the positions from its first cut query on, and only the layers from its first cut layer on: the keys and
values of earlier positions, and the residual stream before that layer, are the trace's. In the last layer only the
trace's queries run again. The layers are the model's own modules, called in batches of variants.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.core.errors import LapilliError
from lapilli.core.layout import Positions, Role, TokenLayout
from lapilli.inspection.readings import Predictions, Readings, clean, concatenated, predictions, readings_of
from lapilli.inspection.target import Target
from lapilli.inspection.trace import Stream, Trace, require_keys
from lapilli.model.upstream import attention_of, cache_argument, require_arguments, tensor_of

_MASKED = ("eager", "sdpa")  # the implementations of attention that accept a mask
_BYTES = {"cpu": 2**27, "other": 2**30}  # of keys, values and activations that a batch of variants holds, about
_NEAR = 8  # one position in so many may be run again in vain
_AT_ONCE = 128  # distributions over the vocabulary at a time; larger blocks of memory are not used again


@dataclass(frozen=True, eq=False)
class Cut:
    """Attention edges that are cut: their scores are -inf before the softmax, so that the others share their weight.

    queries   (n,)   the positions that attend
    keys      (m,)   the positions that they no longer attend to
    layers           the layers of the cut, in every head

    Without keys nothing is cut, but the positions are run again, which shows the effect of rounding.
    """

    queries: Positions
    keys: Positions
    layers: range


Variant: TypeAlias = Sequence[Cut]


def readers(layout: TokenLayout) -> Positions:
    """The positions that can attend to an image and are none: all text behind the first image."""
    (text,) = np.nonzero(layout.role != Role.IMAGE)
    behind: Positions = text[text > layout.positions(Role.IMAGE).min(initial=layout.length)]
    return behind


@torch.inference_mode()
def replay(
    trace: Trace, variants: Sequence[Variant], target: Target | None = None, at_once: int | None = None
) -> Readings:
    """The predictions of a trace's queries with some attention edges cut, one variant after the other.

    The trace must have been recorded whole; its answer stays, word for word. The target is centred by default.
    `at_once` is the number of variants that run together, by default as many as memory allows; it changes rounding
    alone. In float32 the result is that of a full run under the same mask, up to rounding; in bfloat16 its error is
    that of two runs of the model in batches of other shapes. Call it outside of `recording`, whose hooks would record
    it.

    Raises LapilliError for a trace without its whole stream, for attention that accepts no mask (flash attention), and
    as `require_keys` does; ValueError for positions or layers that do not exist, and for a position without any key.
    """
    target = target or Target()
    unchanged = clean(trace, target)
    shape = (len(variants), len(trace.queries))
    target_of, log_prob = (np.broadcast_to(part, shape).copy() for part in unchanged[:2])
    likeliest = np.broadcast_to(unchanged[2], shape).copy()
    for chosen, first, streams in _ends(trace, variants, at_once):
        batch = _read(trace, streams, trace.next_ids[first:], target)
        target_of[chosen, first:], log_prob[chosen, first:], likeliest[chosen, first:] = batch
    return readings_of((target_of, log_prob, likeliest), unchanged)


@torch.inference_mode()
def read_on(trace: Trace, start: int, embeddings: Tensor, target: Target | None = None) -> Readings:
    """The predictions of a trace's queries with other input embeddings from position `start` on.

    `embeddings` (variant, token, d_model) reach at least to the last query. The trace must have been recorded whole;
    positions before `start` are not run again, and queries before it stay as they are. Raises what `replay` does.
    """
    target = target or Target()
    suffix = _Suffix(trace, _require_replayable(trace), start, int(trace.queries.max()) + 1)
    first = int(np.searchsorted(trace.queries, start))
    batches = []
    for some in embeddings[:, : suffix.length].split(suffix.fitting()):
        batches.append(_read(trace, suffix.run_on(some), trace.next_ids[first:], target))
    return _behind(trace, first, concatenated(batches), target)


@torch.inference_mode()
def enter_late(trace: Trace, layers: Sequence[int], target: Target | None = None) -> Readings:
    """The predictions of a trace's queries with its images entering before each of these layers, not before the first.

    The layers below run on text alone: an image's tokens pass them unchanged, as the connector made them, and no other
    position attends to them. From the layer on, all is as ever. Every position keeps its number. Layer 0 is the model
    itself, run again, and the number of layers a model whose text sees no image. The trace must have been recorded
    whole.

    Raises LapilliError for a sequence without an image, and what `replay` does; ValueError for a layer that does not
    exist.
    """
    target, depth = target or Target(), trace.decoder.depth
    image = trace.layout.positions(Role.IMAGE)
    if not image.size:
        raise LapilliError("the sequence shows no image; one is needed to enter late")
    if wrong := [layer for layer in layers if not 0 <= layer <= depth]:
        raise ValueError(f"images enter before layers {wrong}, of {depth}")
    suffix = _Suffix(trace, _require_replayable(trace), int(image[0]), int(trace.queries.max()) + 1)
    first = int(np.searchsorted(trace.queries, image[0]))
    order, size = np.argsort(layers, kind="stable"), max(1, suffix.fitting() - 1)  # beside the run on text alone
    batches = []
    for begin in range(0, len(order), size):
        streams = suffix.run_late([layers[int(at)] for at in order[begin : begin + size]])
        batches.append(_read(trace, streams, trace.next_ids[first:], target))
    late, places = concatenated(batches), np.argsort(order)
    return _behind(trace, first, (late[0][places], late[1][places], late[2][places]), target)


def _behind(trace: Trace, first: int, variants: Predictions, target: Target) -> Readings:
    """Readings of predictions from query number `first` on, (variant, query) each; those before it are the trace's."""
    unchanged = clean(trace, target)
    before = [np.broadcast_to(part[:first], (len(variants[0]), first)) for part in unchanged]
    target_of, log_prob, likeliest = (
        np.concatenate([old, new], axis=1) for old, new in zip(before, variants, strict=True)
    )
    return readings_of((target_of, log_prob, likeliest), unchanged)


def _logits(trace: Trace, streams: Tensor) -> Tensor:
    model = trace.decoder
    logits: Tensor = model.head(model.norm(streams))
    return logits.float()


def _read(trace: Trace, streams: Tensor, ids: NDArray[np.int64], target: Target) -> Predictions:
    """The predictions of streams (variant, query, d_model) for the tokens `ids` (query,); (variant, query) each."""
    size = max(1, _AT_ONCE // len(ids))
    return concatenated([predictions(_logits(trace, some), ids, target) for some in streams.split(size)])


def _ends(trace: Trace, variants: Sequence[Variant], at_once: int | None) -> Iterator[tuple[Positions, int, Tensor]]:
    """Yield numbers of variants, the first query that they may change, and the last layer's streams from it on.

    Streams are (variant, query, d_model). Variants that change no query are left out.
    """
    stream = _require_replayable(trace)
    end = int(trace.queries.max()) + 1
    for start, chosen in _by_start(trace, variants, end).items():
        suffix = _Suffix(trace, stream, start, end)
        chosen.sort(key=lambda number: _first_layer(variants[number]))
        size = at_once or suffix.fitting()
        first = int(np.searchsorted(trace.queries, start))
        for begin in range(0, len(chosen), size):
            some = chosen[begin : begin + size]
            yield np.array(some), first, suffix.run([variants[number] for number in some])


def _require_replayable(trace: Trace) -> Stream:
    attention = attention_of(trace.decoder)
    if attention not in _MASKED:
        raise LapilliError(f"attention {attention!r} takes no mask; call set_attn_implementation('sdpa') on the model")
    if trace.stream is None:
        raise LapilliError("the trace holds its queries alone; record it with whole=True to replay it")
    require_keys(trace, [trace.decoder.depth - 1])
    return trace.stream


def _by_start(trace: Trace, variants: Sequence[Variant], end: int) -> dict[int, list[int]]:
    """The numbers of the variants by the first position that they change, if it is before `end`."""
    numbers = defaultdict(list)
    for number, variant in enumerate(variants):
        for cut in variant:
            _require_inside(trace, cut)
        start = min((int(cut.queries.min()) for cut in variant if cut.queries.size and cut.layers), default=end)
        if start < end:
            numbers[start].append(number)
    return _near(numbers, end)


def _near(by_start: dict[int, list[int]], end: int) -> dict[int, list[int]]:
    """Merge variants that begin at nearly the same position, so that they run in batches from the first of them on."""
    merged: dict[int, list[int]] = {}
    first = end
    for start in sorted(by_start):
        first = start if not merged or start - first >= (end - first) / _NEAR else first
        merged.setdefault(first, []).extend(by_start[start])
    return merged


def _require_inside(trace: Trace, cut: Cut) -> None:
    for name, positions in (("queries", cut.queries), ("keys", cut.keys)):
        if positions.size and not 0 <= positions.min() <= positions.max() < len(trace.ids):
            raise ValueError(f"{name} of a cut: {positions}, in a sequence of {len(trace.ids)} tokens")
    if cut.layers and not 0 <= min(cut.layers) <= max(cut.layers) < trace.decoder.depth:
        raise ValueError(f"layers of a cut: {cut.layers}, of {trace.decoder.depth}")


def _first_layer(variant: Variant) -> int:
    return min(min(cut.layers) for cut in variant if cut.queries.size and cut.layers)


@final
class _Prefix:
    """The part of a transformers cache that a layer uses, of the positions before the suffix; it stores nothing new."""

    def __init__(self, trace: Trace, length: int) -> None:
        self._layers = [
            (keys[:, :length], values[:, :length]) for keys, values in zip(trace.keys, trace.values, strict=True)
        ]

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Keys and values behind those of the prefix; (variant, kv_head, token, d_head) each."""
        before, beside = (cached.expand(len(keys), -1, -1, -1) for cached in self._layers[layer])
        return torch.cat([before, keys], dim=2), torch.cat([beside, values], dim=2)


@final
class _Whole:
    """A cache of one layer whose keys and values of all positions, the new ones included, are computed already."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self._keys_values = keys, values

    def update(self, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """The keys and values of all positions; (variant, kv_head, token, d_head) each."""
        return self._keys_values


@final
class _Suffix:
    """The positions of a sequence from `start` to `end`, to be run again."""

    def __init__(self, trace: Trace, stream: Stream, start: int, end: int) -> None:
        self._trace = trace
        self._start = start
        self._end = end
        self._queries = torch.from_numpy(trace.queries[trace.queries >= start] - start).to(stream.resid.device)
        self._resid = stream.resid[:, start:end]
        self._rotary = (stream.rotary[0][None, start:end], stream.rotary[1][None, start:end])
        self._prefix = _Prefix(trace, start)
        self._mask: tuple[object, Tensor] = (None, self._resid)

    @property
    def length(self) -> int:
        """The number of its positions."""
        return self._end - self._start

    def fitting(self) -> int:
        """The number of variants to run together."""
        model = self._trace.decoder
        new, width = self._end - self._start, model.heads * self._trace.keys[0].shape[-1]
        numbers = 4 * self._end * width + 4 * new * int(model.config.intermediate_size)
        scores = 2 * model.heads * new * self._end if attention_of(model) == "eager" else 0
        room = _BYTES["cpu" if self._resid.device.type == "cpu" else "other"]
        return max(1, room // (self._resid.element_size() * (numbers + scores)))

    def run(self, variants: Sequence[Variant]) -> Tensor:
        """The queries' streams behind the last layer, (variant, query, d_model), of variants ordered by first layer."""
        joining = [_first_layer(variant) for variant in variants]
        hidden = self._resid[0, None][:0]
        for layer in range(joining[0], self._trace.decoder.depth):
            if joining.count(layer):
                hidden = torch.cat([hidden, self._resid[layer].expand(joining.count(layer), -1, -1)])
            hidden = self._layer(layer, hidden, self._additive_mask(layer, variants[: len(hidden)]))
        return hidden

    def run_on(self, hidden: Tensor) -> Tensor:
        """The queries' streams behind the last layer with other embeddings, (variant, token, d_model)."""
        for layer in range(self._trace.decoder.depth):
            hidden = self._layer(layer, hidden, self._additive_mask(layer, [()]))
        return hidden

    def run_late(self, layers: Sequence[int]) -> Tensor:
        """The queries' streams with images that enter before each of these layers, ascending; as `run_on`."""
        depth, layout = self._trace.decoder.depth, self._trace.layout
        is_image = torch.from_numpy(layout.role[self._start : self._end] == Role.IMAGE).to(self._resid.device)[:, None]
        unread = [Cut(readers(layout), layout.positions(Role.IMAGE), range(depth))]
        below = self._resid[0, None]
        hidden = below[:0]
        for layer in range(depth):
            hidden = torch.cat([hidden, below.expand(layers.count(layer), -1, -1)])
            mask = self._additive_mask(layer, [*[()] * len(hidden), unread])
            streams = self._layer(layer, torch.cat([hidden, below]), mask)
            if layer == depth - 1:
                is_image, below = is_image[self._queries], below[:, self._queries]
            hidden, below = streams[:-1], torch.where(is_image, below, streams[-1:])
        return torch.cat([hidden, below.expand(layers.count(depth), -1, -1)])

    def _layer(self, layer: int, hidden: Tensor, mask: Tensor) -> Tensor:
        """The streams behind a layer; behind the last layer those of the queries alone."""
        model = self._trace.decoder
        rotary = self._rotary
        cache: _Prefix | _Whole = self._prefix
        if layer == model.depth - 1:
            cache = _Whole(*cache.update(*model.keys_values(layer, hidden, rotary), layer))
            rotary = (rotary[0][:, self._queries], rotary[1][:, self._queries])
            hidden, mask = hidden[:, self._queries], mask[:, :, self._queries]
        block = model.blocks[layer]
        require_arguments(type(block).forward, "attention_mask", "position_embeddings")
        output = block(hidden, attention_mask=mask, position_embeddings=rotary, **cache_argument(block, cache))
        return tensor_of(output, "what a layer puts out")

    def _additive_mask(self, layer: int, variants: Sequence[Variant]) -> Tensor:
        """0 where a position may attend and -inf elsewhere, (variant, 1, token, token), the same for all heads."""
        window = self._trace.decoder.window(layer)
        cuts = [[cut for cut in variant if layer in cut.layers] for variant in variants]
        key = (window, [[id(cut) for cut in some] for some in cuts])
        if self._mask[0] != key:  # many layers share the mask of the layer before
            visible = torch.from_numpy(self._visible(window, cuts)).to(self._resid.device)
            self._mask = key, torch.zeros_like(visible, dtype=self._resid.dtype).masked_fill_(~visible, -torch.inf)
        return self._mask[1][:, None]

    def _visible(self, window: int | None, cuts: Sequence[Variant]) -> NDArray[np.bool_]:
        """Which positions each position may attend to, by variant, (variant, token, token)."""
        back = np.arange(self._start, self._end)[:, None] - np.arange(self._end)
        visible = np.repeat(((back >= 0) & (back < (window or self._end)))[None], len(cuts), axis=0)
        for mask, variant in zip(visible, cuts, strict=True):
            for cut in variant:
                queries = cut.queries[(cut.queries >= self._start) & (cut.queries < self._end)] - self._start
                mask[np.ix_(queries, cut.keys[cut.keys < self._end])] = False
        if not visible.any(-1).all():
            raise ValueError("a cut leaves a position with nothing to look at; leave it its own")
        return visible
