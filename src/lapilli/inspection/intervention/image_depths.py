"""Image depths: the layers in which text can attend to an image, cut short from above, from below, or by a window.

    withdrawn   from a layer on, no text attends to an image. Text reads what it reads as if the image's tokens had left
                the sequence, with every position keeping its number
    blocked     the same in a window of layers, behind which the image is there again
    late        images enter before a layer; the layers below run on text alone (`enter_late` of replay.py)

Withdrawn from the last layer's end on nothing has changed, and withdrawn from the first on, text sees no image: neither
does it where images enter behind the last layer. The cuts are those of attention knock-out (Geva et al. 2023), which
`replay` runs on a trace: the model itself is never changed.
"""

from collections.abc import Sequence

import numpy as np

from lapilli.core.layout import Positions, Role, TokenLayout
from lapilli.inspection.intervention.replay import Cut, Variant, readers


def hide(layout: TokenLayout, positions: Positions, layers: range) -> Variant:
    """Hide positions from all text behind the first image in these layers; a position always sees itself."""
    text = readers(layout)
    others = [Cut(np.setdiff1d(text, positions), positions, layers)]
    return others + [Cut(at[None], np.setdiff1d(positions, at), layers) for at in np.intersect1d(text, positions)]


def blocked(layout: TokenLayout, windows: Sequence[range]) -> list[Variant]:
    """Hide all images from text in each window of layers; a window that ends with the last layer withdraws them."""
    return [hide(layout, layout.positions(Role.IMAGE), window) for window in windows]


def random_text(layout: TokenLayout, rng: np.random.Generator) -> Positions:
    """As many random text positions of the prompt as there are image tokens, and at most half of them: a control.

    The first position, where attention rests, and the last, which predicts the answer, are never among them.
    """
    text = np.flatnonzero((layout.role != Role.IMAGE) & ~layout.last_answer)[1:-1]
    count = min(len(layout.positions(Role.IMAGE)), len(text) // 2)
    return np.sort(rng.choice(text, count, replace=False))
