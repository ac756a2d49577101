"""Removal of parts of a picture, in its pixels, and readings of the same sequence afterwards."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from lapilli.core.layout import Positions
from lapilli.inspection.intervention.replay import read_on
from lapilli.inspection.readings import Predictions, Readings, clean, concatenated, predictions, readings_of
from lapilli.inspection.target import Target
from lapilli.inspection.trace import Trace
from lapilli.model.llava import Llava
from lapilli.model.placement import placed

_BLUR = 0.25  # of the side: colors survive a weaker one
_AT_ONCE = 8  # pictures in one batch, at least
_PATCHES = 1_024  # patches in one batch of small pictures: fewer would not fill a core, more not fit into its cache


def blurred(view: Image.Image) -> Image.Image:
    """Blur a picture beyond recognition of colors and shapes: Gaussian, sigma a quarter of the side."""
    return view.filter(ImageFilter.GaussianBlur(_BLUR * max(view.size)))


def replaced(
    view: Image.Image, other: Image.Image, patches: Positions, grid: tuple[int, int], cell: int
) -> Image.Image:
    """Return `view` with the cells of these patches, numbered row by row, replaced by those of `other`.

    A cell is `cell` x `cell` pixels; the rest at the right and the bottom, which no cell covers, stays.
    """
    rows, columns = grid
    mask = np.zeros(rows * columns, np.uint8)
    mask[patches] = 255
    shape = Image.fromarray(mask.reshape(rows, columns).repeat(cell, 0).repeat(cell, 1))
    whole = Image.new("L", view.size)
    whole.paste(shape)
    return Image.composite(other, view, whole)


@torch.inference_mode()
def reread(
    trace: Trace, views: Sequence[Image.Image], target: Target, pixel_values: Tensor, image: int = 0
) -> Readings:
    """Read the traced sequence again, once with each of `views` in the place of image number `image`.

    `pixel_values` (image, 3, side, side) are those of the sequence. The answer stays as it is: every query predicts
    after the same words.
    """
    return reread_pixels(trace, trace.llava.pixels(views), target, pixel_values, image)


@torch.inference_mode()
def reread_pixels(trace: Trace, variants: Tensor, target: Target, pixel_values: Tensor, image: int = 0) -> Readings:
    """Read the traced sequence again, as `reread` does, with pixel values (variant, 3, side, side).

    If the trace was recorded whole, nothing before the image is read again, and no other image is encoded again.
    """
    if trace.stream:
        return reread_features(trace, features_of(trace.llava, variants), target, image)
    batches = [_whole(trace, some, target, pixel_values, image) for some in variants.split(_AT_ONCE)]
    return readings_of(concatenated(batches), clean(trace, target))


@torch.inference_mode()
def features_of(llava: Llava, variants: Tensor) -> Tensor:
    """The image features that the language model reads, (picture, patch, d_model), from pixel values."""
    model: Any = llava.model
    features: list[Tensor] = []
    for some in variants.split(_fitting(math.prod(llava.codec.patch_grid))):
        pixels = placed({"pixel_values": some}, model)["pixel_values"]
        features += model.model.get_image_features(pixels, return_dict=True).pooler_output
    return torch.stack(features)


@torch.inference_mode()
def reread_features(trace: Trace, features: Tensor, target: Target, image: int = 0) -> Readings:
    """Read the traced sequence again, as `reread` does, with image features of `features_of`, encoded once for many.

    The trace must have been recorded whole.
    """
    assert trace.stream is not None
    positions = trace.layout.patches(image).ravel()
    start = int(positions.min())
    batches = []
    for some in features.split(_fitting(len(positions))):
        embeddings = trace.stream.resid[0, start:].repeat(len(some), 1, 1)
        embeddings[:, torch.from_numpy(positions - start)] = some.to(embeddings)
        read = read_on(trace, start, embeddings, target)
        batches.append((read.target, read.log_prob, read.likeliest))
    return readings_of(concatenated(batches), clean(trace, target))


def _fitting(patches: int) -> int:
    """The number of pictures of so many patches to read together."""
    return max(_AT_ONCE, _PATCHES // patches)


def _whole(trace: Trace, variants: Tensor, target: Target, pixel_values: Tensor, image: int) -> Predictions:
    model = trace.llava.model
    pictures = pixel_values.repeat(len(variants), 1, 1, 1, 1)
    pictures[:, image] = variants
    ids = torch.tensor(trace.ids).expand(len(variants), -1)
    batch = placed({"input_ids": ids, "pixel_values": pictures.flatten(0, 1)}, model)
    queries = torch.from_numpy(trace.queries).to(model.device)
    return predictions(model(**batch, logits_to_keep=queries, use_cache=False).logits, trace.next_ids, target)
