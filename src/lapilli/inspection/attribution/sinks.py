"""Patches that are more than a cell of the picture: registers of the vision encoder, sinks of the language model.

A register is a patch whose vector the vision encoder has made unusually long, to store something of the whole picture
there (Darcet et al., ICLR 2024, "Vision Transformers Need Registers"). A sink is a patch that gathers attention
for any question, and contributes little (Kang et al., ICLR 2025, "See What You Are Told: Visual Attention Sink in Large
Multimodal Models"). Neither is noise to be deleted: a register may carry the scene. They are marked so that nobody
reads such a patch as "the model attends to this corner".
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.core.layout import Positions
from lapilli.inspection.attribution.direct import Direct, decompose
from lapilli.inspection.trace import Trace, attention
from lapilli.model.architecture import connector_of, features_read
from lapilli.model.connector import encoder_grid
from lapilli.model.llava import Llava
from lapilli.model.placement import placed

UNUSUAL = 3.5
"""The modified z-score above which a length is unusual (Iglewicz and Hoaglin 1993)."""

LONG = 2.0
"""The least length of a register, in medians. A blank picture's lengths differ little, yet some always differ most."""

MASSIVE = 20.0
"""The size above which an entry of an RMS-normed residual is massive: Kang et al.'s tau. None can be above sqrt(d)."""

_FIRST = 2  # the first layer whose residuals show sinks, as in Kang et al.
_MAD_TO_SD = 0.6745  # makes a median absolute deviation comparable with a standard deviation


@dataclass(frozen=True, eq=False)
class Lengths:
    """The lengths of the patches' vectors; patches are row-major in the grid.

    lengths    float32  (image, patch)
    scores     float32  (image, patch)  modified z-scores, 0.6745 (length - median) / median absolute deviation
    registers  per image, the patches whose lengths are unusual (UNUSUAL) and large (LONG)
    """

    lengths: NDArray[np.float32]
    scores: NDArray[np.float32]
    registers: tuple[Positions, ...]


@dataclass(frozen=True, eq=False)
class Registers:
    """The lengths at the hidden state of the vision encoder that the projector reads, and behind the projector.

    The projector's patches are image tokens. `token_of`, (patch of the encoder,), says which of them each goes into.
    """

    vision: Lengths
    projector: Lengths
    token_of: Positions

    @property
    def patches(self) -> tuple[Positions, ...]:
        """The tokens that are registers behind the projector or are made of one before it, per image, ascending."""
        both = zip(self.vision.registers, self.projector.registers, strict=True)
        return tuple(np.union1d(self.token_of[encoded], projected) for encoded, projected in both)


@dataclass(frozen=True, eq=False)
class ImageSinks:
    """One image's patches, row-major in its grid.

    activation    float32  (layer, patch)  the largest entry of the RMS-normed residual before a layer, among the sink
                           dimensions of the model; 0 where it has none
    patches       those in which it is massive (MASSIVE) before at least half of the layers from the third on
    attention     float64  (patch,)  the share of attention: mean over layers from the third on, heads and queries
    contribution  float64  (patch,)  the share of the positions' direct contributions to the target, in absolute
                           numbers; mean over queries
    """

    activation: NDArray[np.float32]
    patches: Positions
    attention: NDArray[np.float64]
    contribution: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Sinks:
    """The `dimensions` of the residual stream in which the first token is massive, ascending; every image's patches."""

    dimensions: Positions
    images: tuple[ImageSinks, ...]


@torch.inference_mode()
def registers(llava: Llava, pixel_values: Tensor) -> Registers:
    """The registers of pictures (image, 3, height, width), as `llava.pixels` makes them."""
    model: Any = llava.model.model
    pixels = placed({"pixel_values": pixel_values}, llava.model)["pixel_values"]
    states = model.vision_tower(pixels, output_hidden_states=True).hidden_states
    read = features_read(llava.model.config, states)
    patches = encoder_grid(llava.model.config.vision_config)
    token_of = connector_of(llava.model.config).token_of(np.arange(read.shape[1]), patches)
    return Registers(_lengths(read), _lengths(model.multi_modal_projector(read)), token_of)


def _lengths(vectors: Tensor) -> Lengths:
    lengths = vectors.float().norm(dim=-1).cpu().numpy()
    median = np.median(lengths, axis=1, keepdims=True)
    spread = np.median(np.abs(lengths - median), axis=1, keepdims=True)
    rounding = np.finfo(np.float32).eps * median + np.finfo(np.float32).tiny  # the spread of equal lengths
    scores = (_MAD_TO_SD * (lengths - median) / np.maximum(spread, rounding)).astype(np.float32)
    unusual = (scores > UNUSUAL) & (lengths > LONG * median)
    return Lengths(lengths, scores, tuple(np.nonzero(mask)[0] for mask in unusual))


@torch.inference_mode()
def sinks(trace: Trace, direct: Direct | None = None) -> Sinks:
    """The sinks among the patches of a trace's images, with the attention and the contribution of all patches.

    The sink dimensions are the model's own: those in which the first token, the sink of every language model, is
    massive in the middle layers (Sun et al. 2024, "Massive Activations in Large Language Models"). `direct` is the
    decomposition to take contributions from; without it the centred target is decomposed. In models of one or two
    layers all layers count. Raises ValueError for a trace without the stream of every position.
    """
    if trace.stream is None:
        raise ValueError("the trace has not the stream of every position; record with whole=True")
    dimensions = _sink_dimensions(trace, trace.stream.resid)
    attention_share = _attention_share(trace)
    contribution_share = _contribution_share((direct or decompose(trace)).positions)
    images = []
    for image in range(trace.layout.image_count):
        patches = trace.layout.patches(image).ravel()
        activation = _activation(trace, trace.stream.resid, dimensions, patches)
        (massive,) = np.nonzero((activation[_first(trace) :] > MASSIVE).mean(0) >= 0.5)
        images.append(ImageSinks(activation, massive, attention_share[patches], contribution_share[patches]))
    return Sinks(dimensions, tuple(images))


def _first(trace: Trace) -> int:
    return _FIRST if trace.decoder.depth > _FIRST else 0


def _sink_dimensions(trace: Trace, resid: Tensor) -> Positions:
    depth = trace.decoder.depth
    first = resid[depth // 4 : 3 * depth // 4 + 1, 0]
    sizes = (first.float() * trace.decoder.scale(first)).abs().median(dim=0).values
    return np.nonzero((sizes > MASSIVE).cpu().numpy())[0]


def _activation(trace: Trace, resid: Tensor, dimensions: Positions, patches: Positions) -> NDArray[np.float32]:
    if not dimensions.size:
        return np.zeros((trace.decoder.depth, patches.size), np.float32)
    at, among = (torch.from_numpy(which).to(resid.device) for which in (patches, dimensions))
    layers = [  # layer by layer: all of them in float32 would be large
        (before[at][:, among].float() * trace.decoder.scale(before[at])).abs().amax(1) for before in resid[:-1]
    ]
    return torch.stack(layers).cpu().numpy()


def _attention_share(trace: Trace) -> NDArray[np.float64]:
    layers = range(_first(trace), trace.decoder.depth)
    shares = [attention(trace, layer).mean((0, 1)).double().cpu().numpy() for layer in layers]
    share: NDArray[np.float64] = np.mean(shares, axis=0)
    return share


def _contribution_share(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    sizes = np.abs(positions)
    whole = sizes.sum(1, keepdims=True)  # 0 where a token is compared with itself
    share: NDArray[np.float64] = (sizes / np.where(whole == 0, 1.0, whole)).mean(0)
    return share
