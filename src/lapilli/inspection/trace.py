"""Traces: the activations of one forward or generate call that are needed to decompose its logits.

    with recording(llava) as record:
        (result,) = answer(llava, [sample], pictures)
    trace = record.trace(result.ids, result.layout)

The keys and values of every position are those of the model's own cache. The residual stream and what each layer adds
to it are recorded at the requested queries alone; their query vectors are computed again when they are needed.
Attention stays fused, and no matrix of tokens by tokens is ever made.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.core.errors import LapilliError
from lapilli.core.layout import Positions, Role, TokenLayout
from lapilli.inspection.decoder import Decoder, decoder
from lapilli.model.llava import Llava

_ALIKE = 0.02  # tolerance of keys, of their largest entry: rounding is far below it, another rotation far above


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
    """The activations of one sequence at some queries: positions that predict the token behind them.

    ids, layout   the sequence, (token,): prompt and answer
    queries       (query,)                        their positions in the sequence, ascending
    resid         (query, layer + 1, d_model)     the residual stream before every layer, and behind the last
    attn_out      (query, layer, d_model)         the output of every layer's attention
    mlp_out       (query, layer, d_model)         the output of every layer's MLP
    rotary        2 x (query, d_head)             cosine and sine of the queries' positions
    keys, values  layers of (kv_head, token, d_head), rotated as in the model; views into its cache, in which the last
                  token is missing when the model has not read it
    stream        the stream of every position, if the trace was recorded whole
    heads_changed whether the outputs of heads were replaced, as by an ablation: they cannot be taken apart then

    Tensors are on the model's device, in its dtype.
    """

    llava: Llava
    ids: NDArray[np.int64]
    layout: TokenLayout
    queries: Positions
    resid: Tensor
    attn_out: Tensor
    mlp_out: Tensor
    rotary: tuple[Tensor, Tensor]
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    stream: Stream | None = None
    heads_changed: bool = False

    @cached_property
    def decoder(self) -> Decoder:
        """The language model that was traced."""
        return decoder(self.llava.model)

    @cached_property
    def logits(self) -> Tensor:
        """The logits of every query, float32, (query, vocab)."""
        with torch.inference_mode():
            logits: Tensor = self.decoder.head(self.decoder.norm(self.resid[:, -1]))
        return logits.float()

    @cached_property
    def next_ids(self) -> NDArray[np.int64]:
        """The token that follows each query, (query,); behind the end of the sequence, the likeliest."""
        likeliest = self.logits.argmax(-1).cpu().numpy()
        follows = np.append(self.ids, -1)[self.queries + 1]
        return np.where(follows < 0, likeliest, follows)

    @cached_property
    def stops(self) -> NDArray[np.bool_]:
        """Whether what follows each query ends an answer, (query,): its stop, or the end of the sequence."""
        stops: NDArray[np.bool_] = np.append(self.layout.role, Role.STOP)[self.queries + 1] == Role.STOP
        return stops

    def at(self, query: int) -> "Trace":
        """The trace at query number `query` alone, counted from the end if negative; raises IndexError for no query."""
        number = range(len(self.queries))[query]
        single = slice(number, number + 1)
        cos, sin = self.rotary
        return replace(
            self,
            queries=self.queries[single],
            resid=self.resid[single],
            attn_out=self.attn_out[single],
            mlp_out=self.mlp_out[single],
            rotary=(cos[single], sin[single]),
        )


@torch.inference_mode()
def attention(trace: Trace, layer: int) -> Tensor:
    """The attention weights of every query, by head, in one layer; float32, (query, head, token).

    Raises LapilliError as `require_keys` does.
    """
    require_keys(trace, [layer])
    model = trace.decoder
    query = model.query_vectors(layer, trace.resid[:, layer], trace.rotary).unflatten(1, (model.kv_heads, -1))
    keys = trace.keys[layer].float()
    scores = torch.einsum("rkgd,ktd->rkgt", query, keys) * model.blocks[layer].self_attn.scaling
    visible = model.visible(layer, trace.queries, scores.shape[-1]).to(scores.device)
    weights: Tensor = scores.masked_fill(~visible[:, None, None], -torch.inf).softmax(-1).flatten(1, 2)
    return weights


@torch.inference_mode()
def require_keys(trace: Trace, layers: Iterable[int]) -> None:
    """Raise LapilliError for layers whose keys are not made like LLaMA's, as with another rotation or with none.

    The keys of the last query are computed again and compared: attention weights would be wrong otherwise.
    """
    rotary = (trace.rotary[0][None, -1:], trace.rotary[1][None, -1:])
    for layer in layers if len(trace.queries) else ():
        expected = trace.decoder.keys_values(layer, trace.resid[None, -1:, layer], rotary)[0][0, :, 0]
        cached = trace.keys[layer][:, int(trace.queries[-1])]
        if not float((expected - cached).abs().max()) <= _ALIKE * float(cached.abs().max()):
            raise LapilliError(
                f"layer {layer} of this language model makes its keys otherwise than LLaMA does (Vicuna, Mistral and "
                "Qwen2 do as well): it cannot be looked into"
            )
