"""Training one stage: from a recipe to a run folder with the trained model in it.

The loop itself is transformers' Trainer. Each of its steps does this, and the names on the right are ours:

    for epoch:                       a random order of samples of similar length    feed.SimilarLengths
        for step:
            for pass in accumulate:
                batch                ids, labels and pixels of batch_size samples   feed.Batcher
                loss                 cross-entropy of the answers' tokens           objective.AnswerLoss
                backward             refused where the loss is NaN                  trainer.StageTrainer
            clip, update, schedule   Muon for the layers' matrices, or AdamW        optimizer.optimizer_of
            log, stop?               metrics.jsonl, progress, Ctrl-C                watch.Watcher
            checkpoint               weights that learn, optimizer, random states   trainer.StageTrainer
        evaluate                     validation loss, the caller's on_eval          validation.Evaluator

A run that was stopped or killed can be resumed from its last whole checkpoint, and comes to the weights that it would
have had without the interruption, to the last bit.
"""

import shutil
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PrinterCallback, TrainingArguments

from lapilli.core.errors import LapilliError, LapilliWarning
from lapilli.core.recipe import read_recipe
from lapilli.core.run import RunDir
from lapilli.model.hub import model_folder
from lapilli.model.llava import Llava, load, save, with_image_position
from lapilli.model.reading import quiet
from lapilli.training.changes import (
    SOURCES,
    changes,
    extensions,
    note_change,
    note_extension,
    remove_model,
    require_extendable,
    require_same_sources,
    sources_of,
)
from lapilli.training.feed import Batcher, Examples, SimilarLengths
from lapilli.training.learning import set_learning
from lapilli.training.lora import placement_of, save_updates, with_updates
from lapilli.training.muon import Muon
from lapilli.training.objective import AnswerLoss, prepare_passes
from lapilli.training.optimizer import optimizer_of
from lapilli.training.preflight import (
    ASIDE,
    CHECKPOINTS,
    MODEL,
    SKIPPED,
    START,
    RunSamples,
    is_extended,
    is_trained,
    run_samples,
    size_of,
    startable,
)
from lapilli.training.recipe import Length, TrainRecipe
from lapilli.training.stages import STAGES, modes, requirements
from lapilli.training.start import start_of
from lapilli.training.totals import Totals
from lapilli.training.trainer import (
    StageTrainer,
    last_checkpoint,
    remove_newer,
    step_of,
    tensorboard,
    training_arguments,
)
from lapilli.training.tuning import Part
from lapilli.training.validation import Evaluator, best_of, best_weights, is_exhausted, mean_loss, remove_newer_weights
from lapilli.training.watch import (
    Watcher,
    announce,
    encoding_bar,
    line_printer,
    opening,
    stop_on_signal,
    training_bar,
)
from lapilli.training.weights import FinalError, read_weights


@dataclass(frozen=True)
class _Setup:
    """All that a run needs; `sources` are the checksums of the model and the data that it starts from.

    `updates` is peft's model of the low-rank updates, if parts are tuned by them.
    """

    recipe: TrainRecipe
    llava: Llava
    updates: Any
    learning: Mapping[Part, Sequence[nn.Parameter]]
    optimizer: Muon
    examples: Examples
    validation: Examples | None
    samples: RunSamples
    arguments: TrainingArguments
    sources: dict[str, str]


class StoppedError(LapilliError):
    """A run was ended by an error, `reason`, and can be resumed from its step `step`."""

    def __init__(self, reason: str, step: int) -> None:
        super().__init__(f"{reason}; mend that, and go on from step {step} with --resume")
        self.reason, self.step = reason, step


