"""Replaying: the end of a traced sequence once more, in many variants at a time, with some looks cut.

An image comes before the text that asks about it, and nothing that is cut behind it changes its keys and values. So a
variant runs again only the positions from its first cut query on, and only the layers from its first cut layer on: the
keys and values before the one are the trace's, the residual stream before the other is the trace's too. In the last
layer only the rows run again. The layers are the model's own modules, called in batches of variants.
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
from lapilli.core.layout import Positions
from lapilli.inspection.readings import Readings, Said, clean, said, together
from lapilli.inspection.target import Target
from lapilli.inspection.trace import Stream, Trace, require_keys
from lapilli.model.upstream import attention_of, cache_argument, require_arguments, tensor_of

_MASKED = ("eager", "sdpa")  # the implementations of attention that take a mask of their caller's
_BYTES = {"cpu": 2**27, "other": 2**30}  # of keys, values and activations that a batch of variants holds, about
_NEAR = 8  # a part so small of what is run again anyway may be run in vain
_AT_ONCE = 128  # distributions over the vocabulary that are held at a time; larger blocks of memory are not used again


@dataclass(frozen=True, eq=False)
class Cut:
    """Looks that are taken away: before the softmax their scores are -inf, so that the others share their weight.

    queries   (n,)   the positions that look
    keys      (m,)   the positions that they no longer see
    layers           the layers in which, in every head

    Without keys nothing is cut, but the positions are run again: what rounding does.
    """

    queries: Positions
    keys: Positions
    layers: range


Variant: TypeAlias = Sequence[Cut]


@torch.inference_mode()
def replay(
    trace: Trace, variants: Sequence[Variant], target: Target | None = None, at_once: int | None = None
) -> Readings:
    """What the rows of a trace, recorded whole, would have predicted with these looks cut; all else is the model's.

    The answer is that of the trace, word for word. The target is centred, if none is given; `at_once` is how many
    variants are run together, as many as memory allows without it, and changes nothing but rounding. In float32 the
    result is that of a full run under the same mask, to rounding; in bfloat16 its error is that of two runs of the
    model in batches of other shapes. To be called outside of `recording`, whose hooks would take it for a call.

    Raises LapilliError for a trace without its whole stream, for attention that takes no mask (flash attention), and
    as `require_keys` does;
    ValueError for positions or layers that are not there, and for a position that is left with nothing to look at.
    """
    target = target or Target()
    as_it_is = clean(trace, target)
    shape = (len(variants), len(trace.rows))
    target_of, log_prob = (np.broadcast_to(part, shape).copy() for part in as_it_is[:2])
    likeliest = np.broadcast_to(as_it_is[2], shape).copy()
    for chosen, first, streams in _ends(trace, variants, at_once):
        found = _read(trace, streams, trace.next_ids[first:], target)
        target_of[chosen, first:], log_prob[chosen, first:], likeliest[chosen, first:] = found
    return Readings(target_of, log_prob, likeliest, *as_it_is)


@torch.inference_mode()
def replay_logits(trace: Trace, variants: Sequence[Variant], at_once: int | None = None) -> Tensor:
    """All logits of `replay`, float32, (variant, row, vocab), where the model is: much memory for many variants."""
    found = trace.logits.repeat(len(variants), 1, 1)
    for chosen, first, streams in _ends(trace, variants, at_once):
        found[torch.from_numpy(chosen).to(found.device), first:] = _logits(trace, streams)
    return found


@torch.inference_mode()
def read_on(trace: Trace, start: int, embeddings: Tensor, target: Target | None = None) -> Readings:
    """What the rows of a trace, recorded whole, would have predicted had other embeddings been read from `start` on.

    `embeddings` (variant, token, d_model) are those of as many tokens as the rows look back on from there; what comes
    before is the trace's, and is not run again. Rows before `start` stay as they are. Raises what `replay` does.
    """
    target = target or Target()
    suffix = _Suffix(trace, _require_replayable(trace), start, int(trace.rows.max()) + 1)
    first = int(np.searchsorted(trace.rows, start))
    found = []
    for some in embeddings[:, : suffix.length].split(suffix.fitting()):
        found.append(_read(trace, suffix.run_on(some), trace.next_ids[first:], target))
    as_it_is = clean(trace, target)
    before = [np.broadcast_to(part[:first], (len(embeddings), first)) for part in as_it_is]
    changed = [np.concatenate([old, new], axis=1) for old, new in zip(before, together(found), strict=True)]
    return Readings(changed[0], changed[1], changed[2], *as_it_is)


def _logits(trace: Trace, streams: Tensor) -> Tensor:
    model = trace.decoder
    logits: Tensor = model.head(model.norm(streams))
    return logits.float()


def _read(trace: Trace, streams: Tensor, ids: NDArray[np.int64], target: Target) -> Said:
    """What streams (variant, row, d_model) say of `ids` (row,); (variant, row) each."""
    size = max(1, _AT_ONCE // len(ids))
    return together([said(_logits(trace, some), ids, target) for some in streams.split(size)])


def _ends(trace: Trace, variants: Sequence[Variant], at_once: int | None) -> Iterator[tuple[Positions, int, Tensor]]:
    """Numbers of variants, the first row that they may change, and the rows' streams behind the last layer from it on.

    Streams are (variant, row, d_model). Variants that change no row are left out.
    """
    stream = _require_replayable(trace)
    end = int(trace.rows.max()) + 1
    for start, chosen in _by_start(trace, variants, end).items():
        suffix = _Suffix(trace, stream, start, end)
        chosen.sort(key=lambda number: _first_layer(variants[number]))
        size = at_once or suffix.fitting()
        first = int(np.searchsorted(trace.rows, start))
        for begin in range(0, len(chosen), size):
            some = chosen[begin : begin + size]
            yield np.array(some), first, suffix.run([variants[number] for number in some])


def _require_replayable(trace: Trace) -> Stream:
    attention = attention_of(trace.decoder)
    if attention not in _MASKED:
        raise LapilliError(f"attention {attention!r} takes no mask; call set_attn_implementation('sdpa') on the model")
    if trace.stream is None:
        raise LapilliError("the trace holds its rows alone; record it with whole=True to replay it")
    require_keys(trace, [trace.decoder.depth - 1])
    return trace.stream


def _by_start(trace: Trace, variants: Sequence[Variant], end: int) -> dict[int, list[int]]:
    """The numbers of the variants by a position before which none changes anything, if that is before `end`."""
    found = defaultdict(list)
    for number, variant in enumerate(variants):
        for cut in variant:
            _require_inside(trace, cut)
        start = min((int(cut.queries.min()) for cut in variant if cut.queries.size and cut.layers), default=end)
        if start < end:
            found[start].append(number)
    return _near(found, end)


def _near(found: dict[int, list[int]], end: int) -> dict[int, list[int]]:
    """Variants that begin at nearly the same position taken together, from the first of them on.

    A few positions more are run than need be, but in batches.
    """
    joined: dict[int, list[int]] = {}
    first = end
    for start in sorted(found):
        first = start if not joined or start - first >= (end - first) / _NEAR else first
        joined.setdefault(first, []).extend(found[start])
    return joined


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
    """As much of a transformers cache as a layer uses: it holds what comes before, and never keeps what is new."""

    def __init__(self, trace: Trace, length: int) -> None:
        self._held = [
            (keys[:, :length], values[:, :length]) for keys, values in zip(trace.keys, trace.values, strict=True)
        ]

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """Both with what comes before them; (variant, kv_head, token, d_head)."""
        before, beside = (held.expand(len(keys), -1, -1, -1) for held in self._held[layer])
        return torch.cat([before, keys], dim=2), torch.cat([beside, values], dim=2)


@final
class _Whole:
    """The same of one layer, when the keys and values of all positions are known: those that are new are among them."""

    def __init__(self, keys: Tensor, values: Tensor) -> None:
        self._held = keys, values

    def update(self, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """All of them; (variant, kv_head, token, d_head)."""
        return self._held


@final
class _Suffix:
    """The positions of a sequence from `start` to `end`, to be run again."""

    def __init__(self, trace: Trace, stream: Stream, start: int, end: int) -> None:
        self._trace = trace
        self._start = start
        self._end = end
        self._rows = torch.from_numpy(trace.rows[trace.rows >= start] - start).to(stream.resid.device)
        self._resid = stream.resid[:, start:end]
        self._rotary = (stream.rotary[0][None, start:end], stream.rotary[1][None, start:end])
        self._prefix = _Prefix(trace, start)
        self._mask: tuple[object, Tensor] = (None, self._resid)

    @property
    def length(self) -> int:
        """The number of its positions."""
        return self._end - self._start

    def fitting(self) -> int:
        """How many variants to run together."""
        model = self._trace.decoder
        new, width = self._end - self._start, model.heads * self._trace.keys[0].shape[-1]
        held = 4 * self._end * width + 4 * new * int(model.config.intermediate_size)
        scores = 2 * model.heads * new * self._end if attention_of(model) == "eager" else 0
        room = _BYTES["cpu" if self._resid.device.type == "cpu" else "other"]
        return max(1, room // (self._resid.element_size() * (held + scores)))

    def run(self, variants: Sequence[Variant]) -> Tensor:
        """The rows behind the last layer, (variant, row, d_model). Variants come in the order of their first layers."""
        joining = [_first_layer(variant) for variant in variants]
        hidden = self._resid[0, None][:0]
        for layer in range(joining[0], self._trace.decoder.depth):
            if joining.count(layer):
                hidden = torch.cat([hidden, self._resid[layer].expand(joining.count(layer), -1, -1)])
            hidden = self._layer(layer, hidden, self._additive_mask(layer, variants[: len(hidden)]))
        return hidden

    def run_on(self, hidden: Tensor) -> Tensor:
        """The same with other embeddings, (variant, token, d_model)."""
        for layer in range(self._trace.decoder.depth):
            hidden = self._layer(layer, hidden, self._additive_mask(layer, [()]))
        return hidden

    def _layer(self, layer: int, hidden: Tensor, mask: Tensor) -> Tensor:
        """Behind a layer; behind the last one the rows alone, since nobody looks at what others become in it."""
        model = self._trace.decoder
        rotary = self._rotary
        cache: _Prefix | _Whole = self._prefix
        if layer == model.depth - 1:
            cache = _Whole(*cache.update(*model.keys_values(layer, hidden, rotary), layer))
            rotary = (rotary[0][:, self._rows], rotary[1][:, self._rows])
            hidden, mask = hidden[:, self._rows], mask[:, :, self._rows]
        block = model.blocks[layer]
        require_arguments(type(block).forward, "attention_mask", "position_embeddings")
        made = block(hidden, attention_mask=mask, position_embeddings=rotary, **cache_argument(block, cache))
        return tensor_of(made, "what a layer puts out")

    def _additive_mask(self, layer: int, variants: Sequence[Variant]) -> Tensor:
        """0 where a position may look and -inf elsewhere, (variant, 1, token, token), the same for all heads."""
        window = self._trace.decoder.window(layer)
        cuts = [[cut for cut in variant if layer in cut.layers] for variant in variants]
        asked = (window, [[id(cut) for cut in some] for some in cuts])
        if self._mask[0] != asked:  # in many layers it is that of the layer before
            seen = torch.from_numpy(self._seen(window, cuts)).to(self._resid.device)
            self._mask = asked, torch.zeros_like(seen, dtype=self._resid.dtype).masked_fill_(~seen, -torch.inf)
        return self._mask[1][:, None]

    def _seen(self, window: int | None, cuts: Sequence[Variant]) -> NDArray[np.bool_]:
        """Which positions each position may look at, by variant, (variant, token, token)."""
        back = np.arange(self._start, self._end)[:, None] - np.arange(self._end)
        seen = np.repeat(((back >= 0) & (back < (window or self._end)))[None], len(cuts), axis=0)
        for one, variant in zip(seen, cuts, strict=True):
            for cut in variant:
                queries = cut.queries[(cut.queries >= self._start) & (cut.queries < self._end)] - self._start
                one[np.ix_(queries, cut.keys[cut.keys < self._end])] = False
        if not seen.any(-1).all():
            raise ValueError("a cut leaves a position with nothing to look at; leave it its own")
        return seen
