"""All paths: a logit as an exact sum over the tokens that were read, by whatever way they had their effect.

The direct decomposition (direct.py) counts what is added to a row's stream in one step from the positions as they
stand there; what had come to those positions from elsewhere stays with them. Here, every step back is taken, to the
language model's input embeddings, and for images on through the projector and the vision encoder to the pixels. One
backward pass under the rules of linear.py follows all paths at once: the relevance of an input is x * gradient.

What is held is not credited: which tokens attention looks at, how strongly neurons are on, and what the norms divide
by. It is an exact account of what was carried, not a forecast of what would happen without it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lapilli.core.layout import Positions, Role, TokenLayout
from lapilli.inspection.attribution.linear import linear_rules, tracking
from lapilli.inspection.target import Target
from lapilli.model.architecture import token_cell
from lapilli.model.llava import Llava
from lapilli.model.placement import placed

_BYTES = 2**25  # of the widest gradient of all rows that are followed back together
_CONSTANT = (".bias", "class_embedding", "position_embedding.weight")  # the ends of names of what is added to any input


@dataclass(frozen=True, eq=False)
class AllPaths:
    """The parts of every row's target, in logits, float64.

    layout         of the sequence
    value          (row,)         the target, from the model's own logits
    positions      (row, token)   by the token that was read; 0 behind the row
    biases         (row,)         of the language model: what is added whatever is read; 0 in most models
    cells          (row, image, patch_row, patch_column)  of the image tokens' part, by the pixels that it came from;
                   of a cell, all pixels and colours. Pixel values count from the mean colour, where they are 0
    vision_biases  (row,)         of the same part, what is added whatever is seen: biases of the projector and the
                   vision encoder, its class token and position embeddings

    positions + biases = value, and cells + vision_biases = the positions of image tokens. The last two are None where
    they were not asked for, or where there is no image.
    """

    layout: TokenLayout
    value: NDArray[np.float64]
    positions: NDArray[np.float64]
    biases: NDArray[np.float64]
    cells: NDArray[np.float64] | None = None
    vision_biases: NDArray[np.float64] | None = None

    @property
    def missed(self) -> NDArray[np.float64]:
        """By how much the parts miss what they are parts of, in logits, (row,); the larger of the two."""
        missed: NDArray[np.float64] = np.abs(self.positions.sum(1) + self.biases - self.value)
        if self.cells is not None and self.vision_biases is not None:
            image = self.positions[:, self.layout.role == Role.IMAGE].sum(1)
            missed = np.maximum(missed, np.abs(self.cells.sum((1, 2, 3)) + self.vision_biases - image))
        return missed

    @property
    def error(self) -> NDArray[np.float64]:
        """The same as a share of the value, (row,); where that is 0, in logits.

        About 1e-6 in float32, below 1e-5. In bfloat16, whose numbers have three digits, it is about a hundredth, and
        positions are off by up to 2 % of the largest. Of a value near 0 the share is larger.
        """
        share: NDArray[np.float64] = self.missed / np.where(self.value == 0, 1.0, np.abs(self.value))
        return share


def all_paths(
    llava: Llava,
    ids: NDArray[np.int64],
    layout: TokenLayout,
    pixel_values: Tensor | None,
    rows: Sequence[int] | Positions,
    target: Target | None = None,
    to_pixels: bool = True,
    progress: Callable[[int], None] | None = None,
) -> AllPaths:
    """Follow the target (centred, if none is given) of every row of a sequence back along all paths.

    `ids` and `layout` are those of prompt and answer, `pixel_values` (image, 3, height, width) show its images. A row
    is the position that predicts the token behind it; at the end of the sequence it is the likeliest. It takes one
    forward pass, and one backward pass for every row, of which as many are taken together as memory allows; `progress`
    is told how many rows are done.

    The model's parameters and their gradients stay as they are. Raises LapilliError for language models that are not
    built like LLaMA, and ValueError for rows or pictures that are not those of the sequence.
    """
    model: Any = llava.model
    at = np.asarray(rows, np.intp)
    _require_fitting(ids, layout, pixel_values, at)
    if model.training:
        model.eval()
    voice, eye = _constants(model)
    with torch.inference_mode(False), torch.enable_grad(), tracking(model, [*voice, *eye]), linear_rules(model):
        sight = None if pixel_values is None else _sight(model, pixel_values, eye, to_pixels)
        reading = _reading(model, ids, layout, sight, voice)
        value, directions = _targets(model, reading.end, ids, at, target or Target())
        found = []
        size, cell = _fitting(model, reading), token_cell(model.config)
        for begin in range(0, len(at), size):
            some, towards = at[begin : begin + size], directions[begin : begin + size]
            seen = sight if to_pixels else None
            found.append(_parts(reading, seen, layout, cell, rows=some, directions=towards))
            if progress is not None:
                progress(begin + len(some))
    return AllPaths(layout, value, **{name: np.concatenate([parts[name] for parts in found]) for name in found[0]})


@dataclass(frozen=True, eq=False)
class _Stage:
    """A stretch of all paths that is followed back in one go: what came out at its end, and what went in.

    `start` is a leaf, and `constants` are the parameters that may have been added on the way.
    """

    start: Tensor
    end: Tensor
    constants: Sequence[nn.Parameter]

    def back(self, cotangents: Tensor) -> tuple[Tensor, NDArray[np.float64]]:
        """The gradients at the start, and the parts of the constants, for cotangents (row, *shape of the end)."""
        first, *others = torch.vmap(self._gradients)(cotangents.to(self.end))
        added = [first.new_zeros(len(first), dtype=torch.float32)]
        for constant, gradient in zip(self.constants, others, strict=True):
            added.append((gradient.float().flatten(1) @ constant.detach().float().flatten()).to(first.device))
        return first, _numbers(torch.stack(added).sum(0))

    def _gradients(self, cotangent: Tensor) -> tuple[Tensor, ...]:
        inputs = [self.start, *self.constants]
        return torch.autograd.grad(self.end, inputs, cotangent, retain_graph=True, materialize_grads=True)


def _sight(model: Any, pixel_values: Tensor, constants: Sequence[nn.Parameter], to_pixels: bool) -> _Stage:
    """From pixels to the rows that take the places of <image> tokens, (patch of all images, d_model)."""
    pixels = placed({"pixel_values": pixel_values.detach().clone()}, model)["pixel_values"].requires_grad_()
    with torch.set_grad_enabled(to_pixels):
        features = model.model.get_image_features(pixels, return_dict=True).pooler_output
        return _Stage(pixels, torch.cat(list(features)), constants)


def _reading(
    model: Any, ids: NDArray[np.int64], layout: TokenLayout, sight: _Stage | None, constants: Sequence[nn.Parameter]
) -> _Stage:
    """From input embeddings to the normed residual stream behind the last layer, (token, d_model) both."""
    table = model.get_input_embeddings()
    embeddings = table(torch.from_numpy(np.array(ids)).to(table.weight.device)).detach()
    if sight is not None:
        embeddings[layout.positions(Role.IMAGE)] = sight.end.detach().to(embeddings)
    embeddings.requires_grad_()
    read = model.model.language_model(inputs_embeds=embeddings[None], use_cache=False)
    return _Stage(embeddings, read.last_hidden_state[0], constants)


def _targets(
    model: Any, end: Tensor, ids: NDArray[np.int64], rows: Positions, target: Target
) -> tuple[NDArray[np.float64], Tensor]:
    """The target's value at every row, (row,), and what the normed stream is multiplied with for it, (row, d_model)."""
    with torch.no_grad():
        logits = model.lm_head(end[rows]).float()
        follows = torch.from_numpy(np.append(ids, -1)[rows + 1]).to(logits.device)
        follows = torch.where(follows < 0, logits.argmax(-1), follows)
        return _numbers(target.of_logits(logits, follows)), target.directions(model.lm_head.weight, follows)


