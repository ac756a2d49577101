"""The models of a comparison: loaded when a step needs them, and tried before any is loaded."""

from dataclasses import replace

import torch

from lapilli.core.errors import LapilliError
from lapilli.core.placement import Placement
from lapilli.data.encode import encode
from lapilli.model.llava import Llava, codec_of, load
from lapilli.studies.compare.settings import AGAIN, BASE, Settings


class Models:
    """The models by role, of which only those of the last call of `loaded` are in memory."""

    def __init__(self, of: Settings, placement: Placement) -> None:
        self._of = of
        self._placement = placement
        self._in_memory: dict[str, Llava] = {}

    def loaded(self, *roles: str) -> tuple[Llava, ...]:
        """These models, in this order; others are let go first. Raises LapilliError as `load` does."""
        self._in_memory = {role: llava for role, llava in self._in_memory.items() if role in roles}
        for role in roles:
            if role not in self._in_memory:
                self._in_memory[role] = self._again() if role == AGAIN else self._load(self._placement, role)
        return tuple(self._in_memory[role] for role in roles)

    def _load(self, placement: Placement, role: str = BASE) -> Llava:
        return load(self._of.models[role], placement)

    def _again(self) -> Llava:
        """The base in another number format than its own: bfloat16, or float32 where it is not stored in that."""
        whole = self._load(self._placement).model.dtype == torch.float32
        return self._load(replace(self._placement, dtype="bf16" if whole else "fp32"))


def require_same_tokens(of: Settings) -> None:
    """Raise LapilliError unless every model reads the same tokens: states of other inputs say nothing of a tuning."""
    codecs = {role: codec_of(path) for role, path in of.models.items()}
    for samples in of.prompts.values():
        for sample in samples:
            ids = {role: encode(sample, codec, for_generation=True).ids for role, codec in codecs.items()}
            for role, theirs in ids.items():
                if list(theirs) != list(ids[BASE]):
                    raise LapilliError(
                        f"{of.models[role]}: it reads sample {sample.id!r} as {len(theirs)} tokens that are not the "
                        f"{len(ids[BASE])} of {of.models[BASE]}; compare models of one tokenizer and template"
                    )
