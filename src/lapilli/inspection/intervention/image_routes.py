"""Image routes: the ways by which an image reaches the answer, measured by attention knock-out.

The method is that of Geva et al. 2023 ("Dissecting Recall of Factual Associations in Auto-Regressive Language Models"),
applied to LLaVA by arXiv 2411.18620: in a window of layers, some positions can no longer attend to others, and the
change of the answer measures what went that way. A direct decomposition (direct.py) sees the last step alone; most of
what an image contributes to a LLaVA reaches the answer through the question's tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lapilli.core.errors import LapilliError
from lapilli.core.layout import Positions, Role, TokenLayout
from lapilli.inspection.intervention.replay import Cut, Variant, replay
from lapilli.inspection.target import Target
from lapilli.inspection.trace import Trace

ROUTES = ("image->question", "image->template", "image->last", "question->last")
"""The attention edges that are cut: key positions, then the positions that attend to them."""

_OF_IMAGE = 3  # the first three: together they are image->text
_WINDOW, _DEPTH = 9, 32  # the paper's window, and the depth of its model


@dataclass(frozen=True, eq=False)
class Parts:
    """The positions that the routes join, ascending.

    image     those of all images
    question  those of all questions, and of the answers of earlier turns: to the last answer, both are context
    template  all other text: fixed text, system prompt, stops
    last      the positions that predict the last answer: its own, and the one before it. They are in no other part
    """

    image: Positions
    question: Positions
    template: Positions
    last: Positions


@dataclass(frozen=True, eq=False)
class Routes:
    """The changes by cutting each of ROUTES, in nats and in logits of the target, float32; below 0 where it had helped.

    windows                the layers that are cut together: one window around every layer
    log_prob_change        (query, route, window)
    target_change          (query, route, window)
    whole_log_prob_change  (query, route + 1)   in all layers at once; the last column is image->text, all image routes
    whole_target_change    (query, route + 1)
    """

    windows: tuple[range, ...]
    log_prob_change: NDArray[np.float32]
    target_change: NDArray[np.float32]
    whole_log_prob_change: NDArray[np.float32]
    whole_target_change: NDArray[np.float32]

    @property
    def shares(self) -> NDArray[np.float32]:
        """The shares of image->text's change of the target: image->question, image->template, image->last, remainder.

        (query, 4), with sum 1. The remainder is the routes' interaction: above 0 where they back each other up, below
        where two are needed together, and nan where the image changes nothing. The smaller the whole change, the less
        a share means: show them together.
        """
        return _shares(self.whole_target_change)


def routes(trace: Trace, target: Target | None = None) -> Routes:
    """Cut every route in every window of layers, and in all layers; the trace must have been recorded whole.

    Text behind the first image is cut from all images; the patches of a later image still attend to what comes before
    them. A window has 9 layers in a model of 32, in proportion in others, and fewer at both ends. Queries before the
    last answer change as far as they depend on the cut edges. The target is centred by default.

    Raises LapilliError for a sequence without an image, and where `replay` does.
    """
    if not trace.layout.image_count:
        raise LapilliError("the sequence shows no image; ask for the routes of a sample with one")
    depth = trace.decoder.depth
    windows = layer_windows(depth)
    pairs = _pairs(trace.layout)
    cut = [_cut([pair], window) for pair in pairs for window in windows]
    whole = [_cut([pair], range(depth)) for pair in pairs] + [_cut(pairs[:_OF_IMAGE], range(depth))]
    readings = replay(trace, cut + whole, target)
    by_window, by_route = [], []
    for change in (readings.log_prob_change.T, readings.target_change.T):
        by_window.append(change[:, : len(cut)].reshape(-1, len(pairs), len(windows)))
        by_route.append(change[:, len(cut) :])
    return Routes(windows, *by_window, *by_route)


def parts(layout: TokenLayout) -> Parts:
    """The positions of the image, the question, the template and the last answer."""
    role, end = layout.role, layout.length - 1
    last = np.append(layout.last_answer[1:], role[end] != Role.STOP)  # the end predicts too, unless the answer is over
    image = role == Role.IMAGE
    question = np.isin(role, (Role.QUESTION, Role.ANSWER)) & ~last
    template = ~(image | question | last)
    return Parts(*(np.nonzero(chosen)[0] for chosen in (image, question, template, last)))


def _pairs(layout: TokenLayout) -> list[tuple[Positions, Positions]]:
    """The queries and the keys of every route. Positions before the first image cannot attend to it."""
    of = parts(layout)
    question, template = (some[some > of.image[0]] for some in (of.question, of.template))
    return [(question, of.image), (template, of.image), (of.last, of.image), (of.last, of.question)]


def _cut(pairs: Sequence[tuple[Positions, Positions]], layers: range) -> Variant:
    return [Cut(queries, keys, layers) for queries, keys in pairs]


def layer_windows(depth: int) -> tuple[range, ...]:
    """The windows of layers of `Routes`, one around every layer of a model of this depth."""
    width = max(1, round(_WINDOW * depth / _DEPTH))
    begins = range(-(width // 2), depth - width // 2)
    return tuple(range(max(begin, 0), min(begin + width, depth)) for begin in begins)


def _shares(whole: NDArray[np.float32]) -> NDArray[np.float32]:
    of_all = whole[:, len(ROUTES), None]
    with np.errstate(divide="ignore", invalid="ignore"):
        ways = np.where(of_all == 0, np.nan, whole[:, :_OF_IMAGE] / of_all)
    return np.concatenate([ways, 1 - ways.sum(1, keepdims=True)], axis=1)
