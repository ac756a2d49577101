"""Capture: what passes sites of a model while it is called, kept whole.

    with capturing(llava.model, ["llm.layers.*.resid_post"]) as cache:
        (made,) = answer(llava, [sample], pictures)
    cache["llm.layers.3.resid_post"]  # (batch, token, d_model)

The model runs as ever, to the bit. `recording` keeps less, and of which tokens it is.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, final

import torch
from torch import Tensor

from lapilli.core.errors import LapilliError
from lapilli.inspection.sites import matching, names_of, site_of, watching
from lapilli.model.upstream import cache_in, cache_layers, cache_length, shows_encoded_pictures


@final
class Capture(Mapping[str, Tensor]):
    """What passed sites in the model's last call: site -> tensor, with the axes that `SITES` gives, where the model is.

    Sequences are padded as their batch was. A call that goes on with the cache of the one before is one with it: its
    tokens stand behind those before, and its pictures as well. So what `generate` leaves is one sequence, all that the
    model has read, without the last token that it made. Any other call replaces everything. The logits are those that
    were computed: `generate` computes them for the last token of the prompt and for every new one, and no others.

    A site is there once something has passed it, by any of its names: KeyError before. Gradients are kept, as the call
    has them.
    """

    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names
        self._parts: dict[str, list[Tensor]] = {}
        self._encoded: dict[str, Tensor] = {}  # of pictures, outside of a call
        self._cache: Any = None
        self._length = 0
        self._keys: Tensor | None = None
        self._inside = False

    def __getitem__(self, name: str) -> Tensor:
        own = self._names.get(name, name)
        if own not in self._parts:
            raise KeyError(f"{name}: nothing has passed it; name it to `capture`, and call the model inside the block")
        parts = self._parts[own]
        if len(parts) == 1 and not parts[0].is_inference():
            return parts[0]
        return torch.cat(parts, dim=0 if _of_pictures(own) else 1)

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __repr__(self) -> str:
        return "\n".join(f"{name}  {tuple(passed.shape)}" for name, passed in self.items()) or "nothing captured yet"

    def enter(self, model: Any, arguments: Any, keywords: dict[str, Any]) -> None:
        """To be called before the model: whether it goes on. Raises LapilliError after beam search's exchanges."""
        cache = cache_in((*arguments, *keywords.values()))
        if cache is None or cache is not self._cache or cache_length(cache) != self._length:
            self._parts.clear()
        elif cache_layers(cache)[0][0] is not self._keys:
            raise LapilliError(
                "the cache was changed between two calls, as beam search does: the sequences before are not those "
                "behind; generate with num_beams=1"
            )
        self._inside = True
        if shows_encoded_pictures(keywords):
            for name, passed in self._encoded.items():
                self.keep(name, passed)
        self._encoded.clear()

    def keep(self, name: str, passing: Tensor) -> None:
        """To be called with what passes a site, also of pictures that are encoded before the call that shows them."""
        if self._inside:
            self._parts.setdefault(name, []).append(passing)
        elif _of_pictures(name):
            self._encoded[name] = passing

    def leave(self, model: Any, arguments: Any, output: Any) -> None:
        """To be called after the model."""
        self._inside = False
        self._cache = cache_in(output.values() if isinstance(output, Mapping) else output)
        self._length = cache_length(self._cache)
        self._keys = cache_layers(self._cache)[0][0] if self._length else None

    def close(self) -> None:
        """To be called at the end: what passed is kept, and the cache let go."""
        self._cache = self._keys = None
        self._encoded.clear()


@contextmanager
def capturing(model: Any, sites: str | Iterable[str]) -> Iterator[Capture]:
    """Within it, calls of `model`, a LlavaForConditionalGeneration, are captured at these sites; see `Capture`.

    `sites` are names or patterns, as `matching` takes them. What was captured stays when the block ends, the hooks do
    not. May be nested, and combined with ablations: inside of one, what is captured is what it puts there.
    Raises UsageError for a name that is no site of this model.
    """
    chosen = matching(model, [sites] if isinstance(sites, str) else sites)
    capture = Capture(names_of(model))
    with ExitStack() as hooks:
        hooks.callback(capture.close)
        hooks.callback(model.register_forward_pre_hook(capture.enter, with_kwargs=True).remove)
        hooks.callback(model.register_forward_hook(capture.leave).remove)
        hooks.enter_context(watching(model, {name: partial(capture.keep, name) for name in chosen}))
        yield capture


def _of_pictures(name: str) -> bool:
    site = site_of(name)
    return site is not None and site.axes[0] == "picture"
