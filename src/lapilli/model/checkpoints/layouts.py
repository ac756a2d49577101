"""What a LLaVA's tensors are called, in every layout that is about.

| layout     | written by                                      | names of the language model         |
|------------|-------------------------------------------------|-------------------------------------|
| `original` | LLaVA's own code                                | `model.layers.0.`                   |
| `hf`      | transformers to 4.51, llava-hf's repositories   | `language_model.model.layers.0.`    |
| `nested`   | transformers 4.52 to 4.57                       | `model.language_model.layers.0.`    |
| `memory`   | transformers 5 in memory                        | the same, the vision one level less |
| `joined`   | transformers 5, saving what was built in memory | hub's, the vision one level less    |

`hf` is the one that every program reads. No layout is guessed from the name of a folder: the names of the tensors say
it, or nothing does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from lapilli.core.errors import LapilliError
from lapilli.model.connector import Connector, named

_LANGUAGE = ("embed_tokens.", "layers.", "norm.")
VISION_PARTS = ("embeddings.", "pre_layrnorm.", "encoder.", "post_layernorm.", "head.")
"""What LLaMA and Qwen2, CLIP and SigLIP are made of; transformers spells CLIP's first norm so."""

PROJECTOR_PART = "multi_modal_projector."
"""What the names of a connector's tensors begin with in `hf`."""

_SHOWN = 8


@dataclass(frozen=True)
class Layout:
    """`beginnings` has what names begin with in `hf`, and what they begin with here; none begins another."""

    name: str
    beginnings: Mapping[str, str]

    def from_hf(self, name: str) -> str:
        """The name here of a tensor that has this one in `hf`. Raises KeyError for one that no LLaVA has."""
        return _replaced(name, self.beginnings)

    def to_hf(self, name: str) -> str:
        """The name in `hf` of a tensor that has this one here. Raises KeyError for one that this layout has not."""
        return _replaced(name, {here: hub for hub, here in self.beginnings.items()})


@dataclass(frozen=True)
class _Places:
    """What the names of the four parts' tensors begin with in a layout."""

    language: str
    head: str
    vision: str
    projector: str


_PLACES = {
    "original": _Places("model.", "lm_head.", "model.vision_tower.vision_tower.vision_model.", "model."),
    "hf": _Places("language_model.model.", "language_model.lm_head.", "vision_tower.vision_model.", ""),
    "nested": _Places("model.language_model.", "lm_head.", "model.vision_tower.vision_model.", "model."),
    "memory": _Places("model.language_model.", "lm_head.", "model.vision_tower.", "model."),
    "joined": _Places("language_model.model.", "language_model.lm_head.", "vision_tower.", ""),
}


def layouts(connector: str) -> dict[str, Layout]:
    """Every layout by its name that holds a LLaVA with this connector: `original` holds none that its code has not.

    Raises UsageError for a connector that is none.
    """
    kind = named(connector)
    names = (name for name in _PLACES if name != "original" or kind.is_original)
    return {name: Layout(name, _beginnings(name, kind)) for name in names}


def recognised(names: Iterable[str], connector: str) -> Layout:
    """The layout that all the names belong to; of several, which differ in what is not there, the first.

    Raises LapilliError with the names that the nearest one has no place for.
    """
    names = list(names)
    candidates = [(layout, _strangers(names, layout)) for layout in layouts(connector).values()]
    nearest, strangers = min(candidates, key=lambda pair: len(pair[1]))
    if strangers:
        more = f" and {len(strangers) - _SHOWN} more" if len(strangers) > _SHOWN else ""
        listed = ", ".join(strangers[:_SHOWN]) + more
        raise LapilliError(
            f"no LLaVA's layout has all these tensors; {nearest.name} comes nearest, without {listed}; fetch it again"
        )
    return nearest


def _beginnings(layout: str, connector: Connector) -> dict[str, str]:
    """The four parts' beginnings, in `hf` and here, joined to what each part is made of."""
    hub, here = _PLACES["hf"], _PLACES[layout]
    beginnings = {hub.language + part: here.language + part for part in _LANGUAGE}
    beginnings |= {hub.vision + part: here.vision + part for part in VISION_PARTS}
    beginnings[hub.head] = here.head
    for layer, original in connector.layers.items():
        name = f"mm_projector.{original}" if layout == "original" else PROJECTOR_PART + layer
        beginnings[PROJECTOR_PART + layer] = here.projector + name
    if connector.identity and layout != "original":
        beginnings[PROJECTOR_PART + connector.identity] = here.projector + PROJECTOR_PART + connector.identity
    return beginnings


def _replaced(name: str, beginnings: Mapping[str, str]) -> str:
    for old, new in beginnings.items():
        if name.startswith(old):
            return new + name[len(old) :]
    raise KeyError(name)


def _strangers(names: Iterable[str], layout: Layout) -> list[str]:
    beginnings = tuple(layout.beginnings.values())
    return [name for name in names if not name.startswith(beginnings)]