def train(
    recipe: TrainRecipe,
    resume: bool = False,
    on_eval: Callable[[Llava], Mapping[str, Any]] | None = None,
    progress: bool = True,
    samples: RunSamples | None = None,
    changed_data: bool = False,
    extend: bool = False,
) -> RunDir:
    """Run the recipe and return its finished run folder, with the trained model in the folder `model` of it.

    `samples` are the recipe's, where they have been read already. `changed_data` lets a run be resumed whose file of
    samples has changed since it began, as long as it has as many. `extend` lets a run be resumed, also a finished one
    that kept a checkpoint, whose recipe has a later end; the rates are those of the longer schedule from there on.

    `on_eval` gets the model at every evaluation, and its figures are logged; a list of rows among them, `samples`, goes
    into samples.jsonl, each row with its step. Raises LapilliError when recipe, model or samples are at fault, or
    another process writes the run, before anything is written, and when the loss is no number any more. Raises
    StoppedError for any other error, and KeyboardInterrupt after Ctrl-C or SIGTERM, when a checkpoint has been written.
    """
    with RunDir.alone(recipe.out):  # no other process writes this run
        recipe = startable(recipe, resume, extend)
        if resume and is_trained(recipe):  # it was killed between its model and its manifest
            return _finish(RunDir.resume(recipe.out, recipe.seed), recipe.keep_checkpoint)

        # Whatever can be refused is refused here: model, samples, optimizer, precision. Nothing is written before.
        setup = _prepare(recipe, samples, progress)

        # A new folder, or the one of the stopped run, rewound to its last whole checkpoint.
        run, checkpoint = _reopen(setup, changed_data) if resume else (_create(setup), None)

        # Step after step until the last one. An error and a request to stop both leave a checkpoint.
        trainer, totals = _fit(setup, run, checkpoint, on_eval=on_eval, progress=progress)
        if recipe.validation.keep == "best":
            read_weights(setup.llava.model, best_weights(run.path / CHECKPOINTS))

        # The results, then the model: once that is there, nothing is trained again. The manifest comes last.
        _save(setup, run, _figures(trainer, totals))
        return _finish(run, recipe.keep_checkpoint)


def _prepare(recipe: TrainRecipe, samples: RunSamples | None, progress: bool) -> _Setup:
    """Read the model, freeze what does not learn, encode the samples. Raises LapilliError for whatever is wrong."""
    arguments = training_arguments(recipe, recipe.out / CHECKPOINTS)
    samples = samples or run_samples(recipe)
    StageTrainer.require_known()
    folder = model_folder(recipe.model)
    with warnings.catch_warnings(action="ignore", category=LapilliWarning):  # the precision decides, not the stored
        llava = load(folder, placement_of(recipe))
    llava = with_image_position(llava, recipe.image_position or llava.card.image_position)
    updates = with_updates(recipe, llava)
    learning = set_learning(recipe, llava)
    prepare_passes(recipe, llava)
    optimizer = optimizer_of(recipe, learning, llava)
    examples = _encode(recipe, samples, llava, progress)
    arguments.max_steps = Length(recipe, len(examples)).cap or -1  # -1: the epochs end the run
    return _Setup(
        recipe,
        llava,
        updates=updates,
        learning=learning,
        optimizer=optimizer,
        examples=examples,
        validation=_encode_validation(recipe, samples, llava, progress),
        samples=samples,
        arguments=arguments,
        sources=sources_of(recipe, folder, len(examples)),
    )


def _encode(
    recipe: TrainRecipe, samples: RunSamples, llava: Llava, progress: bool, file: Path | None = None
) -> Examples:
    """Encode every sample before the first step, so that one that cannot be learned from ends nothing at step 900."""
    stage_requirements = requirements(STAGES[recipe.stage], llava.codec, llava.model.config, modes(recipe)["llm"])
    try:
        return Examples(encoding_bar(samples.samples, progress), stage_requirements, samples.rows)
    except LapilliError as error:
        raise LapilliError(f"{file or recipe.data.file}: {error}") from error


def _encode_validation(recipe: TrainRecipe, samples: RunSamples, llava: Llava, progress: bool) -> Examples | None:
    """The same of the samples to validate on, if there are any."""
    if not samples.validation:
        return None
    others = RunSamples(samples.validation, samples.validation_rows, ())
    return _encode(recipe, others, llava, progress, recipe.data.validation)


def _create(setup: _Setup) -> RunDir:
    """Create the run folder, with what the run starts from."""
    run = RunDir.create(setup.recipe.out, setup.recipe, setup.recipe.seed)
    _save_start(setup, run)
    return run


