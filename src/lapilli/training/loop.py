"""Training one stage: from a recipe to a run folder with the trained model in it.

The loop itself is transformers' Trainer. Each of its steps does this, and the names on the right are ours:

    for epoch:                       a random order of samples of similar length    feed.SimilarLengths
        for step:
            for pass in accumulate:
                batch                ids, labels and pixels of batch_size samples   feed.Batcher
                loss                 cross-entropy of the answers' tokens           objective.AnswerLoss
                backward             refused where the loss is NaN                  trainer.StageTrainer
            clip, update, schedule   Muon for the layers' matrices, or AdamW        stages.optimizer_of
            log, stop?               metrics.jsonl, progress, Ctrl-C                watch.Watcher
            checkpoint               weights that learn, optimizer, random states   trainer.StageTrainer
        evaluate                     the caller's on_eval                           watch.Watcher

A run that was stopped or killed can be resumed from its last whole checkpoint, and comes to the weights that it would
have had without the interruption, to the last bit.
"""

import hashlib
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypedDict

from torch import nn
from transformers import PrinterCallback, TrainingArguments

from lapilli.core.errors import LapilliError
from lapilli.core.read import checked
from lapilli.core.run import RunDir
from lapilli.model.hub import model_folder
from lapilli.model.llava import Llava, load, save, with_image_position
from lapilli.model.parts import origin
from lapilli.model.reading import quiet
from lapilli.training.feed import Batcher, Examples, SimilarLengths
from lapilli.training.muon import Muon
from lapilli.training.objective import AnswerLoss
from lapilli.training.preflight import (
    CHECKPOINTS,
    MODEL,
    SKIPPED,
    RunSamples,
    Skipped,
    is_trained,
    run_samples,
    startable,
)
from lapilli.training.recipe import Length, TrainRecipe
from lapilli.training.stages import STAGES, Part, optimizer_of, requirements, set_trainable
from lapilli.training.trainer import (
    FinalError,
    StageTrainer,
    Totals,
    is_last,
    last_checkpoint,
    remove_newer,
    step_of,
    training_arguments,
)
from lapilli.training.watch import (
    Watcher,
    announce,
    encoding_bar,
    line_printer,
    opening,
    stop_on_signal,
    training_bar,
)

CHANGED = "changed_data"
"""The result of a run that was resumed after its file of samples was changed: the step, and both checksums."""

_Change = TypedDict("_Change", {"after_step": int, "from": str, "to": str})
"""One change of the file of samples."""


@dataclass(frozen=True)
class _Setup:
    """All that a run needs; `sources` are the checksums of the model and the data that it starts from."""

    recipe: TrainRecipe
    llava: Llava
    learning: Mapping[Part, Sequence[nn.Parameter]]
    optimizer: Muon
    examples: Examples
    skipped: Sequence[Skipped]
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
    on_eval: Callable[[Llava], Mapping[str, float]] | None = None,
    progress: bool = True,
    samples: RunSamples | None = None,
    changed_data: bool = False,
) -> RunDir:
    """Run the recipe and return its finished run folder, with the trained model in the folder `model` of it.

    `samples` are the recipe's, where they have been read already. `changed_data` lets a run be resumed whose file of
    samples has changed since it began, as long as it has as many.

    `on_eval` gets the model after every epoch, and the figures it returns are logged. Raises LapilliError when recipe,
    model or samples are at fault, or another process writes the run, before anything is written, and when the loss is
    no number any more. Raises StoppedError for any other error, and KeyboardInterrupt after Ctrl-C or SIGTERM, when a
    checkpoint has been written.
    """
    with RunDir.alone(recipe.out):  # no other process writes this run
        recipe = startable(recipe, resume)
        if resume and is_trained(recipe):  # it was killed between its model and its manifest
            return _finish(RunDir.resume(recipe.out, recipe.seed))

        # Whatever can be refused is refused here: model, samples, optimizer, precision. Nothing is written before.
        setup = _prepare(recipe, samples, progress)

        # A new folder, or the one of the stopped run, rewound to its last whole checkpoint.
        run, checkpoint = _reopen(setup, changed_data) if resume else (_create(setup), None)

        # Step after step until the last one. An error and a request to stop both leave a checkpoint.
        trainer, totals = _fit(setup, run, checkpoint, on_eval=on_eval, progress=progress)
        if trainer.state.global_step < trainer.state.max_steps:  # the request to stop was met
            raise KeyboardInterrupt

        # The results, then the model: once that is there, nothing is trained again. The manifest comes last.
        _save(setup, run, _figures(trainer, totals))
        return _finish(run)


