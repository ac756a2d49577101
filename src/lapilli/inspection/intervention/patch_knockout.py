"""Read knock-out: the answer when the text can no longer attend to some patches of an image.

It is attention knock-out (Geva et al. 2023) of whole key positions, run cheaply by replay.py. Pixels are not removed:
the vision encoder and the image's other positions have mixed these patches in. It measures what the text reads at these
positions themselves.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lapilli.core.layout import Positions, Role, TokenLayout
from lapilli.inspection.intervention.replay import Cut, readers, replay
from lapilli.inspection.readings import Readings
from lapilli.inspection.target import Target
from lapilli.inspection.trace import Trace


def read_knockout(
    trace: Trace, sets: NDArray[np.bool_] | Sequence[Positions], target: Target | None = None
) -> Readings:
    """Hide sets of patches, one after the other, from all text behind the first image, in every layer.

    `sets` are bool, (set, patch), over the patches of all images in the order of the sequence, or lists of positions.
    The patches of later images still attend to those of earlier ones. The trace must have been recorded whole; the
    target is centred by default. Raises ValueError for positions that are not patches, LapilliError where `replay`
    does.
    """
    hidden = _positions(trace.layout, sets)
    text, layers = readers(trace.layout), range(trace.decoder.depth)
    return replay(trace, [[Cut(text, keys, layers)] if keys.size else [] for keys in hidden], target)


def _positions(layout: TokenLayout, sets: NDArray[np.bool_] | Sequence[Positions]) -> list[Positions]:
    image = layout.positions(Role.IMAGE)
    if isinstance(sets, np.ndarray) and sets.dtype == np.bool_:
        if sets.ndim != 2 or sets.shape[1] != image.size:
            raise ValueError(f"sets of shape {sets.shape}: (set, {image.size}), for as many patches, is meant")
        return [image[chosen] for chosen in sets]
    for positions in sets:
        if wrong := np.setdiff1d(positions, image).tolist():
            raise ValueError(f"positions {wrong} are no patches of an image")
    return [np.asarray(positions, np.intp) for positions in sets]
