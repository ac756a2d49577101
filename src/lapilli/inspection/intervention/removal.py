"""Taking parts of a picture away, in its pixels, and reading the same sequence again."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from lapilli.core.layout import Positions
from lapilli.inspection.intervention.replay import read_on
from lapilli.inspection.readings import Readings, Said, clean, said, together
from lapilli.inspection.target import Target
from lapilli.inspection.trace import Trace
from lapilli.model.llava import Llava
from lapilli.model.placement import placed

_BLUR = 0.25  # of the side: colours survive a weaker one
_AT_ONCE = 8  # pictures that are read in one batch, of small ones
_PATCHES = 1_024  # as many as have so many patches: fewer would not fill a core, more not fit into its cache


def blurred(view: Image.Image) -> Image.Image:
    """A picture so blurred that its colours and shapes are gone: Gaussian, sigma a quarter of the side."""
    return view.filter(ImageFilter.GaussianBlur(_BLUR * max(view.size)))


def replaced(
    view: Image.Image, other: Image.Image, patches: Positions, grid: tuple[int, int], cell: int
) -> Image.Image:
    """`view` with the cells of these patches, numbered row by row, taken from `other`, of the same size.

    A cell is `cell` x `cell` pixels; what is left at the right and the bottom, where they do not fill it, stays.
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

    `pixel_values` (image, 3, side, side) are those of the sequence. The answer is given, not made again: every row
    says what it would after the same words.
    """
    return reread_pixels(trace, trace.llava.pixels(views), target, pixel_values, image)


@torch.inference_mode()
def reread_pixels(trace: Trace, variants: Tensor, target: Target, pixel_values: Tensor, image: int = 0) -> Readings:
    """The same with the pixel values of the pictures, (variant, 3, side, side).

    What comes before the image in the sequence is not read again, nor is any other image seen again, where the trace
    was recorded whole.
    """
    if trace.stream:
        return reread_features(trace, features_of(trace.llava, variants), target, image)
    found = [_whole(trace, some, target, pixel_values, image) for some in variants.split(_AT_ONCE)]
    return Readings(*together(found), *clean(trace, target))


@torch.inference_mode()
def features_of(llava: Llava, variants: Tensor) -> Tensor:
    """What the language model gets of pictures, (picture, patch, d_model), from their pixel values."""
    model: Any = llava.model
    found: list[Tensor] = []
    for some in variants.split(_fitting(math.prod(llava.codec.patch_grid))):
        pixels = placed({"pixel_values": some}, model)["pixel_values"]
        found += model.model.get_image_features(pixels, return_dict=True).pooler_output
    return torch.stack(found)


@torch.inference_mode()
def reread_features(trace: Trace, features: Tensor, target: Target, image: int = 0) -> Readings:
    """The same with what `features_of` gave: many sequences share what the encoder saw once. `trace` is whole."""
    assert trace.stream is not None
    positions = trace.layout.patches(image).ravel()
    start = int(positions.min())
    found = []
    for some in features.split(_fitting(len(positions))):
        embeddings = trace.stream.resid[0, start:].repeat(len(some), 1, 1)
        embeddings[:, torch.from_numpy(positions - start)] = some.to(embeddings)
        read = read_on(trace, start, embeddings, target)
        found.append((read.target, read.log_prob, read.likeliest))
    return Readings(*together(found), *clean(trace, target))


def _fitting(patches: int) -> int:
    """How many pictures of so many patches to read together."""
    return max(_AT_ONCE, _PATCHES // patches)


def _whole(trace: Trace, variants: Tensor, target: Target, pixel_values: Tensor, image: int) -> Said:
    model = trace.llava.model
    pictures = pixel_values.repeat(len(variants), 1, 1, 1, 1)
    pictures[:, image] = variants
    ids = torch.tensor(trace.ids).expand(len(variants), -1)
    batch = placed({"input_ids": ids, "pixel_values": pictures.flatten(0, 1)}, model)
    rows = torch.from_numpy(trace.rows).to(model.device)
    return said(model(**batch, logits_to_keep=rows, use_cache=False).logits, trace.next_ids, target)
