"""The control of a size: a model with a random change in every tensor, as long as the tuning's."""

import torch

from lapilli.core.errors import LapilliError
from lapilli.model.llava import Llava


@torch.no_grad()
def change_at_random(llava: Llava, other: Llava, seed: int) -> Llava:
    """Change a model in place: every tensor by a normal random one of the length |other's - its own|.

    A tensor that is the same in both stays as it is. Rounded to fewer bits than float32, small ones would vanish.
    Raises LapilliError for models with tensors of other shapes or formats.
    """
    drawn = torch.Generator().manual_seed(seed)
    theirs = dict(other.model.named_parameters())
    for name, own in llava.model.named_parameters():
        if name not in theirs or theirs[name].shape != own.shape or own.dtype != torch.float32:
            raise LapilliError(
                f"{name}: not in float32 and of the same shape in both models; patch a base and its tuned version"
            )
        length = (theirs[name].double() - own.double()).norm()
        noise = torch.randn(own.shape, generator=drawn).to(own.device)
        own.add_((noise * (length / noise.double().norm())).to(own.dtype))
    return llava
