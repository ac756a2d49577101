"""All paths: a logit as an exact sum over the input tokens, or over pixels, through every layer.

The direct decomposition (direct.py) takes one step back from the query's stream and stops at the other positions. Here
every step back is taken, to the language model's input embeddings, and for images through the projector and the vision
encoder to the pixels. One backward pass under the rules of linear.py follows all paths at once:

    relevance(x) = x * gradient(x)

Frozen factors get no credit: attention weights, activation ratios and norm scales. The result is an exact account of
what was carried, not a forecast of what would happen without it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lapilli.core.errors import LapilliError
from lapilli.core.layout import Positions, Role, TokenLayout
from lapilli.inspection.attribution.linear import linear_rules, tracking
from lapilli.inspection.sites import has_constants
from lapilli.inspection.target import Target
from lapilli.model.architecture import token_cell
from lapilli.model.llava import Llava
from lapilli.model.placement import placed

_BYTES = 2**25  # the widest gradient of all queries that are followed back together
_CONSTANT = (".bias", "class_embedding", "position_embedding.weight")  # name endings of what is added to any input


@dataclass(frozen=True, eq=False)
class AllPaths:
    """The parts of every query's target, in logits, float64.

    layout         the sequence's layout
    value          (query,)         the target, from the model's own logits
    positions      (query, token)   by input token; 0 behind the query
    biases         (query,)         biases of the language model; 0 in most models
    cells          (query, image, patch_row, patch_column)  the image tokens' part by the pixels that it came from,
                   summed over all pixels and channels of a cell. Pixel values are 0 at the mean color
    vision_biases  (query,)         the image tokens' part that is the same for any picture: biases of the projector
                   and the vision encoder, its class token and position embeddings

        positions.sum + biases = value
        cells.sum + vision_biases = positions[image tokens].sum

    `cells` and `vision_biases` are None without `to_pixels`, or without an image.
    """

    layout: TokenLayout
    value: NDArray[np.float64]
    positions: NDArray[np.float64]
    biases: NDArray[np.float64]
    cells: NDArray[np.float64] | None = None
    vision_biases: NDArray[np.float64] | None = None

    @property
    def missed(self) -> NDArray[np.float64]:
        """The larger absolute error of the two sums, in logits, (query,)."""
        missed: NDArray[np.float64] = np.abs(self.positions.sum(1) + self.biases - self.value)
        if self.cells is not None and self.vision_biases is not None:
            image = self.positions[:, self.layout.role == Role.IMAGE].sum(1)
            missed = np.maximum(missed, np.abs(self.cells.sum((1, 2, 3)) + self.vision_biases - image))
        return missed

    @property
    def error(self) -> NDArray[np.float64]:
        """`missed` as a share of the value, (query,); in logits where the value is 0.

        It is about 1e-6 in float32, and below 1e-5. In bfloat16 it is about 1 %, and positions are off by up to 2 % of
        the largest. The share is larger for a value near 0.
        """
        share: NDArray[np.float64] = self.missed / np.where(self.value == 0, 1.0, np.abs(self.value))
        return share


def all_paths(
    llava: Llava,
    ids: NDArray[np.int64],
    layout: TokenLayout,
    pixel_values: Tensor | None,
    queries: Sequence[int] | Positions,
    target: Target | None = None,
    to_pixels: bool = True,
    progress: Callable[[int], None] | None = None,
) -> AllPaths:
    """Follow the target (centred by default) of every query of a sequence back along all paths.

    `ids` and `layout` are those of prompt and answer, `pixel_values` (image, 3, height, width) its images. A query is
    the position that predicts the token behind it, or the likeliest token at the end of the sequence. One forward pass
    is run, and one backward pass for every query, in batches as large as memory allows; `progress` gets the number of
    queries that are done.

    The model's parameters and their gradients stay as they are. Raises LapilliError for language models that are not
    built like LLaMA, and while heads or patches are replaced by values from elsewhere, and ValueError for queries or
    pictures that are not those of the sequence.
    """
    model: Any = llava.model
    _require_followed(model)
    at = np.asarray(queries, np.intp)
    _require_fitting(ids, layout, pixel_values, at)
    if model.training:
        model.eval()
    language, vision = _constants(model)
    with torch.inference_mode(False), torch.enable_grad(), tracking(model, [*language, *vision]), linear_rules(model):
        vision_stage = None if pixel_values is None else _vision_stage(model, pixel_values, vision, to_pixels)
        language_stage = _language_stage(model, ids, layout, vision_stage, language)
        value, directions = _targets(model, language_stage.end, ids, at, target or Target())
        follow = partial(
            _parts,
            layout,
            token_cell(model.config),
            language_stage=language_stage,
            vision_stage=vision_stage if to_pixels else None,
        )
        batches, size = [], _fitting(model, language_stage)
        for begin in range(0, len(at), size):
            batch = slice(begin, begin + size)
            batches.append(follow(queries=at[batch], directions=directions[batch]))
            if progress is not None:
                progress(min(batch.stop, len(at)))
    return AllPaths(layout, value, **{name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]})


@dataclass(frozen=True, eq=False)
class _Stage:
    """A part of the model that is followed back in one pass: its input `start`, a leaf, and its output `end`.

    `constants` are the parameters that may have been added on the way.
    """

    start: Tensor
    end: Tensor
    constants: Sequence[nn.Parameter]

    def back(self, cotangents: Tensor) -> tuple[Tensor, NDArray[np.float64]]:
        """The gradients at the start, and the parts of the constants, for cotangents (query, *shape of the end)."""
        first, *others = torch.vmap(self._gradients)(cotangents.to(self.end))
        added = [first.new_zeros(len(first), dtype=torch.float32)]
        for constant, gradient in zip(self.constants, others, strict=True):
            added.append((gradient.float().flatten(1) @ constant.detach().float().flatten()).to(first.device))
        return first, _numbers(torch.stack(added).sum(0))

    def _gradients(self, cotangent: Tensor) -> tuple[Tensor, ...]:
        inputs = [self.start, *self.constants]
        return torch.autograd.grad(self.end, inputs, cotangent, retain_graph=True, materialize_grads=True)


def _vision_stage(model: Any, pixel_values: Tensor, constants: Sequence[nn.Parameter], to_pixels: bool) -> _Stage:
    """From pixels to the image features, (patch of all images, d_model)."""
    pixels = placed({"pixel_values": pixel_values.detach().clone()}, model)["pixel_values"].requires_grad_()
    with torch.set_grad_enabled(to_pixels):
        features = model.model.get_image_features(pixels, return_dict=True).pooler_output
        return _Stage(pixels, torch.cat(list(features)), constants)


def _language_stage(
    model: Any,
    ids: NDArray[np.int64],
    layout: TokenLayout,
    vision_stage: _Stage | None,
    constants: Sequence[nn.Parameter],
) -> _Stage:
    """From input embeddings to the normed residual stream behind the last layer, (token, d_model) both."""
    table = model.get_input_embeddings()
    embeddings = table(torch.from_numpy(np.array(ids)).to(table.weight.device)).detach()
    if vision_stage is not None:
        embeddings[layout.positions(Role.IMAGE)] = vision_stage.end.detach().to(embeddings)
    embeddings.requires_grad_()
    read = model.model.language_model(inputs_embeds=embeddings[None], use_cache=False)
    return _Stage(embeddings, read.last_hidden_state[0], constants)


def _targets(
    model: Any, end: Tensor, ids: NDArray[np.int64], queries: Positions, target: Target
) -> tuple[NDArray[np.float64], Tensor]:
    """The target's value at every query, (query,), and its directions in the normed stream, (query, d_model)."""
    with torch.no_grad():
        logits = model.lm_head(end[queries]).float()
        follows = torch.from_numpy(np.append(ids, -1)[queries + 1]).to(logits.device)
        follows = torch.where(follows < 0, logits.argmax(-1), follows)
        return _numbers(target.of_logits(logits, follows)), target.directions(model.lm_head.weight, follows)


