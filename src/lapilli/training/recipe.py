"""The recipes of training, by stage: every field with its type, its default, its range and what it means."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from lapilli.core.fields import Range, require_ranges
from lapilli.core.recipe import stage_of
from lapilli.training.part_recipe import COUNT, RATE, SEED, LanguageRecipe, VisionRecipe
from lapilli.training.tuning import LlmTuning, Lora, PartTuning

Tracker: TypeAlias = Literal["tensorboard", "wandb", "trackio", "mlflow"]


@dataclass(frozen=True)
class Data:
    """Samples in LLaVA's format, and the folder their pictures are in."""

    file: Annotated[Path, "The samples: LLaVA's JSON, or one JSON object a line."]
    images: Annotated[Path | None, "The folder that the samples' pictures are in; not needed for text alone."] = None
    validation: Annotated[
        Path | None, "Samples that nothing is learned from, whose loss is computed; their pictures are in images too."
    ] = None
    validation_share: Annotated[
        float | None,
        "Or the share of the samples of file that is set aside, by picture.",
        Range(above=0, below=1),
    ] = None
    shuffle_pictures: Annotated[
        bool,
        "Whether every sample that is learned from is shown another's pictures: a control, which cannot learn to see.",
    ] = False

    def __post_init__(self) -> None:
        """Raises ValueError for a share out of its range, and for both a file and a share."""
        require_ranges(self)
        if self.validation and self.validation_share:
            raise ValueError("validation_share: with validation, which has samples of its own; give one of them")

    @property
    def has_validation(self) -> bool:
        """Whether there are samples to validate on."""
        return bool(self.validation or self.validation_share)


@dataclass(frozen=True)
class Validation:
    """When a run is evaluated and on what, which of its weights become the model, and what ends it early."""

    every: Annotated[int | None, "Steps between evaluations; null: after every epoch.", COUNT] = None
    keep: Annotated[
        Literal["last", "best"], "The weights that become the model: the last, or those of the lowest validation loss."
    ] = "last"
    patience: Annotated[
        int | None, "Evaluations without a lower validation loss after which the run ends; null: it does not.", COUNT
    ] = None
    benchmarks: Annotated[
        tuple[str, ...],
        "What the model is asked at every evaluation, as `lapilli eval` takes it: scenes, pope, files of questions.",
    ] = ()
    questions: Annotated[int, "How many of each type it is asked.", Range(1, 1_000_000)] = 20
    images: Annotated[Path | None, "The pictures of such files; null: they are beside each file."] = None
    samples: Annotated[
        int, "Samples to validate on that the model answers at every evaluation, into samples.jsonl.", Range(0, 1_000)
    ] = 4

    def __post_init__(self) -> None:
        """Raises ValueError for a number out of its range."""
        require_ranges(self)


