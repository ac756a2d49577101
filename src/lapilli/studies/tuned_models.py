"""The models of a study of a tuning: tried before any is loaded, and loaded when a step needs them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, final

from lapilli.core.errors import LapilliError
from lapilli.core.placement import Placement
from lapilli.core.run import RunDir
from lapilli.data.encode import encode
from lapilli.data.questions import fingerprint
from lapilli.model.hub import recorded
from lapilli.model.llava import Llava, codec_of
from lapilli.model.parts import origin
from lapilli.model.placement import settings as device_settings
from lapilli.studies.tuning import BASE, Tuning


def begun(out: Path, of: Tuning, placement: Placement, name: str, version: int, **more: Any) -> RunDir:
    """The run folder of the study `name`: new, interrupted, or finished.

    A folder that was begun with another `version`, in another number format or otherwise with `more` is not gone on
    with. Raises LapilliError as `RunDir.begin` does, and, before anything is written, where the models' place is not
    there or they read other tokens.
    """
    device_settings(placement)
    _require_same_tokens(of)
    recipe: dict[str, Any] = {"study": name, "version": version, "data": str(of.data.resolve())}
    recipe |= {"samples": of.samples, "seed": of.seed, "data_sha256": fingerprint(of.data), "dtype": placement.dtype}
    recipe |= {"models": {role: recorded(path) for role, path in of.models.items()}}
    recipe |= {"weights": {role: origin(path).sha256 for role, path in of.models.items()}}
    return RunDir.begin(out, recipe | more, of.seed)


def _require_same_tokens(of: Tuning) -> None:
    """Raise LapilliError unless every model reads the same tokens: other inputs say nothing of a tuning."""
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


@final
class Models:
    """The models by role, of which only those of the last call of `loaded` are in memory; `load` loads one."""

    def __init__(self, load: Callable[[str], Llava]) -> None:
        self._load = load
        self._in_memory: dict[str, Llava] = {}

    def loaded(self, *roles: str) -> tuple[Llava, ...]:
        """These models, in this order; others are let go first. Raises LapilliError as `load` does."""
        self._in_memory = {role: llava for role, llava in self._in_memory.items() if role in roles}
        for role in roles:
            if role not in self._in_memory:
                self._in_memory[role] = self._load(role)
        return tuple(self._in_memory[role] for role in roles)