def _fitting(model: Any, language_stage: _Stage) -> int:
    """The number of queries to follow back together; an MLP's gradient is the widest tensor of each."""
    bytes_per_query = (
        len(language_stage.start)
        * int(model.config.text_config.intermediate_size)
        * language_stage.start.element_size()
    )
    return max(1, _BYTES // bytes_per_query)


def _parts(
    layout: TokenLayout,
    cell: int,
    *,
    language_stage: _Stage,
    vision_stage: _Stage | None,
    queries: Positions,
    directions: Tensor,
) -> dict[str, NDArray[np.float64]]:
    """The arrays of AllPaths for some queries; an image token stands for cell x cell pixels."""
    cotangents = language_stage.end.new_zeros(len(queries), *language_stage.end.shape)
    cotangents[range(len(queries)), queries] = directions.to(cotangents)
    gradients, biases = language_stage.back(cotangents)
    parts = {"positions": _numbers(_relevance(language_stage.start, gradients).sum(-1)), "biases": biases}
    if vision_stage is not None:
        gradients, vision_biases = vision_stage.back(gradients[:, layout.positions(Role.IMAGE)])
        pixels = _numbers(_relevance(vision_stage.start, gradients).sum(2))
        parts |= {"cells": _by_cell(pixels, layout, cell), "vision_biases": vision_biases}
    return parts


def _relevance(x: Tensor, gradient: Tensor) -> Tensor:
    return x.detach().float() * gradient.float()


def _by_cell(pixels: NDArray[np.float64], layout: TokenLayout, side: int) -> NDArray[np.float64]:
    """Sums of (query, image, height, width) over `side` x `side` pixels, (query, image, patch_row, patch_column)."""
    rows, columns = layout.grid(0)
    whole = pixels[..., : rows * side, : columns * side]  # no patch covers the rest at the right and the bottom
    cells: NDArray[np.float64] = whole.reshape((*pixels.shape[:2], rows, side, columns, side)).sum((3, 5))
    return cells


def _constants(model: Any) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The parameters that are added to any input: the language model's; the projector's and the vision encoder's."""
    language: list[nn.Parameter] = []
    vision: list[nn.Parameter] = []
    for name, parameter in model.model.named_parameters():
        if name.endswith(_CONSTANT):
            (language if name.startswith("language_model.") else vision).append(parameter)
    return language, vision


def _require_followed(model: Any) -> None:
    if has_constants(model):
        raise LapilliError("heads or patches are ablated by values from elsewhere, where no path leads; end the block")


def _require_fitting(ids: NDArray[np.int64], layout: TokenLayout, pixels: Tensor | None, queries: Positions) -> None:
    pictures = 0 if pixels is None else len(pixels)
    if len(ids) != layout.length or pictures != layout.image_count:
        sizes = f"{len(ids)} tokens and {pictures} pictures"
        raise ValueError(f"{sizes} for a layout of {layout.length} tokens and {layout.image_count} images")
    if not queries.size or queries.min() < 0 or queries.max() >= len(ids):
        raise ValueError(f"queries {queries.tolist()}: at least one is needed, and all within the {len(ids)} tokens")


def _numbers(tensor: Tensor) -> NDArray[np.float64]:
    return np.asarray(tensor.detach().cpu(), np.float64)
