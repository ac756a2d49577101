"""Training one stage: from a recipe to a run folder with the trained model in it.

    recipe -> model, of which the stage's parts learn
           -> samples, encoded once
           -> transformers' Trainer: batches, gradients, AdamW or Muon, schedule, checkpoints
           -> run folder: metrics.jsonl as it goes, model/ when it is done, the manifest last

A run that was stopped or killed goes on with `resume`, from its last whole checkpoint, to the very weights it would
have come to undisturbed.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypedDict

from rich.console import Console
from rich.progress import track
from torch import nn
from transformers import PrinterCallback, TrainingArguments

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.read import checked
from lapilli.core.run import RunDir
from lapilli.data.sample import Sample
from lapilli.model.hub import model_folder
from lapilli.model.llava import Llava, load, save, with_image_position
from lapilli.model.parts import origin
from lapilli.model.reading import quiet
from lapilli.training.arguments import training_arguments
from lapilli.training.feed import Batcher, Examples, SimilarLengths
from lapilli.training.length import Length
from lapilli.training.muon import Muon, layer_matrices, muon_group
from lapilli.training.objective import AnswerLoss
from lapilli.training.opening import opening
from lapilli.training.place import CHECKPOINTS, MODEL, is_trained, startable
from lapilli.training.recipe import TrainRecipe
from lapilli.training.samples import SKIPPED, RunSamples, Skipped, run_samples
from lapilli.training.stages import STAGES, requirements, set_trainable
from lapilli.training.trainer import (
    FinalError,
    Seen,
    StageTrainer,
    drop_others,
    is_last,
    last_checkpoint,
    parameter_groups,
    step_of,
)
from lapilli.training.watch import Watcher, announce, asked_to_stop, lines, training_bar

CHANGED = "changed_data"
"""The result of a run that went on after its file of samples was changed: when, and the checksums."""

_Change = TypedDict("_Change", {"after_step": int, "from": str, "to": str})
"""One of them."""


@dataclass(frozen=True)
class _Materials:
    """What a run is made from; `sources` are the checksums of the model and the data it began with."""

    llava: Llava
    examples: Examples
    skipped: Sequence[Skipped]
    sources: dict[str, str]


class StoppedError(LapilliError):
    """A run was ended by `reason`, and can be gone on with from its step `step`."""

    def __init__(self, reason: str, step: int) -> None:
        super().__init__(f"{reason}; mend that, and go on from step {step} with --resume")
        self.reason, self.step = reason, step


def train(
    recipe: TrainRecipe,
    resume: bool = False,
    on_eval: Callable[[Llava], Mapping[str, float]] | None = None,
    progress: bool = True,
    samples: RunSamples | None = None,
    changed_data: bool = False,
) -> RunDir:
    """Run the recipe and return its finished run folder, with the trained model in the folder `model` of it.

    `samples` are the recipe's, where they have been read already. `changed_data` lets a run go on whose file of samples
    has changed since it began, as long as it has as many.

    `on_eval` gets the model after every epoch, and the figures it returns are logged. Raises LapilliError when recipe,
    model or samples are at fault, or another process writes the run, before anything is written, and when the loss is
    no number any more. Raises StoppedError for any other error, and KeyboardInterrupt after Ctrl-C or SIGTERM, when a
    checkpoint has been written.
    """
    with RunDir.alone(recipe.out):
        recipe = startable(recipe, resume)
        if resume and is_trained(recipe):
            return _close(RunDir.resume(recipe.out, recipe.seed))
        arguments = training_arguments(recipe, recipe.out / CHECKPOINTS)
        materials = _gather(recipe, samples or run_samples(recipe), progress)
        run, checkpoint = _reopen(recipe, materials, changed_data) if resume else (_create(recipe, materials), None)
        _train(run, checkpoint, recipe, materials, arguments=arguments, on_eval=on_eval, progress=progress)
        return _close(run)


def _train(
    run: RunDir,
    checkpoint: Path | None,
    recipe: TrainRecipe,
    materials: _Materials,
    *,
    arguments: TrainingArguments,
    on_eval: Callable[[Llava], Mapping[str, float]] | None,
    progress: bool,
) -> None:
    """Train from the checkpoint, if there is one, until the model is in the run."""
    seen = Seen()
    with asked_to_stop() as wish, training_bar(progress) as bar:
        evaluate = None if on_eval is None else lambda: on_eval(_at_rest(materials.llava))
        watcher = Watcher(run, seen, bar, wish, evaluate, lines(progress))
        trainer = _trainer(recipe, materials, arguments, seen, run, watcher)
        if progress:
            announce(bar, _opening(recipe, materials, arguments, checkpoint))
        _run(trainer, checkpoint, run)
    if trainer.state.global_step < trainer.state.max_steps:
        raise KeyboardInterrupt
    _save(run, recipe, materials, _figures(trainer, seen))


def _gather(recipe: TrainRecipe, samples: RunSamples, progress: bool) -> _Materials:
    """Read the model, encode the samples, and find whatever is wrong with them, or with the installation."""
    StageTrainer.require_known()
    model = model_folder(recipe.model)
    llava = load(model)
    llava = with_image_position(llava, recipe.image_position or llava.card.image_position)
    llava.model.float()  # what learns is kept in fp32; bf16 is a matter of autocast
    _by_muon(recipe, llava)  # nothing is written yet
    asked = requirements(STAGES[recipe.stage], llava.codec, llava.model.config)
    try:
        examples = Examples(_counted(samples.samples, progress), asked, samples.rows)
    except LapilliError as error:
        raise LapilliError(f"{recipe.data.file}: {error}") from error
    data = _sha256(recipe.data.file)
    sources = {"model": origin(model).sha256, "data": data, "number of samples": str(len(examples))}
    return _Materials(llava, examples, samples.skipped, sources)


def _counted(samples: Sequence[Sample], progress: bool) -> Iterable[Sample]:
    console = Console(stderr=True)
    hidden = not (progress and console.is_terminal)
    return track(samples, "encoding", console=console, transient=True, disable=hidden)


def _create(recipe: TrainRecipe, materials: _Materials) -> RunDir:
    run = RunDir.create(recipe.out, recipe, recipe.seed)
    run.save(SKIPPED, materials.skipped)
    run.save("sources", materials.sources)
    return run


def _reopen(recipe: TrainRecipe, materials: _Materials, changed_data: bool) -> tuple[RunDir, Path | None]:
    """The unfinished run and its last whole checkpoint, with everything that came after it taken away."""
    run = RunDir.resume(recipe.out, recipe.seed)
    if not run.has("sources"):  # killed before anything was trained
        run.save(SKIPPED, materials.skipped)
        run.save("sources", materials.sources)
    checkpoint = last_checkpoint(run.path / CHECKPOINTS)
    _require_same_sources(run, materials.sources, changed_data, step_of(checkpoint) if checkpoint else 0)
    drop_others(run.path / CHECKPOINTS, checkpoint)
    run.rewind(step_of(checkpoint) if checkpoint else 0)
    return run, checkpoint


def _require_same_sources(run: RunDir, sources: Mapping[str, str], changed_data: bool, step: int) -> None:
    """Refuse to go on from another model or other samples; a file that may have been changed is noted."""
    before = checked(dict[str, str], run.load("sources"), f"{run.path}: results/sources.json", "start a new run")
    if before.keys() != sources.keys():
        raise LapilliError(f"{run.path}: results/sources.json: not {', '.join(sources)}; start a new run")
    for name in before:
        if before[name] != sources[name] and not (name == "data" and changed_data):
            way = ", or go on with --changed-data" if name == "data" else ""
            raise LapilliError(f"{run.path}: the {name} it began with has changed since; start a new run{way}")
    if before["data"] != sources["data"]:
        run.save(CHANGED, [*_changes(run), {"after_step": step, "from": before["data"], "to": sources["data"]}])
        run.save("sources", sources)


def _changes(run: RunDir) -> list[_Change]:
    """Every time that the run went on with another file of samples."""
    if not run.has(CHANGED):
        return []
    return checked(list[_Change], run.load(CHANGED), f"{run.path}: results/{CHANGED}.json", "start a new run")


def _opening(
    recipe: TrainRecipe, materials: _Materials, arguments: TrainingArguments, checkpoint: Path | None
) -> list[str]:
    learning = set_trainable(STAGES[recipe.stage], materials.llava)
    length = Length(recipe, len(materials.examples))
    done = step_of(checkpoint) if checkpoint else 0
    return opening(learning, length, done, arguments.device.type)


def _trainer(
    recipe: TrainRecipe, materials: _Materials, arguments: TrainingArguments, seen: Seen, run: RunDir, watcher: Watcher
) -> StageTrainer:
    """transformers' Trainer for the stage; everything the recipe says goes in here."""
    llava = materials.llava
    arguments.max_steps = Length(recipe, len(materials.examples)).cap or -1
    optimizer = _optimizer(recipe, llava)
    trainer = StageTrainer(
        seen,
        SimilarLengths(materials.examples.lengths, recipe.batch_size * recipe.accumulate, recipe.seed),
        run.sync,
        model=AnswerLoss(llava.model),
        args=arguments,
        train_dataset=materials.examples,
        data_collator=Batcher(recipe.data.images, llava.pixels, llava.processor.tokenizer.pad_token_id),
        optimizers=(optimizer, None),
        callbacks=[watcher],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


def _optimizer(recipe: TrainRecipe, llava: Llava) -> Muon:
    """Freeze what the stage does not train; the optimizer moves the rest at the recipe's rates."""
    parts = set_trainable(STAGES[recipe.stage], llava)
    matrices = _by_muon(recipe, llava)
    chosen = set(matrices)
    rates = {"language": recipe.learning_rate, "projector": recipe.projector_learning_rate or recipe.learning_rate}
    # The Trainer logs the first group's rate: the language model's, that of its layers, where there is one.
    others = {part: [p for p in parts[part] if p not in chosen] for part in sorted(parts)}
    groups = parameter_groups(others, rates, recipe.weight_decay)
    if recipe.muon_learning_rate and matrices:
        groups.insert(0, muon_group(matrices, recipe.muon_learning_rate, weight_decay=recipe.weight_decay))
    return Muon(groups, lr=recipe.learning_rate, fused=True)


def _by_muon(recipe: TrainRecipe, llava: Llava) -> list[nn.Parameter]:
    """The weights that Muon is to move. Raises UsageError where it is asked for and there are none."""
    if not recipe.muon_learning_rate or "language" not in STAGES[recipe.stage].trainable:
        return []
    matrices, _ = layer_matrices(llava.model.model.language_model)
    if not matrices:
        language: Any = llava.model.config.text_config
        raise UsageError(
            f"muon_learning_rate: a {language.model_type} has no matrices called layers; set it to null, for AdamW"
        )
    return matrices


def _at_rest(llava: Llava) -> Llava:
    """The model in eval mode; the Trainer's next step sets it back."""
    llava.model.eval()
    return llava


def _run(trainer: StageTrainer, checkpoint: Path | None, run: RunDir) -> None:
    """Train what the checkpoint leaves to be trained."""
    try:
        with quiet():
            if checkpoint and is_last(checkpoint):
                trainer.restore(checkpoint)
            else:
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except Exception as error:  # whatever it is, the steps that are done are kept
        if checkpoint is None and trainer.state.global_step == 0:  # nothing to go on from: only in the way of the next
            run.remove()
            if not isinstance(error, LapilliError):
                raise
            raise LapilliError(_reason(error)) from error
        if isinstance(error, FinalError):
            raise
        kept = trainer.keep()
        raise StoppedError(_reason(error), step_of(kept) if kept else 0) from error


def _reason(error: Exception) -> str:
    """An error in one line; a data loader's worker sends its own as a traceback, whose last line is the message."""
    name = "" if isinstance(error, LapilliError) else f"{type(error).__name__}: "
    text = str(error)
    if "Original Traceback" in text:
        text = text.strip().rpartition("\n")[2]
        return text.partition(f"{LapilliError.__name__}: ")[2] if not name else text
    return f"{name}{text}"


def _figures(trainer: StageTrainer, seen: Seen) -> dict[str, float]:
    """What the run came to, with everything that was trained before it was resumed."""
    seconds = seen.seconds
    return {"steps": trainer.state.global_step, "seconds": seconds, "samples_per_second": seen.samples / seconds}


def _save(run: RunDir, recipe: TrainRecipe, materials: _Materials, figures: Mapping[str, float]) -> None:
    """Write the results and, last, the model: what is there as a whole need not be trained again."""
    llava, examples = materials.llava, materials.examples
    counts = {
        "samples": len(examples),
        "skipped_samples": len(materials.skipped),
        "tokens": examples.tokens,
        "learned_tokens": examples.learned_tokens,
        "parameters": llava.model.num_parameters(),
        "trainable_parameters": llava.model.num_parameters(only_trainable=True),
    }
    run.save("training", {**figures, **counts})
    note = f"{recipe.stage}: {figures['steps']} steps on the {len(examples)} samples of {recipe.data.file.name}"
    if changes := _changes(run):
        note += ", which was changed after step " + ", ".join(str(one["after_step"]) for one in changes)
    card = replace(llava.card, notes=(*llava.card.notes, note))
    save(replace(llava, card=card), run.path / MODEL)


def _close(run: RunDir) -> RunDir:
    """Take away the checkpoints of a run whose model is there, and write its manifest."""
    if (run.path / CHECKPOINTS).exists():
        shutil.rmtree(run.path / CHECKPOINTS)
    run.finish()
    return run


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