def _fitting(model: Any, reading: _Stage) -> int:
    """How many rows to follow back together: the widest thing that is held of each is a gradient of an MLP's."""
    held = len(reading.start) * int(model.config.text_config.intermediate_size) * reading.start.element_size()
    return max(1, _BYTES // held)


def _parts(
    reading: _Stage, sight: _Stage | None, layout: TokenLayout, cell: int, rows: Positions, directions: Tensor
) -> dict[str, NDArray[np.float64]]:
    """The arrays of AllPaths for some rows; an image token stands for cell x cell pixels."""
    cotangents = reading.end.new_zeros(len(rows), *reading.end.shape)
    cotangents[range(len(rows)), rows] = directions.to(cotangents)
    gradients, biases = reading.back(cotangents)
    parts = {"positions": _numbers(_relevance(reading.start, gradients).sum(-1)), "biases": biases}
    if sight is not None:
        gradients, vision_biases = sight.back(gradients[:, layout.positions(Role.IMAGE)])
        pixels = _numbers(_relevance(sight.start, gradients).sum(2))
        parts |= {"cells": _by_cell(pixels, layout, cell), "vision_biases": vision_biases}
    return parts


def _relevance(x: Tensor, gradient: Tensor) -> Tensor:
    return x.detach().float() * gradient.float()


def _by_cell(pixels: NDArray[np.float64], layout: TokenLayout, side: int) -> NDArray[np.float64]:
    """Sums of (row, image, height, width) over `side` x `side` pixels, (row, image, patch_row, patch_column)."""
    rows, columns = layout.patches(0).shape
    whole = pixels[..., : rows * side, : columns * side]  # what is left at the right and the bottom is not seen
    cells: NDArray[np.float64] = whole.reshape(*pixels.shape[:2], rows, side, columns, side).sum((3, 5))
    return cells


def _constants(model: Any) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters that are added to whatever is there: of the language model; of projector and vision encoder."""
    voice: list[nn.Parameter] = []
    eye: list[nn.Parameter] = []
    for name, parameter in model.model.named_parameters():
        if name.endswith(_CONSTANT):
            (voice if name.startswith("language_model.") else eye).append(parameter)
    return voice, eye


def _require_fitting(ids: NDArray[np.int64], layout: TokenLayout, pixels: Tensor | None, rows: Positions) -> None:
    shown = 0 if pixels is None else len(pixels)
    if len(ids) != layout.length or shown != layout.image_count:
        found = f"{len(ids)} tokens and {shown} pictures"
        raise ValueError(f"{found} for a layout of {layout.length} tokens and {layout.image_count} images")
    if not rows.size or rows.min() < 0 or rows.max() >= len(ids):
        raise ValueError(f"rows {rows.tolist()}: at least one is needed, and all within the {len(ids)} tokens")


def _numbers(tensor: Tensor) -> NDArray[np.float64]:
    return np.asarray(tensor.detach().cpu(), np.float64)
