"""Ablation: ordinary forward and generate calls in which the outputs of some heads, or some patches, are replaced.

    with ablated_heads(llava.model, [(14, 3), (14, 7)]):
        (result,) = answer(llava, [sample], pictures)

Plain hooks, removed however the block ends. The managers may be nested, and combined with `recording`.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal, TypeAlias, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lapilli.core.errors import LapilliError, UsageError
from lapilli.inspection.decoder import decoder
from lapilli.inspection.sites import Watcher, changing
from lapilli.model.architecture import features_read
from lapilli.model.llava import Llava
from lapilli.model.upstream import cache_in, cache_length

Head: TypeAlias = tuple[int, int]
"""A layer, and a head of it."""

HeadWay: TypeAlias = Literal["zero", "mean", "resample"]
PatchWay: TypeAlias = Literal["zero", "mean", "blank", "resample"]


@contextmanager
def ablated_heads(
    model: Any, heads: Sequence[Head], how: HeadWay = "zero", values: Mapping[Head, Tensor] | None = None
) -> Iterator[None]:
    """Replace the outputs of these heads, before the output matrix, at every position, within the block.

    zero      by 0
    mean      by `values[layer, head]`, (d_head,): their mean over other samples
    resample  by `values[layer, head]`, (token, d_head): their output for another sample of the same form, such as
              the same question about another picture. It is used position by position, as the batch is padded; tokens
              behind its end, such as generated ones, are left alone

    `model` is a LlavaForConditionalGeneration; such values are those of its sites `llm.layers.{i}.attn_heads`.
    Raises UsageError for a head that does not exist, and unless there are values that fit.
    """
    width = int(decoder(model).blocks[0].self_attn.head_dim)
    by_layer: dict[int, dict[int, Tensor]] = defaultdict(dict)
    for layer, head in heads:
        _require_head(model, layer, head)
        by_layer[layer][head] = _head_value((layer, head), how, values, width)
    read = _Read()
    watchers = {f"llm.layers.{layer}.attn_heads": _heads_watcher(some, read) for layer, some in by_layer.items()}
    with ExitStack() as hooks:
        hooks.callback(model.model.language_model.register_forward_pre_hook(read.enter, with_kwargs=True).remove)
        hooks.enter_context(changing(model, watchers, by_constants=how != "zero"))
        yield


@contextmanager
def ablated_patches(
    llava: Llava, patches: NDArray[np.bool_], how: PatchWay = "zero", values: Tensor | None = None
) -> Iterator[None]:
    """Replace the projector's output at these patches before the language model reads it, within the block.

    zero      by 0
    mean      by the mean patch of the same picture, or by `values` (d_model,)
    blank     by the same patches of a picture of the mean color, which is 0 once it is normalised
    resample  by the same patches of another picture: `values` are its pixel values (1, 3, height, width) or the
              projector's output for it (1, patch, d_model); or of as many others as each call shows

    `patches` are bool, (patch,) for every picture or (picture, patch) for those of each call, in their order. Pixels
    are not changed: the vision encoder has mixed these patches into the others.
    Raises UsageError for values that do not fit, and LapilliError for a call with another number of pictures.
    """
    source = _patch_source(llava, how, values)
    chosen = torch.from_numpy(np.array(patches, np.bool_))

    def change(features: Tensor) -> Tensor:
        _require_pictures("patches", tuple(chosen.shape), features)
        if source is not None and source.ndim == features.ndim:
            _require_pictures("values", tuple(source.shape[len(source) == 1 : 2]), features)
        replacement = features.mean(1, keepdim=True) if source is None else source.to(features)
        return torch.where(chosen.to(features.device)[..., None], replacement, features)

    with changing(llava.model, {"projector": change}, by_constants=source is not None and how != "zero"):
        yield


@final
class _Read:
    """A counter of the positions that the language model has read before its current call."""

    def __init__(self) -> None:
        self.before = 0

    def enter(self, language: Any, arguments: Any, keywords: dict[str, Any]) -> None:
        """Count the positions in the cache; a forward pre-hook of the language model."""
        self.before = cache_length(cache_in(keywords.values()))


def _heads_watcher(values: Mapping[int, Tensor], read: _Read) -> Watcher:
    def change(outputs: Tensor) -> Tensor:
        changed = outputs.clone()
        for head, value in values.items():
            if value.ndim == 1:
                changed[:, :, head] = value.to(changed)
            else:
                some = value[read.before : read.before + changed.shape[1]]
                changed[:, : len(some), head] = some.to(changed)
        return changed

    return change


def _require_head(model: Any, layer: int, head: int) -> None:
    language = decoder(model)
    if not (0 <= layer < language.depth and 0 <= head < language.heads):
        there = f"the model has layers 0 to {language.depth - 1}, each with heads 0 to {language.heads - 1}"
        raise UsageError(f"head {head} of layer {layer}: {there}")


def _head_value(head: Head, how: str, values: Mapping[Head, Tensor] | None, width: int) -> Tensor:
    dimensions = {"zero": 1, "mean": 1, "resample": 2}.get(how)
    if dimensions is None:
        raise UsageError(f"ablation {how!r} of heads: unknown; choose zero, mean or resample")
    value = torch.zeros(width) if how == "zero" else (values or {}).get(head)
    if value is None or value.ndim != dimensions or value.shape[-1] != width:
        shape = "none" if value is None else tuple(value.shape)
        meant = f"({width},)" if dimensions == 1 else f"(token, {width})"
        raise UsageError(f"ablation {how!r} of head {head}: values {shape}; give them in shape {meant}")
    return value


def _patch_source(llava: Llava, how: str, values: Tensor | None) -> Tensor | None:
    """The patches' replacement, broadcast to (picture, patch, d_model); None for a picture's own mean."""
    dimensions = {"zero": (None,), "mean": (None, 1), "blank": (None,), "resample": (3, 4)}.get(how)
    if dimensions is None:
        raise UsageError(f"ablation {how!r} of patches: unknown; choose zero, mean, blank or resample")
    if (None if values is None else values.ndim) not in dimensions:
        shape = "none" if values is None else tuple(values.shape)
        raise UsageError(f"ablation {how!r} of patches: values {shape}, which are not what it takes")
    if how == "zero":
        return torch.zeros(())
    if how == "blank":
        config: Any = llava.model.config.vision_config
        return _projected(llava.model, torch.zeros(1, 3, config.image_size, config.image_size))
    return _projected(llava.model, values) if values is not None and values.ndim == 4 else values


def _projected(model: Any, pixels: Tensor) -> Tensor:
    """The projector's output for pictures, untouched by other ablations; (picture, patch, d_model)."""
    with torch.inference_mode():
        states = model.model.vision_tower(pixels.to(model.device, model.dtype), output_hidden_states=True).hidden_states
        projector = model.model.multi_modal_projector
        # Its forward alone, without its hooks: those belong to the calls that are ablated.
        features: Tensor = projector.forward(features_read(model.config, states))
    return features.clone()


def _require_pictures(name: str, shape: tuple[int, ...], features: Tensor) -> None:
    pictures, patches = features.shape[:2]
    if shape not in ((patches,), (pictures, patches)):
        raise LapilliError(f"{name} {shape}: the call shows {pictures} x {patches} (picture, patch); give as many")
