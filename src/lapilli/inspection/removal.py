"""Taking parts of a picture away, in its pixels, and reading the same sequence again."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageFilter
from torch import Tensor

from lapilli.core.layout import Positions
from lapilli.inspection.readings import Readings, clean, said, together
from lapilli.inspection.target import Target
from lapilli.inspection.trace import Trace
from lapilli.model.placement import placed

_BLUR = 0.25  # of the side: colours survive a weaker one
_AT_ONCE = 8  # pictures that are read in one batch


def blurred(view: Image.Image) -> Image.Image:
    """A picture so blurred that its colours and shapes are gone: Gaussian, sigma a quarter of the side."""
    return view.filter(ImageFilter.GaussianBlur(_BLUR * max(view.size)))


def blank(view: Image.Image) -> Image.Image:
    """A picture of nothing but the mean colour of `view`."""
    mean = np.asarray(view).reshape(-1, 3).mean(0).round().astype(int)
    return Image.new("RGB", view.size, tuple(mean.tolist()))


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
    model = trace.llava.model
    rows = torch.from_numpy(trace.rows)
    found = []
    for start in range(0, len(views), _AT_ONCE):
        some = trace.llava.pixels(views[start : start + _AT_ONCE])
        pictures = pixel_values.repeat(len(some), 1, 1, 1, 1)
        pictures[:, image] = some
        ids = torch.tensor(trace.ids).expand(len(some), -1)
        batch = placed({"input_ids": ids, "pixel_values": pictures.flatten(0, 1)}, model)
        logits = model(**batch, logits_to_keep=rows.to(model.device), use_cache=False).logits
        found.append(said(logits, trace.next_ids, target))
    return Readings(*together(found), *clean(trace, target))