def _prepare(recipe: TrainRecipe, samples: RunSamples | None, progress: bool) -> _Setup:
    """Read the model, freeze what does not learn, encode the samples. Raises LapilliError for whatever is wrong."""
    arguments = training_arguments(recipe, recipe.out / CHECKPOINTS)
    samples = samples or run_samples(recipe)
    StageTrainer.require_known()
    folder = model_folder(recipe.model)
    llava = load(folder)
    llava = with_image_position(llava, recipe.image_position or llava.card.image_position)
    llava.model.float()  # weights learn in fp32; bf16 is used in the passes alone, by autocast
    learning = set_trainable(STAGES[recipe.stage], llava)
    optimizer = optimizer_of(recipe, learning, llava)
    examples = _encode(recipe, samples, llava, progress)
    arguments.max_steps = Length(recipe, len(examples)).cap or -1  # -1: the epochs end the run
    return _Setup(
        recipe,
        llava,
        learning=learning,
        optimizer=optimizer,
        examples=examples,
        skipped=samples.skipped,
        arguments=arguments,
        sources=_sources(folder, recipe.data.file, len(examples)),
    )


def _encode(recipe: TrainRecipe, samples: RunSamples, llava: Llava, progress: bool) -> Examples:
    """Encode every sample before the first step, so that one that cannot be learned from ends nothing at step 900."""
    stage_requirements = requirements(STAGES[recipe.stage], llava.codec, llava.model.config)
    try:
        return Examples(encoding_bar(samples.samples, progress), stage_requirements, samples.rows)
    except LapilliError as error:
        raise LapilliError(f"{recipe.data.file}: {error}") from error


def _sources(model: Path, data: Path, samples: int) -> dict[str, str]:
    return {"model": origin(model).sha256, "data": _sha256(data), "number of samples": str(samples)}


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _create(setup: _Setup) -> RunDir:
    """Create the run folder, with what the run starts from."""
    run = RunDir.create(setup.recipe.out, setup.recipe, setup.recipe.seed)
    run.save(SKIPPED, setup.skipped)
    run.save("sources", setup.sources)
    return run


def _reopen(setup: _Setup, changed_data: bool) -> tuple[RunDir, Path | None]:
    """Open the unfinished run, remove all that is newer than its last whole checkpoint, and return both."""
    run = RunDir.resume(setup.recipe.out, setup.recipe.seed)
    if not run.has("sources"):  # killed before anything was trained
        run.save(SKIPPED, setup.skipped)
        run.save("sources", setup.sources)
    checkpoint = last_checkpoint(run.path / CHECKPOINTS)
    _require_same_sources(run, setup.sources, changed_data, step_of(checkpoint))
    remove_newer(run.path / CHECKPOINTS, checkpoint)
    run.rewind(step_of(checkpoint))
    return run, checkpoint


def _require_same_sources(run: RunDir, sources: Mapping[str, str], changed_data: bool, step: int) -> None:
    """Refuse to resume with another model or other samples; note a change of the file that is allowed."""
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
    """The changes of the file of samples before the run was resumed, in their order."""
    if not run.has(CHANGED):
        return []
    return checked(list[_Change], run.load(CHANGED), f"{run.path}: results/{CHANGED}.json", "start a new run")