def _save_start(setup: _Setup, run: RunDir) -> None:
    """Save what the run starts from: its size, the samples that it leaves out or sets aside, and the checksums."""
    _save_size(setup, run)
    run.save(SKIPPED, setup.samples.skipped)
    if setup.recipe.data.validation_share:
        run.save(ASIDE, setup.samples.aside)
    run.save(SOURCES, setup.sources)


def _save_size(setup: _Setup, run: RunDir) -> None:
    run.save(START, start_of(setup.recipe, setup.llava, setup.learning, setup.examples, setup.validation))


def _reopen(setup: _Setup, changed_data: bool) -> tuple[RunDir, Path | None]:
    """Open the unfinished run, remove all that is newer than its last whole checkpoint, and return both."""
    run = RunDir.resume(setup.recipe.out, setup.recipe.seed)
    if not run.has(SOURCES):  # killed before anything was trained
        _save_start(setup, run)
    checkpoint = last_checkpoint(run.path / CHECKPOINTS)
    require_same_sources(run, setup.sources, changed_data)
    begun = read_recipe(run.path / "recipe.yaml", [], TrainRecipe)
    if is_extended(setup.recipe):
        require_extendable(run, begun, checkpoint)
        remove_model(run)
    _set_end(setup, run, begun, step_of(checkpoint))
    note_change(run, setup.sources, step_of(checkpoint))
    remove_newer(run.path / CHECKPOINTS, checkpoint)
    remove_newer_weights(run.path / CHECKPOINTS, step_of(checkpoint))
    run.rewind(step_of(checkpoint))
    return run, checkpoint


def _set_end(setup: _Setup, run: RunDir, begun: TrainRecipe, step: int) -> None:
    """Give the run the recipe's end: its records first, then its recipe, by which an interrupted change is undone."""
    samples = len(setup.examples)
    before, after = Length(begun, samples), Length(setup.recipe, samples)
    note_extension(run, before, after, step)
    if (size := size_of(run)) is None or size.steps != after.steps:
        _save_size(setup, run)
    if is_extended(setup.recipe):
        run.replace_recipe(setup.recipe)


def _fit(
    setup: _Setup,
    run: RunDir,
    checkpoint: Path | None,
    *,
    on_eval: Callable[[Llava], Mapping[str, Any]] | None,
    progress: bool,
) -> tuple[StageTrainer, Totals]:
    """Train from the checkpoint, if there is one, to the last step or the end of its patience.

    Raises KeyboardInterrupt where it was requested to stop.
    """
    totals, every = Totals(), setup.recipe.validation.every
    length = Length(setup.recipe, len(setup.examples))
    with stop_on_signal() as request, training_bar(progress) as bar:
        watcher = Watcher(run, totals, bar=bar, request=request, every=every, report=line_printer(progress))
        trainer = _trainer(setup, run, totals, watcher, on_eval)
        if progress:
            announce(bar, opening(setup.learning, length, step_of(checkpoint), setup.arguments.device.type))
        with _steps_saved_on_error(trainer, checkpoint, run), quiet():
            if checkpoint:
                trainer.restore(checkpoint, length.steps)  # and evaluate, where it was stopped before that
            if _is_done(setup, run, trainer):
                trainer.end()
            else:
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        if request.stop and not _is_done(setup, run, trainer):
            raise KeyboardInterrupt
        if setup.recipe.keep_checkpoint and (fault := trainer.keep_last_step()):
            announce(bar, [f"{fault}; the model is saved without it"])  # the steps must not be lost to it
    return trainer, totals


def _is_done(setup: _Setup, run: RunDir, trainer: StageTrainer) -> bool:
    """Whether the last step was taken, or the patience has come to an end."""
    state = trainer.state
    return 0 < state.max_steps <= state.global_step or is_exhausted(run, setup.recipe.validation)


