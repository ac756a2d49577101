"""Sources: the positions of a sequence in groups that a reader knows, and sums of contributions over them."""

import numpy as np
from numpy.typing import NDArray

from lapilli.core.layout import Positions, Role, TokenLayout
from lapilli.inspection.attribution.direct import Direct

READ = ("image", "question", "system", "template", "answer so far", "begin token")
"""The groups of positions."""

DIRECT = (*READ, "embedding", "MLPs", "biases")
"""The parts of a direct decomposition: `embedding` is that of the query's own token."""

ALL_PATHS = (*READ, "biases")
"""The parts of the relevance of all paths."""

DOUBTFUL_FROM = {"direct": 1.5, "pixels": 4.0}
"""Maps and the condition numbers from which on their order of patches was no better than chance when patches were
blurred: of 34 and 23 words of the quickstart's model, by benchmarks/cancellation.py. Of all paths to the tokens too few
words had a large one."""

_ROLES = {"image": (Role.IMAGE,), "question": (Role.QUESTION,), "system": (Role.SYSTEM,)}


def groups(ids: NDArray[np.int64], layout: TokenLayout, bos_id: int | None) -> dict[str, Positions]:
    """The positions of every group of READ: every position is in exactly one group.

    Answers of earlier turns belong to `answer so far`, with their ends. The token that begins a sequence is a group of
    its own: it is an attention sink.
    """
    begin = np.zeros(layout.length, np.bool_)
    begin[0] = int(ids[0]) == bos_id
    masks = {name: np.isin(layout.role, roles) & ~begin for name, roles in _ROLES.items()}
    masks["answer so far"] = np.isin(layout.role, (Role.ANSWER, Role.STOP))
    masks["begin token"] = begin
    masks["template"] = ~np.any(list(masks.values()), axis=0)
    return {name: np.nonzero(masks[name])[0] for name in READ}


def summed(positions: NDArray[np.float64], within: dict[str, Positions]) -> NDArray[np.float64]:
    """Sums of (query, token) over each group; (query, group), in the order of READ."""
    return np.stack([positions[:, within[name]].sum(1) for name in READ], axis=1)


def condition_number(parts: NDArray[np.floating]) -> NDArray[np.float64]:
    """The sum of the sizes of parts (..., part) over the size of their sum, (...,); infinite where that is 0.

        condition number = sum |part| / |sum part|

    See Higham 2002, "Accuracy and Stability of Numerical Algorithms", section 4.2. It is 1 where all parts have one
    sign. A large one says that the parts cancel, and that a small error of the attribution rules may exceed their sum.
    """
    exact = np.asarray(parts, np.float64)
    sizes, together = np.abs(exact).sum(-1), np.abs(exact.sum(-1))
    number: NDArray[np.float64] = np.divide(sizes, together, out=np.full(sizes.shape, np.inf), where=together > 0)
    return number


def direct_sources(direct: Direct, within: dict[str, Positions]) -> NDArray[np.float64]:
    """The parts of every query's target, (query, source), in the order of DIRECT."""
    others = [direct.embedding, direct.mlps.sum(1), direct.biases.sum(1)]
    return np.concatenate([summed(direct.positions, within), np.stack(others, axis=1)], axis=1)
