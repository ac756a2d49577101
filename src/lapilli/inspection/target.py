"""The target that is decomposed: a token's logit, less the mean of all logits, or less the logit of another token."""

from dataclasses import dataclass
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from lapilli.core.errors import UsageError

Kind: TypeAlias = Literal["token", "centred", "difference"]


@dataclass(frozen=True)
class Target:
    """A linear function of a query's logits.

    token       the logit of the token that follows
    centred     that logit less the mean over the vocabulary: an offset that all words share does not count
    difference  that logit less the logit of the token `against`

    Raises UsageError unless `against` is set exactly for a difference.
    """

    kind: Kind = "centred"
    against: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in ("token", "centred", "difference"):
            raise UsageError(f"target {self.kind!r}: unknown; choose token or centred, or give a contrast")
        if (self.kind == "difference") != (self.against is not None):
            raise UsageError(f"target {self.kind}: a difference needs a token to be against, and nothing else does")

    def of_logits(self, logits: Tensor, ids: Tensor) -> Tensor:
        """The target of logits (..., vocab) for the tokens `ids` (...,); shape (...,)."""
        value = logits.gather(-1, ids[..., None])[..., 0]
        if self.kind == "centred":
            return value - logits.mean(-1)
        return value - logits[..., self.against] if self.kind == "difference" else value

    def directions(self, head: Tensor, ids: Tensor) -> Tensor:
        """The directions that read the target from the final, normed residual; float32, (query, d_model).

        `head` is the matrix (vocab, d_model) that makes logits, `ids` (query,) the tokens that follow.
        """
        chosen = head[ids].float()
        if self.kind == "centred":
            return chosen - head.mean(0, dtype=torch.float32)
        return chosen - head[self.against].float() if self.kind == "difference" else chosen
