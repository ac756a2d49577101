"""Tracing: one ordinary forward or generate call leaves all that is needed to take its logits apart.

    with recording(llava) as record:
        (given,) = answer(llava, [sample], pictures)
    trace = record.trace(given.ids, given.layout)

The keys and values of every position lie in the cache that the model makes anyway. Beside them the residual stream
and what each layer adds to it are kept, at the rows asked about alone; their queries are computed again when they are
needed. The model runs as ever: its attention stays fused, and no matrix of tokens by tokens is ever made.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.core.errors import LapilliError
from lapilli.core.layout import Positions, TokenLayout
from lapilli.inspection.decoder import Decoder, decoder
from lapilli.model.llava import Llava

_ALIKE = 0.02  # of the largest entry that keys may be off: rounding is far below it, and another rotation far above


@dataclass(frozen=True, eq=False)
class Stream:
    """The residual stream of every position of a sequence.

    resid      (layer + 1, token, d_model)  before every layer, and behind the last
    attn_out   (layer, token, d_model)      what every layer's attention added
    rotary     2 x (token, d_head)          cosine and sine of every position
    """

    resid: Tensor
    attn_out: Tensor
    rotary: tuple[Tensor, Tensor]


@dataclass(frozen=True, eq=False)
class Trace:
    """What one sequence left behind in a model, at the rows asked about. A row predicts the token that follows it.

    ids, layout   the sequence, (token,): prompt and answer
    rows          (row,)                          the positions asked about, ascending
    resid         (row, layer + 1, d_model)       the residual stream before every layer, and behind the last
    attn_out      (row, layer, d_model)           what every layer's attention added to it
    mlp_out       (row, layer, d_model)           what every layer's MLP added to it
    rotary        2 x (row, d_head)               cosine and sine of the rows' positions
    keys, values  layers of (kv_head, token, d_head), rotated as the model does; views into its cache, in which the
                  last token is missing when nothing has read it
    stream        the stream of every position, where it was asked for

    Tensors are where the model is, in its dtype.
    """

    llava: Llava
    ids: NDArray[np.int64]
    layout: TokenLayout
    rows: Positions
    resid: Tensor
    attn_out: Tensor
    mlp_out: Tensor
    rotary: tuple[Tensor, Tensor]
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    stream: Stream | None = None

    @cached_property
    def decoder(self) -> Decoder:
        """The language model that was traced."""
        return decoder(self.llava.model)

    @cached_property
    def logits(self) -> Tensor:
        """What every row predicts, float32, (row, vocab)."""
        with torch.inference_mode():
            logits: Tensor = self.decoder.head(self.decoder.norm(self.resid[:, -1]))
        return logits.float()

    @cached_property
    def next_ids(self) -> NDArray[np.int64]:
        """The token that follows each row, (row,); behind the end of the sequence, the likeliest."""
        likeliest = self.logits.argmax(-1).cpu().numpy()
        follows = np.append(self.ids, -1)[self.rows + 1]
        return np.where(follows < 0, likeliest, follows)

    def at(self, row: int) -> "Trace":
        """The same with one row alone, number `row` of `rows`, or from the last; raises IndexError for none of them."""
        number = range(len(self.rows))[row]
        one = slice(number, number + 1)
        cos, sin = self.rotary
        return replace(
            self,
            rows=self.rows[one],
            resid=self.resid[one],
            attn_out=self.attn_out[one],
            mlp_out=self.mlp_out[one],
            rotary=(cos[one], sin[one]),
        )


@torch.inference_mode()
def attention(trace: Trace, layer: int) -> Tensor:
    """How much every row looks at every position, by head, in one layer; float32, (row, head, token).

    Raises LapilliError as `require_keys` does.
    """
    require_keys(trace, [layer])
    model = trace.decoder
    query = model.query(layer, trace.resid[:, layer], trace.rotary).unflatten(1, (model.kv_heads, -1))
    keys = trace.keys[layer].float()
    scores = torch.einsum("rkgd,ktd->rkgt", query, keys) * model.blocks[layer].self_attn.scaling
    seen = model.seen(layer, trace.rows, scores.shape[-1]).to(scores.device)
    weights: Tensor = scores.masked_fill(~seen[:, None, None], -torch.inf).softmax(-1).flatten(1, 2)
    return weights


@torch.inference_mode()
def require_keys(trace: Trace, layers: Iterable[int]) -> None:
    """Refuse layers whose keys are not made as LLaMA's: what is worked out of looks would be wrong.

    Those of the last row are made again. Raises LapilliError for keys turned otherwise, or not turned.
    """
    rotary = (trace.rotary[0][None, -1:], trace.rotary[1][None, -1:])
    for layer in layers if len(trace.rows) else ():
        made = trace.decoder.keys_values(layer, trace.resid[None, -1:, layer], rotary)[0][0, :, 0]
        held = trace.keys[layer][:, int(trace.rows[-1])]
        if not float((made - held).abs().max()) <= _ALIKE * float(held.abs().max()):
            raise LapilliError(
                f"layer {layer} of this language model makes its keys otherwise than LLaMA does (Vicuna, Mistral and "
                "Qwen2 do as well): it cannot be looked into"
            )
