"""Recording: the activations of a forward or generate call, copied by hooks, and the trace made of them.

The model's outputs stay the same to the bit. The hooks copy the requested queries, and are removed however the block
ends.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.core.errors import LapilliError
from lapilli.core.layout import Positions, Role, TokenLayout
from lapilli.data.encode import Encoded, encode
from lapilli.data.sample import Sample, Turn
from lapilli.inspection.decoder import decoder
from lapilli.inspection.sites import heads_changed, watching
from lapilli.inspection.trace import Stream, Trace
from lapilli.model.llava import Llava
from lapilli.model.placement import placed
from lapilli.model.upstream import cache_argument, cache_in, cache_layers, cache_length, new_cache, require_arguments

_RECORDED = ("resid_pre", "attn_out", "mlp_out")
_STREAM = ("resid_pre", "attn_out")  # of every position, with `whole`


@contextmanager
def recording(
    llava: Llava, queries: Sequence[int] | Positions | None = None, whole: bool = False
) -> Iterator["Recording"]:
    """Record forward and generate calls of the model within the block; their outputs stay the same to the bit.

    `queries` are positions in the batch as it is padded; by default the last position of every call, which predicts the
    token that `generate` adds. `whole` records the stream of every position too. A call that does not continue where
    the last one ended begins a new recording; it may continue the cache of a call that was not recorded. Raises
    LapilliError for language models that are not built like LLaMA.
    """
    record = Recording(llava, None if queries is None else np.unique(queries), whole)
    language: Any = llava.model.model.language_model
    require_arguments(type(language).forward, "inputs_embeds", "attention_mask")
    with ExitStack() as hooks:
        for handle in (
            llava.model.register_forward_pre_hook(record.read, with_kwargs=True),
            language.register_forward_pre_hook(record.enter, with_kwargs=True),
            language.rotary_emb.register_forward_hook(record.rotate),
            language.register_forward_hook(record.leave),
        ):
            hooks.callback(handle.remove)
        hooks.enter_context(watching(llava.model, record.watchers()))
        yield record


def answered(llava: Llava, sample: Sample, text: str) -> Encoded:
    """Encode a sample with `text`, stripped of spaces, as the answer to its question.

    Raises LapilliError for an answer that cannot be encoded, and for one that is too long for the language model.
    """
    encoded = encode(replace(sample, turns=(*sample.turns, Turn("assistant", text.strip()))), llava.codec)
    model: Any = llava.model
    room = model.config.text_config.max_position_embeddings
    if len(encoded.ids) > room:
        raise LapilliError(
            f"{len(encoded.ids)} tokens with the answer, but the language model reads {room}; shorten it"
        )
    return encoded


@torch.inference_mode()
def traced(llava: Llava, encoded: Encoded, pixels: Tensor | None = None, whole: bool = False) -> Trace:
    """Trace an encoded sequence with its answer, at the queries that predict the tokens of its last answer.

    `pixels` are its pictures, (image, 3, side, side). Raises LapilliError as `recording` does.
    """
    (answer,) = np.nonzero(encoded.layout.last_answer)
    batch = {"input_ids": torch.tensor(encoded.ids)[None]} | ({} if pixels is None else {"pixel_values": pixels})
    model: Any = llava.model
    inputs = placed(batch, model) | cache_argument(model, new_cache())
    with recording(llava, answer - 1, whole) as record:
        model(**inputs, use_cache=True, logits_to_keep=1)
    return record.trace(encoded.ids, encoded.layout)


@final
class Recording:
    """The activations of a batch so far; `trace` returns one of its sequences."""

    def __init__(self, llava: Llava, queries: Positions | None, whole: bool) -> None:
        self._llava = llava
        self._depth = decoder(llava.model).depth
        self._requested = queries
        self._whole = whole
        self._input_ids: Tensor | None = None
        self._begin(None, 0)

    def trace(self, ids: NDArray[np.int64], layout: TokenLayout, index: int | None = None) -> Trace:
        """The trace of the sequence of the last batch with these tokens and this layout, unpadded.

        The sequence is identified by its tokens, or by `index` where several have the same. A stop at its end, and
        what is behind it, is no query. Raises LapilliError when the sequence was not recorded, or not far enough, when
        a cache with a sliding window has dropped positions, and when sequences were exchanged, as by beam search.
        """
        self._require_in_order()
        index = self._index_of(ids) if index is None else self._checked(index, ids)
        start = self._start(index)
        queries = np.concatenate([np.empty(0, np.intp), *self._queries]) - start
        end = len(ids) - (layout.role[-1] == Role.STOP)
        (inside,) = np.nonzero((queries >= 0) & (queries < end))
        self._require_recorded(start + int(queries[inside].max(initial=-1)) + 1, len(inside))
        span = slice(start, start + len(ids))
        layers = cache_layers(self._cache)
        return Trace(
            llava=self._llava,
            ids=ids,
            layout=layout,
            queries=queries[inside],
            resid=self._layers("resid_pre", index)[inside],
            attn_out=self._layers("attn_out", index)[inside],
            mlp_out=self._layers("mlp_out", index)[inside],
            rotary=(_table(self._tables, 0, index)[inside], _table(self._tables, 1, index)[inside]),
            keys=tuple(keys[index, :, span] for keys, _ in layers),
            values=tuple(values[index, :, span] for _, values in layers),
            stream=self._stream(index, span) if self._whole else None,
            heads_changed=self._heads_changed,
        )

    def watchers(self) -> dict[str, Any]:
        """The watcher of each site that is recorded."""
        watchers: dict[str, Any] = {}
        for layer in range(self._depth):
            watchers |= {f"llm.layers.{layer}.{site}": partial(self._keep, site, layer) for site in _RECORDED}
        return watchers | {f"llm.layers.{self._depth - 1}.resid_post": partial(self._keep, "resid_pre", self._depth)}

    def read(self, model: Any, arguments: Any, keywords: dict[str, Any]) -> None:
        """Note the tokens that the model is about to read, if any; a forward pre-hook of the whole model."""
        self._input_ids = keywords.get("input_ids", arguments[0] if arguments else None)

    def enter(self, language: Any, arguments: Any, keywords: dict[str, Any]) -> None:
        """Note the positions that are about to be read; a forward pre-hook of the language model."""
        cache = cache_in(keywords.values())
        length = cache_length(cache)
        if not length or length != self._read:
            self._begin(keywords.get("attention_mask"), length)
        elif cache is self._cache and cache_layers(cache)[0][0] is not self._keys:
            self._reordered = True
        self._heads_changed |= heads_changed(self._llava.model)
        self._reads = keywords["inputs_embeds"].shape[1]
        requested = self._requested if self._requested is not None else np.array([self._read + self._reads - 1])
        self._columns = requested[(requested >= self._read) & (requested < self._read + self._reads)] - self._read
        self._queries.append(self._columns + self._read)
        self._ids.append(self._input_ids)

    def rotate(self, rotary: Any, arguments: Any, tables: tuple[Tensor, Tensor]) -> None:
        """Record the cosines and sines of the positions; a forward hook of the rotary embedding."""
        self._tables.append(tuple(table[:, self._columns].clone() for table in tables))
        if self._whole:
            self._all_tables.append(tables)

    def leave(self, language: Any, arguments: Any, output: Any) -> None:
        """Note the cache and the positions read; a forward hook of the language model."""
        self._cache = cache_in(output.values())
        self._keys = None if self._cache is None else cache_layers(self._cache)[0][0]
        self._read += self._reads
        self._input_ids = None

    def _begin(self, mask: Tensor | None, length: int) -> None:
        """Begin a new recording behind `length` positions in the cache."""
        self._mask = mask
        self._read = self._unseen = length
        self._cache = self._keys = None
        self._reordered = self._heads_changed = False
        self._queries: list[Positions] = []
        self._ids: list[Tensor | None] = []
        self._tables: list[tuple[Tensor, ...]] = []
        self._all_tables: list[tuple[Tensor, ...]] = []
        self._recorded: dict[tuple[str, int], list[Tensor]] = defaultdict(list)
        self._all: dict[tuple[str, int], list[Tensor]] = defaultdict(list)

    def _keep(self, site: str, layer: int, passing: Tensor) -> None:
        self._recorded[site, layer].append(passing[:, self._columns].clone())
        if self._whole and site in _STREAM:
            self._all[site, layer].append(passing)

    def _index_of(self, ids: NDArray[np.int64]) -> int:
        """The number of the sequence with these tokens; without token ids it must be the only sequence."""
        if not self._ids or any(part is None for part in self._ids):
            if any(len(part) > 1 for parts in self._recorded.values() for part in parts):
                raise LapilliError("the model was given no tokens to find a sequence by; say which by its index")
            return 0
        count = len(torch.cat([part for part in self._ids if part is not None], dim=1))
        those = [index for index in range(count) if self._holds(index, ids)]
        if len(those) > 1:
            raise LapilliError(f"sequences {those} of the batch have the same tokens; say which by its index")
        if not those:
            raise LapilliError("nothing of this sequence is in the last batch; run the model on it inside `recording`")
        return those[0]

    def _checked(self, index: int, ids: NDArray[np.int64]) -> int:
        if all(part is not None for part in self._ids) and not self._holds(index, ids):
            raise LapilliError(f"sequence {index} of the batch has other tokens; leave the index out to have it found")
        return index

    def _holds(self, index: int, ids: NDArray[np.int64]) -> bool:
        """Whether the tokens that were read of a sequence are the beginning of `ids`."""
        read = torch.cat([part[index] for part in self._ids if part is not None]).cpu().numpy()
        begin = self._start(index) - self._unseen
        read, ids = (read[begin:], ids) if begin >= 0 else (read, ids[-begin:])
        shared = min(len(read), len(ids))
        return shared > 0 and np.array_equal(read[:shared], ids[:shared])

    def _start(self, index: int) -> int:
        """The position at which a sequence begins in the padded batch."""
        return 0 if self._mask is None else int(self._mask[index].long().argmax())

    def _layers(self, site: str, index: int) -> Tensor:
        """The recorded activations of a site, (query, layer, d_model)."""
        depth = self._depth + (site == "resid_pre")
        return torch.stack(
            [torch.cat([part[index] for part in self._recorded[site, at]]) for at in range(depth)], dim=1
        )

    def _stream(self, index: int, span: slice) -> Stream:
        if self._unseen:
            raise LapilliError(
                f"the stream of the first {self._unseen} positions has not been recorded: the model went on with a "
                "cache; give it an empty one"
            )
        resid, attn_out = (
            torch.stack([torch.cat([part[index] for part in self._all[site, at]])[span] for at in range(depth)])
            for site, depth in (("resid_pre", self._depth + 1), ("attn_out", self._depth))
        )
        cos, sin = (_table(self._all_tables, which, index)[span] for which in range(2))
        return Stream(resid, attn_out, (cos, sin))

    def _require_in_order(self) -> None:
        if self._reordered:
            raise LapilliError(
                "the cache was changed between two calls, as beam search does: queries and keys are of different "
                "sequences; generate with num_beams=1"
            )

    def _require_recorded(self, reach: int, queries: int) -> None:
        if self._cache is None or not queries:
            raise LapilliError("nothing of this sequence has been recorded; run the model inside `recording`")
        cached = min(keys.shape[2] for keys, _ in cache_layers(self._cache))
        if cached < max(reach, self._read):
            raise LapilliError(
                f"the cache holds {cached} of {self._read} positions: a sliding window has dropped the others; give "
                "the model a DynamicCache() made without a configuration"
            )


def _table(calls: Sequence[tuple[Tensor, ...]], which: int, index: int) -> Tensor:
    """The cosines or the sines of a sequence, (query, d_head); the model may make one table for all sequences."""
    return torch.cat([tables[which][min(index, len(tables[which]) - 1)] for tables in calls])
