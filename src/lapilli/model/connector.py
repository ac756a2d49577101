"""Connectors: what carries the vision encoder's patches into the language model's space, where they are image tokens.

`CONNECTORS` holds all that is known of each kind; nothing else asks what a connector is called. `linear` is the first
LLaVA's (arXiv 2304.08485), `mlp2x_gelu` LLaVA-1.5's (arXiv 2310.03744); `mlpNx_gelu` has N linear layers with GELU
between them. The first two are transformers' own LlavaMultiModalProjector.

Nothing here imports torch before a module is built, so that a wrong name is refused at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from lapilli.core.errors import LapilliError, UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

DEEPEST = 9
"""Linear layers of the deepest MLP."""


@dataclass(frozen=True)
class Connector:
    """A kind of connector.

    name        in recipes, in a model's card, and in its config.json
    build       (d_vision, d_model) -> the module with fresh weights, which makes (image, token, d_model) of
                (image, patch, d_vision), both row by row. Its activations are modules, so that hooks see them. Of an
                encoder that is read at n layers, d_vision is n times as large
    layers      what its tensors' names begin with in the module, and what in the mm_projector of LLaVA's own code; None
                where that has no such layer, and then no layout of its holds the connector
    identity    what the names of a last layer begin with that is the identity, (d_model, d_model), never learns, and is
                in no file of LLaVA's own code; empty where there is none
    activation  what a plain transformers' LLaVA calls it (projector_hidden_act); None where only lapilli has it
    merge       a square of merge x merge patches of the encoder becomes one token
    """

    name: str
    build: Callable[[int, int], nn.Module]
    layers: Mapping[str, str | None]
    identity: str = ""
    activation: str | None = None
    merge: int = 1

    @property
    def is_plain(self) -> bool:
        """Whether plain transformers loads a LLaVA with it."""
        return self.activation is not None

    @property
    def is_original(self) -> bool:
        """Whether LLaVA's own code has it, and so the layouts that take its names."""
        return None not in self.layers.values()

    def grid(self, patches: tuple[int, int]) -> tuple[int, int]:
        """Rows and columns of the tokens of an image, of those of the encoder's patches.

        Raises LapilliError where the patches cannot be merged without a rest.
        """
        rows, columns = patches
        if rows % self.merge or columns % self.merge:
            squares = f"squares of {self.merge} x {self.merge}"
            raise LapilliError(
                f"connector {self.name}: {rows} x {columns} patches do not make {squares}; give another encoder"
            )
        return rows // self.merge, columns // self.merge

    def cell(self, patch_size: int) -> int:
        """Pixels of a side of the square that one token stands for; patches are `patch_size` x `patch_size` pixels."""
        return patch_size * self.merge

    def token_of(self, patch: NDArray[Any], patches: tuple[int, int]) -> NDArray[Any]:
        """The tokens that patches of the encoder go into; both are numbered row by row, from 0."""
        _, columns = self.grid(patches)
        row, column = patch // patches[1], patch % patches[1]
        number: NDArray[Any] = row // self.merge * columns + column // self.merge
        return number


def encoder_grid(vision: Any) -> tuple[int, int]:
    """Rows and columns of the patches that a vision encoder of this configuration makes of an image.

    What does not fill a patch, at the right and the bottom, is not seen.
    """
    side = vision.image_size // vision.patch_size
    return side, side


def named(name: object) -> Connector:
    """The connector of that name. Raises UsageError for a name that is none."""
    if not isinstance(name, str) or name not in CONNECTORS:
        raise UsageError(f"connector {name!r}: unknown; choose {', '.join(CONNECTORS)}")
    return CONNECTORS[name]


def _transformers(d_vision: int, d_model: int, activation: str) -> nn.Module:
    from lapilli.model.projectors import transformers_projector

    return transformers_projector(d_vision, d_model, activation)


def _mlp(d_vision: int, d_model: int, depth: int) -> nn.Module:
    from lapilli.model.projectors import Mlp

    return Mlp(d_vision, d_model, depth)


def _deep(depth: int) -> Connector:
    layers = {f"layers.{at}.": f"{2 * at}." for at in range(depth)}  # LLaVA counts the activations between them too
    return Connector(f"mlp{depth}x_gelu", partial(_mlp, depth=depth), layers)


_KINDS = (
    Connector(
        "linear", partial(_transformers, activation="linear"), {"linear_1.": ""}, "linear_2.", activation="linear"
    ),
    Connector(
        "mlp2x_gelu",
        partial(_transformers, activation="gelu"),
        {"linear_1.": "0.", "linear_2.": "2."},
        activation="gelu",
    ),
    *(_deep(depth) for depth in range(3, DEEPEST + 1)),
)

CONNECTORS: dict[str, Connector] = {kind.name: kind for kind in _KINDS}
"""Every connector by its name."""