def _fit(
    setup: _Setup,
    run: RunDir,
    checkpoint: Path | None,
    *,
    on_eval: Callable[[Llava], Mapping[str, float]] | None,
    progress: bool,
) -> tuple[StageTrainer, Totals]:
    """Train from the checkpoint, if there is one, to the last step or to a request to stop."""
    totals = Totals()
    evaluate = None if on_eval is None else partial(_evaluate, on_eval, setup.llava)
    with stop_on_signal() as request, training_bar(progress) as bar:
        watcher = Watcher(run, totals, bar=bar, request=request, on_eval=evaluate, report=line_printer(progress))
        trainer = _trainer(setup, run, totals, watcher)
        if progress:
            length = Length(setup.recipe, len(setup.examples))
            announce(bar, opening(setup.learning, length, step_of(checkpoint), setup.arguments.device.type))
        with _steps_saved_on_error(trainer, checkpoint, run), quiet():
            if checkpoint and is_last(checkpoint):  # killed after its last step
                trainer.restore(checkpoint)
            else:
                trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    return trainer, totals


def _evaluate(on_eval: Callable[[Llava], Mapping[str, float]], llava: Llava) -> Mapping[str, float]:
    llava.model.eval()  # the Trainer's next step sets it back
    return on_eval(llava)


def _trainer(setup: _Setup, run: RunDir, totals: Totals, watcher: Watcher) -> StageTrainer:
    """Build transformers' Trainer: model with loss, data, optimizer, callbacks."""
    recipe, llava, examples = setup.recipe, setup.llava, setup.examples
    trainer = StageTrainer(
        totals,
        SimilarLengths(examples.lengths, recipe.batch_size * recipe.accumulate, recipe.seed),
        run.sync,  # the log is on the disk before a checkpoint of its steps counts
        model=AnswerLoss(llava.model),
        args=setup.arguments,
        train_dataset=examples,
        data_collator=Batcher(recipe.data.images, llava.pixels, llava.processor.tokenizer.pad_token_id),
        optimizers=(setup.optimizer, None),
        callbacks=[watcher],
    )
    trainer.remove_callback(PrinterCallback)
    return trainer


@contextmanager
def _steps_saved_on_error(trainer: StageTrainer, checkpoint: Path | None, run: RunDir) -> Iterator[None]:
    """A block after whose error the steps that were trained are a checkpoint, and a run of none is removed."""
    try:
        yield
    except Exception as error:  # whatever it is, hours of steps must not be lost to it
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
    return {"steps": trainer.state.global_step, "seconds": seconds, "samples_per_second": totals.samples / seconds}


def _save(setup: _Setup, run: RunDir, figures: Mapping[str, float]) -> None:
    """Write the results and, last, the model."""
    recipe, llava, examples = setup.recipe, setup.llava, setup.examples
    counts = {
        "samples": len(examples),
        "skipped_samples": len(setup.skipped),
        "tokens": examples.tokens,
        "learned_tokens": examples.learned_tokens,
        "parameters": llava.model.num_parameters(),
        "trainable_parameters": llava.model.num_parameters(only_trainable=True),
    }
    run.save("training", {**figures, **counts})
    note = f"{recipe.stage}: {figures['steps']} steps on the {len(examples)} samples of {recipe.data.file.name}"
    if changes := _changes(run):
        note += ", which was changed after step " + ", ".join(str(change["after_step"]) for change in changes)
    card = replace(llava.card, notes=(*llava.card.notes, note))
    save(replace(llava, card=card), run.path / MODEL)


def _finish(run: RunDir) -> RunDir:
    """Remove the checkpoints of a run whose model is saved, and write its manifest."""
    if (run.path / CHECKPOINTS).exists():
        shutil.rmtree(run.path / CHECKPOINTS)
    run.finish()
    return run