@dataclass(frozen=True)
class TrainRecipe:
    """Everything that decides a run of LLaVA's two stages, apart from the contents of the files it names.

    Of `epochs` and `max_steps` the one that is reached first ends the run; without either, `epochs` becomes 1.
    """

    stage: Annotated[
        Literal["align", "instruct"],
        "How samples are written, and what learns where no mode is set: the connector, or it and the language model.",
    ]
    model: Annotated[Path, "The model to begin with: what `lapilli model build` or an earlier stage wrote."]
    data: Data
    out: Annotated[Path, "The run folder to write; new or empty."]
    seed: Annotated[int, "Decides the order of the samples, and whatever else is drawn at random.", SEED] = 0
    epochs: Annotated[
        float | None,
        "How often to go through the samples; 1 where max_steps is not given either.",
        Range(above=0, most=1_000_000),
    ] = None
    max_steps: Annotated[int | None, "Ends the run after so many steps, if its epochs do not end it before.", COUNT] = (
        None
    )
    batch_size: Annotated[int, "Samples in one pass through the model.", Range(1, 1_000_000)] = 32
    accumulate: Annotated[int, "Passes whose gradients make one step.", Range(1, 1_000_000)] = 1
    vision: PartTuning = field(default_factory=PartTuning)
    projector: PartTuning = field(default_factory=PartTuning)
    llm: LlmTuning = field(default_factory=LlmTuning)
    lora: Lora = field(default_factory=Lora)
    learning_rate: Annotated[float, "The highest rate of AdamW, of parts that have none of their own.", RATE] = 1e-3
    weight_decay: Annotated[float, "Of the matrices of such parts; biases and norms do not decay.", Range(0)] = 0.0
    warmup: Annotated[float, "The share of all steps in which the rates rise to their highest.", Range(0, below=1)] = (
        0.03
    )
    schedule: Annotated[Literal["cosine", "linear", "constant"], "How the rates fall after the warm-up."] = "cosine"
    clip: Annotated[float, "The longest that the gradient may be; 0 leaves it as it is.", Range(0)] = 1.0
    precision: Annotated[
        Literal["fp32", "bf16"], "Of the passes; weights and their updates are fp32 in either case."
    ] = "fp32"
    validation: Validation = field(default_factory=Validation)
    recompute: Annotated[
        bool,
        "Whether layers are computed again on the way back (gradient checkpointing): less memory, more time.",
    ] = False
    compile: Annotated[
        bool,
        "Whether torch.compile compiles the language model's layers, once; on a CPU it needs a C++ compiler.",
    ] = False
    report_to: Annotated[
        tuple[Tracker, ...],
        "Programs that get losses and figures too, if they are installed.",
    ] = ()
    save_every: Annotated[int | None, "Steps between checkpoints; null: only when the run is stopped.", COUNT] = None
    keep_checkpoint: Annotated[
        bool, "Whether the checkpoint of the last step stays in the finished run, from which --extend trains on."
    ] = False
    log_every: Annotated[int, "Steps between lines of metrics.jsonl.", COUNT] = 10
    image_position: Annotated[
        Literal["as_written", "first"] | None,
        "Where a question's pictures stand: as written, or before its text, as in LLaVA; null: as the model has it.",
    ] = None
    on_bad_picture: Annotated[
        Literal["error", "skip"],
        "Of a sample whose picture cannot be read: error refuses the run; skip decodes all first, and leaves it out.",
    ] = "error"
    workers: Annotated[int, "Processes that read pictures ahead; 0: the training does it itself.", Range(0, 64)] = 0

    def __post_init__(self) -> None:
        """Raises ValueError, which the reader of recipes reports, for a number out of its range."""
        if self.epochs is None and self.max_steps is None:
            object.__setattr__(self, "epochs", 1.0)  # a recipe is saved and shown as resolved
        if (self.validation.keep == "best" or self.validation.patience) and not self.data.has_validation:
            raise ValueError("validation: keep best and patience go by a validation loss; name data.validation")
        if self.lora.bits and self.llm.mode != "lora":
            mode = self.llm.mode or "that of the stage"
            raise ValueError(
                f"lora.bits: {self.lora.bits}, but llm.mode is {mode}; set it to lora, or leave the bits out"
            )
        require_ranges(self)


@dataclass(frozen=True)
class Length:
    """The number of steps of a run of a recipe over so many samples, counted as transformers' Trainer counts them.

    A pass that is not full counts as one, and so does a step of fewer passes than `accumulate` at the end of an epoch.
    """

    recipe: TrainRecipe
    samples: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one epoch."""
        return math.ceil(math.ceil(self.samples / self.recipe.batch_size) / self.recipe.accumulate)

    @property
    def steps_of_epochs(self) -> int | None:
        """Steps that the recipe's epochs would take; None where it names none."""
        return None if self.recipe.epochs is None else math.ceil(self.recipe.epochs * self.steps_per_epoch)

    @property
    def cap(self) -> int | None:
        """The recipe's `max_steps`, where it ends the run before its epochs do."""
        most, steps = self.recipe.max_steps, self.steps_of_epochs
        return most if most is not None and (steps is None or most < steps) else None

    @property
    def steps(self) -> int:
        """Steps of the run."""
        return self.cap or self.steps_of_epochs or 0  # a recipe has one or the other

    @property
    def epochs(self) -> float:
        """How often the run goes through the samples."""
        return self.steps / self.steps_per_epoch


RECIPES: dict[str, type[Any]] = {
    "align": TrainRecipe,
    "instruct": TrainRecipe,
    "vision": VisionRecipe,
    "language": LanguageRecipe,
}
"""The recipe of every stage."""


def recipe_type(path: Path) -> type[Any]:
    """The dataclass that the recipe in this file is read into, by the stage it names."""
    return RECIPES.get(stage_of(path), TrainRecipe)  # whose reader refuses an unknown stage
