"""Train a part of a LLaVA from random weights, as a run: pebble-vision and pebble-lm come from here."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from transformers import PreTrainedTokenizerFast

from lapilli.core.files import new_folder
from lapilli.core.run import RunDir
from lapilli.training.part_recipe import LanguageRecipe, VisionRecipe
from lapilli.training.pebble.language import save_language, train_language
from lapilli.training.pebble.tokenizer import tokenizer_from
from lapilli.training.pebble.vision import save_vision, train_vision
from lapilli.training.preflight import MODEL


def train_part(
    recipe: VisionRecipe | LanguageRecipe,
    on_step: Callable[[int], None] | None = None,
    announce: Callable[[str], None] | None = None,
) -> RunDir:
    """Run the recipe and return its finished run folder, with the part in `model/` as `transformers` reads it.

    `on_step` gets the number of steps taken, every `log_every`, and `announce` a line before the first step. Raises
    LapilliError when the recipe's `out` is occupied or its tokenizer missing, before anything is written.
    """
    with RunDir.alone(recipe.out):
        tokenizer = tokenizer_from(recipe.tokenizer)
        run = RunDir.create(recipe.out, recipe, recipe.seed)
        if announce:
            announce(_opening(recipe))
        _train(run, recipe, tokenizer, on_step)
        return run


def _train(
    run: RunDir,
    recipe: VisionRecipe | LanguageRecipe,
    tokenizer: PreTrainedTokenizerFast,
    on_step: Callable[[int], None] | None,
) -> None:
    began = time.perf_counter()

    def report(step: int, **figures: Any) -> None:
        run.log(step=step, seconds=time.perf_counter() - began, **figures)
        if on_step:
            on_step(step)

    with new_folder(run.path / MODEL) as folder:
        if isinstance(recipe, VisionRecipe):
            save_vision(train_vision(recipe, tokenizer, report), folder)
        else:
            save_language(train_language(recipe, tokenizer, report), tokenizer, folder)
    *_, last = run.metrics()
    run.save("training", {"seconds": time.perf_counter() - began, "steps": last["step"]})
    run.finish()


def _opening(recipe: VisionRecipe | LanguageRecipe) -> str:
    """Return a line on the part that is trained, and on how much."""
    if isinstance(recipe, VisionRecipe):
        return (
            f"vision: a vision encoder learns, from nothing; {recipe.scenes:,} scenes, {recipe.steps:,} steps; "
            f"batch_size {recipe.batch_size:,}; fp32 on cpu; into {recipe.out}"
        )
    return (
        f"language: a language model learns, from nothing; {len(recipe.lessons)} lessons, at most {recipe.steps:,} "
        f"steps; fp32 on cpu; into {recipe.out}"
    )
