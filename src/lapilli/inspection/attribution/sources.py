"""What an answer is made of: the positions of a sequence in groups that a reader knows."""

import numpy as np
from numpy.typing import NDArray

from lapilli.core.layout import Positions, Role, TokenLayout
from lapilli.inspection.attribution.direct import Direct

READ = ("image", "question", "system", "template", "answer so far", "begin token")
"""The groups of positions."""

DIRECT = (*READ, "embedding", "MLPs", "biases")
"""The parts of a direct decomposition: `embedding` is that of the row's own token."""

ALL_PATHS = (*READ, "biases")
"""The parts of the relevance of all paths."""

DOUBTFUL_FROM = {"direct": 1.5, "pixels": 4.0}
"""Maps and the condition numbers from which on their order of patches was no better than chance when patches were
blurred: of 34 and 23 words of the quickstart's model, by benchmarks/cancellation.py. Of all paths to the tokens too few
words had a large one."""

_ROLES = {"image": (Role.IMAGE,), "question": (Role.QUESTION,), "system": (Role.SYSTEM,)}


def groups(ids: NDArray[np.int64], layout: TokenLayout, bos_id: int | None) -> dict[str, Positions]:
    """The positions of every group of READ; together they are all positions, each in one group.

    Answers of earlier turns belong to `answer so far`, with what ends them. The token that begins a sequence is
    apart: attention rests on it when it has nothing to look for.
    """
    begin = np.zeros(layout.length, np.bool_)
    begin[0] = int(ids[0]) == bos_id
    found = {name: np.isin(layout.role, roles) & ~begin for name, roles in _ROLES.items()}
    found["answer so far"] = np.isin(layout.role, (Role.ANSWER, Role.STOP))
    found["begin token"] = begin
    found["template"] = ~np.any(list(found.values()), axis=0)
    return {name: np.nonzero(found[name])[0] for name in READ}


def summed(positions: NDArray[np.float64], within: dict[str, Positions]) -> NDArray[np.float64]:
    """Sums of (row, token) over each group; (row, group), in the order of READ."""
    return np.stack([positions[:, within[name]].sum(1) for name in READ], axis=1)


def of_image(positions: NDArray[np.float64], layout: TokenLayout, image: int) -> NDArray[np.float64]:
    """The part of each patch of one image, of (row, token); (row, patch_row, patch_column)."""
    return positions[:, layout.patches(image)]


def condition_number(parts: NDArray[np.floating]) -> NDArray[np.float64]:
    """The sum of the sizes of parts (..., part) over the size of their sum, (...,); infinite where that is 0.

    The condition number of a sum (Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 4.2): 1 where
    all parts have one sign; a large one says that the sum is what is left of parts that cancel, and that a small error
    of the rules by which they were credited may be larger than it.
    """
    exact = np.asarray(parts, np.float64)
    sizes, together = np.abs(exact).sum(-1), np.abs(exact.sum(-1))
    found: NDArray[np.float64] = np.divide(sizes, together, out=np.full(sizes.shape, np.inf), where=together > 0)
    return found


def direct_sources(direct: Direct, within: dict[str, Positions]) -> NDArray[np.float64]:
    """The parts of every row's target, (row, source), in the order of DIRECT."""
    others = [direct.embedding, direct.mlps.sum(1), direct.biases.sum(1)]
    return np.concatenate([summed(direct.positions, within), np.stack(others, axis=1)], axis=1)