def _trainer(
    setup: _Setup,
    run: RunDir,
    totals: Totals,
    watcher: Watcher,
    on_eval: Callable[[Llava], Mapping[str, Any]] | None,
) -> StageTrainer:
    """Build transformers' Trainer: model with loss, data, optimizer, callbacks."""
    recipe, llava, examples = setup.recipe, setup.llava, setup.examples
    loss = AnswerLoss(llava.model)
    batcher = Batcher(recipe.data.images, llava.pixels, llava.processor.tokenizer.pad_token_id)
    losses = None
    if setup.validation:
        losses = partial(mean_loss, loss, setup.validation, batcher, size=recipe.batch_size)
    best = run.path / CHECKPOINTS if recipe.validation.keep == "best" else None
    evaluator = Evaluator(run, llava, recipe, losses=losses, figures=on_eval, best=best, done=watcher.start_measuring)
    trainer = StageTrainer(
        totals,
        SimilarLengths(examples.lengths, recipe.batch_size * recipe.accumulate, recipe.seed),
        before_seal=run.sync,  # the log is on the disk before a checkpoint of its steps counts
        evaluation=evaluator,
        model=loss,
        args=setup.arguments,
        train_dataset=examples,
        data_collator=batcher,
        optimizers=(setup.optimizer, None),
        callbacks=[watcher, evaluator, *tensorboard(recipe)],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


@contextmanager
def _steps_saved_on_error(trainer: StageTrainer, checkpoint: Path | None, run: RunDir) -> Iterator[None]:
    """A block after whose error the steps that were trained are a checkpoint, and a run of none is removed."""
    try:
        yield
    except Exception as error:  # whatever it is, hours of steps must not be lost to it
        traceback.clear_frames(error.__traceback__)  # they hold a data loader, whose workers live as long as it does
        if checkpoint is None and trainer.state.global_step == 0:
            run.remove()  # there is nothing to resume, and the folder would be in the way of the next run
            if not isinstance(error, LapilliError):
                raise
            raise LapilliError(_reason(error)) from error
        if isinstance(error, FinalError):  # a resumed run would meet it again
            raise
        raise StoppedError(_reason(error), step_of(trainer.save_last_step())) from error


def _reason(error: Exception) -> str:
    """The error in one line; a data loader's worker sends its own as a traceback, whose last line is the message."""
    name = "" if isinstance(error, LapilliError) else f"{type(error).__name__}: "
    text = str(error)
    if "Original Traceback" in text:
        text = text.strip().rpartition("\n")[2]
        return text.partition(f"{LapilliError.__name__}: ")[2] if not name else text
    return f"{name}{text}"


def _figures(trainer: StageTrainer, totals: Totals) -> dict[str, float]:
    """Steps, seconds and speed of the run, with those before it was resumed."""
    seconds = totals.seconds
    rate = totals.counts.samples / seconds
    return {"steps": trainer.state.global_step, "seconds": seconds, "samples_per_second": rate}


def _save(setup: _Setup, run: RunDir, figures: Mapping[str, float]) -> None:
    """Write the results and, last, the model."""
    recipe, llava, examples = setup.recipe, setup.llava, setup.examples
    counts = {
        "samples": len(examples),
        "skipped_samples": len(setup.samples.skipped),
        "tokens": examples.tokens,
        "learned_tokens": examples.learned_tokens,
        **best_of(run),
        "parameters": llava.model.num_parameters(),
        "trainable_parameters": llava.model.num_parameters(only_trainable=True),
    }
    run.save("training", {**figures, **counts})
    note = f"{recipe.stage}: {figures['steps']} steps on the {len(examples)} samples of {recipe.data.file.name}"
    if changed := changes(run):
        note += ", which was changed after step " + ", ".join(str(change["after_step"]) for change in changed)
    for longer in extensions(run):
        note += f", extended from {longer['from']} to {longer['to']} steps after step {longer['after_step']}"
    llava = replace(llava, card=replace(llava.card, notes=(*llava.card.notes, note)))
    if setup.updates is None:
        llava.model.float()  # in one format, or a reader would round what was learned to that of the rest
        save(llava, run.path / MODEL)
    else:
        save_updates(recipe, setup.updates, llava, run.path / MODEL)


def _finish(run: RunDir, keep_checkpoint: bool) -> RunDir:
    """Remove the checkpoints of a run whose model is saved, unless it is to keep them, and write its manifest."""
    if (run.path / CHECKPOINTS).exists() and not keep_checkpoint:
        shutil.rmtree(run.path / CHECKPOINTS)
    run.finish()
    return run
