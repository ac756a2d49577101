"""Everything under one door: load a LLaVA, ask it, explain an answer, capture what passes inside, ablate.

    llava = lapilli.load("llava-hf/llava-1.5-7b-hf")
    llava.explain("photo.jpg", "What color is the dog?")

docs/python.md shows each. What needs torch is imported where it is used: what can be refused without, is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeAlias, final

from lapilli.core.errors import UsageError
from lapilli.core.placement import AUTO, Placement
from lapilli.core.terminal import printable
from lapilli.core.trial import tokenizing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image
    from torch import Tensor

    from lapilli.inspection.capture import Capture
    from lapilli.inspection.intervention.ablation import Head
    from lapilli.model.llava import Llava
    from lapilli.studies.explain.explanation import Explanation

Picture: TypeAlias = "str | Path | Image | NDArray[np.uint8]"
"""A picture: the path of a file, a PIL image, or an array (row, column) or (row, column, 3 or 4)."""

Patches: TypeAlias = "Sequence[int] | NDArray[np.intp] | NDArray[np.bool_]"
"""Patches of a picture: their numbers, row by row from 0, or a mask of all, (patch,) or (row, column)."""


@final
@dataclass(frozen=True, eq=False, repr=False)
class Answer(str):
    """What a model answered: a string, without the spaces around it, that knows its tokens.

    ids            the tokens that the model generated, with the one that ends the answer where the model ended it
    probabilities  of each of them, given all before it, at temperature 1
    """

    text: str
    ids: tuple[int, ...]
    probabilities: tuple[float, ...]

    def __new__(cls, text: str, *_: object, **__: object) -> Self:
        """The string; the other fields are set by the dataclass."""
        return super().__new__(cls, text)

    @property
    def probability(self) -> float:
        """The probability of exactly these tokens, its end among them: the product of `probabilities`."""
        return prod(self.probabilities)


@tokenizing()
def load(name: str | Path, device: str = AUTO, dtype: str | None = None) -> Model:
    """The model in a folder or, by its id, on the hub: `org/name` or `org/name@revision`.

    `device` is "cpu", "cuda", "cuda:N" or another of torch's, "auto" the first accelerator or else the CPU, "balanced"
    all GPUs. `dtype` is "fp32", "bf16" or "fp16", or None: as the weights are stored. Raises UsageError for a name or a
    word that is none of these, LapilliError for a model or a device that is not there or cannot be read.
    """
    from lapilli.model.hub import model_folder, require_named

    placement = Placement(device, dtype)
    require_named(name)
    from lapilli.model import llava
    from lapilli.model.placement import settings

    settings(placement)  # a device that is not there is said before anything is fetched
    folder = model_folder(name)
    return Model(llava.load(folder, placement), folder, dtype)


@final
@dataclass(frozen=True, eq=False, repr=False)
class Model:
    """A LLaVA and what can be done with it.

    llava   what Lapilli's other modules take; `llava.model` is transformers' LlavaForConditionalGeneration
    folder  where it was read
    dtype   the format that was asked for
    """

    llava: Llava
    folder: Path
    dtype: str | None = None

    @tokenizing()
    def ask(self, image: Picture, question: str, max_new_tokens: int = 64) -> Answer:
        """The greedy answer to a question about a picture, as `lapilli ask` gives it.

        Raises LapilliError for a picture that cannot be read, and UsageError for what is no question.
        """
        from lapilli.data.pictures import as_picture
        from lapilli.data.questions import one_question
        from lapilli.inference.answer import answer
        from lapilli.inspection.capture import capturing

        if max_new_tokens < 1:
            raise UsageError(f"max_new_tokens {max_new_tokens}: give 1 or more")
        sample, picture = one_question(_file_of(image) or "image", question), as_picture(image)
        with capturing(self.llava.model, "logits") as cache:
            (made,) = answer(self.llava, [sample], lambda name: picture, max_new_tokens)
        ids = made.generated
        probabilities = cache["logits"][0, -len(ids) :].float().softmax(-1).cpu().numpy()
        return Answer(made.text, tuple(ids.tolist()), tuple(probabilities[range(len(ids)), ids].tolist()))

    @tokenizing()
    def explain(
        self,
        image: Picture,
        question: str,
        answer: str | None = None,
        contrast: str | None = None,
        target: str | None = None,
        controls: int = 20,
        remove: Patches | None = None,
        seed: int = 0,
    ) -> Explanation:
        """Which patches, words, heads and layers an answer came from, and what becomes of it without them.

        answer    the answer to explain; the model's own, if None
        contrast  explain why the answer was not this one
        target    "centred", as None: a word's logit less the mean over all words; or "token": the logit
        controls  how many random removals of either kind a receipt has
        remove    receipts for these patches, not for those that the maps name
        seed      draws the random removals

        The same numbers as `lapilli explain`, to the last bit. The result shows its page in a notebook, has `arrays`,
        prints as text, and `save(folder)` writes the folder. Raises UsageError and LapilliError as the command does.
        """
        from lapilli.data.pictures import as_picture
        from lapilli.studies.explain.request import Request
        from lapilli.studies.explain.run import explained

        chosen = None if remove is None else _mask(remove, self.llava.codec.patch_grid).nonzero()[-1].tolist()
        ranges = None if chosen is None else [range(patch, patch + 1) for patch in chosen]
        tested: dict[str, Any] = {"remove": ranges, "controls": controls, "seed": seed}
        request = Request(_file_of(image), question, answer, contrast, target, **tested)
        return explained(self.llava, self.folder, as_picture(image), request, dtype=self.dtype)

    @contextmanager
    def capture(self, sites: str | Iterable[str]) -> Iterator[Capture]:
        """Within it, what passes these sites in every call of the model, `ask` too, is kept: site -> tensor.

        `sites` are names of `inspection/sites.py` or TransformerLens', with wildcards: `llm.layers.*.resid_post`,
        `blocks.3.hook_resid_post`. Of several calls the last is kept, and the tokens that `generate` adds stand behind
        the prompt; `inspection.capture.Capture` says precisely. Raises UsageError for a site that is not there.
        """
        from lapilli.inspection.capture import capturing

        with capturing(self.llava.model, sites) as cache:
            yield cache

    @contextmanager
    def ablate(
        self,
        heads: Iterable[Head] = (),
        patches: Patches | None = None,
        value: str = "zero",
        values: Mapping[Head, Tensor] | Tensor | None = None,
    ) -> Iterator[None]:
        """Within it, every call of the model has these heads' outputs, or these patches, replaced.

        heads    (layer, head), both from 0
        patches  what the projector makes of them is replaced, in every picture; or, as (picture, patch), in each
        value    "zero"; "mean" or "resample", of heads by `values`, (layer, head) -> (d_head,) or (token, d_head);
                 of patches "mean" of the picture, or by `values` (d_model,); "blank", as of a picture of the mean
                 color; "resample" by `values`, another picture's pixels or patches

        `ablated_heads` and `ablated_patches` of `inspection.intervention.ablation` say precisely. Raises UsageError for
        heads, patches and values that do not fit the model.
        """
        from lapilli.inspection.intervention.ablation import ablated_heads, ablated_patches

        way: Any = value  # each of the two refuses what it does not know
        of_heads, of_patches = (values, None) if isinstance(values, Mapping) else (None, values)
        if (of_heads and not heads) or (of_patches is not None and patches is None):
            raise UsageError("values: those of heads are a mapping, those of patches a tensor; give what they are for")
        with ExitStack() as stack:
            if heads := list(heads):
                stack.enter_context(ablated_heads(self.llava.model, heads, way, of_heads))
            if patches is not None:
                mask = _mask(patches, self.llava.codec.patch_grid)
                stack.enter_context(ablated_patches(self.llava, mask, way, of_patches))
            yield

    def __repr__(self) -> str:
        """The model in a line: its parts with their parameters, and how many tokens a picture is."""
        from lapilli.model.parts import name_of

        config: Any = self.llava.model.config
        kinds = (config.vision_config.model_type, self.llava.card.connector, config.text_config.model_type)
        parts = [f"{kind} {_millions(count)}" for kind, count in zip(kinds, _parameters(self.llava), strict=True)]
        tokens = prod(self.llava.codec.patch_grid)
        line = f"{name_of(self.folder)}: {' + '.join(parts)} parameters, {tokens} tokens per image"
        return f"<lapilli.Model {printable(line)}>"


def _file_of(image: Picture) -> str | None:
    """The file that a picture is in, as it is named; None for one that is in none."""
    return str(image) if isinstance(image, (str, Path)) else None


def _mask(patches: Patches, grid: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask of these patches, (patch,), or (picture, patch) where it is given so.

    Raises UsageError for what is no patch of a picture.
    """
    import numpy as np

    count, array = prod(grid), np.asarray(patches)
    if array.dtype == bool and array.shape in ((count,), grid):
        return array.reshape(count)
    if array.dtype == bool and array.shape[1:] == (count,):
        return array
    numbers = array.astype(np.intp) if array.dtype.kind in "iu" or not array.size else np.array([-1])
    if numbers.ndim != 1 or any(not 0 <= number < count for number in numbers):
        problem = f"patches {patches!r}"[:80]
        raise UsageError(f"{problem}: there are {count} patches, numbered from 0; give numbers, or a mask of {grid}")
    mask: NDArray[np.bool_] = np.zeros(count, np.bool_)
    mask[numbers] = True
    return mask


def _parameters(llava: Llava) -> tuple[int, int, int]:
    """How many parameters vision encoder, projector and language model have."""
    model: Any = llava.model
    vision, projector = (
        sum(weight.numel() for weight in part.parameters())
        for part in (model.model.vision_tower, model.model.multi_modal_projector)
    )
    return vision, projector, model.num_parameters() - vision - projector


def _millions(count: int) -> str:
    return f"{count / 1e9:.2f}B" if count >= 1e9 else f"{count / 1e6:.2f}M"
