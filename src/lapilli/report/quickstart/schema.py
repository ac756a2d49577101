"""The schema of the results of a quickstart: the run writes them and the page reads them.

They are JSON. Shares lie between 0 and 1, durations are in seconds, memory in bytes. Floats are finite or null. Every
class `...Required` has the required keys; the class after it adds the optional ones, and without them the page leaves
out their part. A picture is a path relative to the page or a `data:` URI of a PNG, JPEG, GIF or WebP file; the page
holds its own copy.
"""

from typing import Literal, TypedDict

StageName = Literal["align", "instruct"]
Split = Literal["held_out", "compositional"]
Condition = Literal["image", "blank", "swapped", "language_only"]
Role = Literal["vision", "projector", "language"]

SPLITS: tuple[Split, ...] = ("held_out", "compositional")
"""Held-out: new pictures. Compositional: new pictures of combinations that no training ever showed."""

CONTROLS: tuple[Condition, ...] = ("swapped", "blank", "language_only")
"""Another scene's picture, an empty picture, and the language model alone: what can be answered without looking."""


class Rate(TypedDict):
    """A share, `correct` of `n`, and its 95 % interval: `lapilli.core.statistics.proportion.Proportion` as a dict."""

    correct: int
    n: int
    estimate: float
    low: float
    high: float


class Score(Rate):
    """The accuracy on one type of question, such as `color`. Answers count as right or wrong, nothing between.

    The controls (`blank`, `swapped`, `language_only`) belong to a stage as `image` does; the charts show those of the
    last stage, the table those of every stage. The accuracy over all types is a row of `overall`, of type `all`.
    """

    stage: StageName
    split: Split
    condition: Condition
    type: str


class Constant(TypedDict):
    """The accuracy of the best fixed `answer` to all questions of a type on a split."""

    split: Split
    type: str
    answer: str
    estimate: float
    n: int


class PartRequired(TypedDict):
    """One of the joined parts; `parameters` counts the numbers that some training learns."""

    name: str
    role: Role
    parameters: int


class Part(PartRequired, total=False):
    """A part with its optional keys.

    `card`: the description of the part, plain text or Markdown, shown as it is. `head`: for a language model the
    parameters of its output head that are not in `parameters`; 0 where the head is tied to the embedding.
    """

    card: str
    head: int


class Metric(TypedDict):
    """One line of the training log. A loss that was not finite is null."""

    step: int
    loss: float | None
    learning_rate: float


class Token(TypedDict):
    """A token as `lapilli data show` prints it: readable text, its role in words, and whether it is learned."""

    text: str
    role: str
    learned: bool


class DataRow(TypedDict):
    """A sample as the model reads it, in the chat template of that name: `count` tokens, `learned` of them learned.

    `tokens` holds the patches of an image as one.
    """

    image: str
    template: str
    count: int
    learned: int
    tokens: list[Token]


class StageRequired(TypedDict):
    """One training stage. `trains` says which parts move; the others are frozen.

    `samples_per_second` is null where no line of training was logged.
    """

    name: StageName
    trains: list[Role]
    trainable_parameters: int
    samples: int
    steps: int
    seconds: float
    samples_per_second: float | None
    metrics: list[Metric]


class Stage(StageRequired, total=False):
    """A stage with its optional keys. `recipe`: the resolved recipe as YAML. `row`: the first sample of its data."""

    recipe: str
    row: DataRow


class CaptionExample(TypedDict):
    """A caption after stage 1 beside the truth about the picture."""

    image: str
    truth: str
    caption: str


class CaptionsRequired(TypedDict):
    """Stage 1's captions of `n` new pictures.

    `mentioned` counts the color words of the captions, right where the picture holds that color; `shuffled` counts the
    same captions, each beside another picture. Their intervals take the words of a caption for a cluster.
    """

    n: int
    mentioned: Rate
    shuffled: Rate


class Gain(TypedDict):
    """A difference of two shares with its 95 % interval."""

    estimate: float
    low: float
    high: float


class Captions(CaptionsRequired, total=False):
    """The captions with their optional keys.

    `gain`: `mentioned` less `shuffled`, caption by caption, for captions that name a color. `examples`: a few, chosen
    before their captions were seen.
    """

    gain: Gain
    examples: list[CaptionExample]


class BeforeAndAfter(TypedDict):
    """Shares of right answers of the untrained model and of stage 2's to questions of one type without pictures."""

    type: str
    before: Rate
    after: Rate


class Interval(TypedDict):
    """A figure with its 95 % interval: `lapilli.core.statistics.estimate.Estimate` as a dict."""

    value: float
    low: float
    high: float
    n: int


class Perplexities(TypedDict):
    """The perplexity of a held-out text per `unit`, token or word."""

    unit: str
    before: Interval
    after: Interval


class English(TypedDict):
    """What the language model could do without pictures, before the first stage and after the last."""

    scores: list[BeforeAndAfter]
    perplexity: list[Perplexities]


class ExampleRequired(TypedDict):
    """A question about a new picture, chosen before its answer was seen. `expected` is the right answer."""

    image: str
    question: str
    answer: str
    expected: str
    type: str
    correct: bool


class Example(ExampleRequired, total=False):
    """An example with its optional key. `truth`: the picture in words, for readers who cannot see it."""

    truth: str


class StepRequired(TypedDict):
    """One step of the run, in order."""

    name: str
    seconds: float


class Step(StepRequired, total=False):
    """A step with its optional keys. `stage`: the stage that the step trained; `finished` as in Results."""

    stage: StageName
    finished: str
    peak_memory_bytes: int


class Change(Gain):
    """The share right with the picture less another share, with its 95 % interval.

    `against` names the other share: a blank picture, stage 1, new pictures (of new combinations), another picture.
    """

    split: str
    type: str
    against: str


class Patches(TypedDict):
    """The grid of patches that the vision encoder makes of one picture."""

    rows: int
    columns: int


class Command(TypedDict):
    """A command to type next, with the paths of this run, and what it does."""

    command: str
    purpose: str


class Machine(TypedDict, total=False):
    """The machine: processor and accelerator by name ("" for none), the number of cores used, memory, system."""

    processor: str
    accelerator: str
    cores: int
    memory_bytes: int
    system: str


class ResultsRequired(TypedDict):
    """The required keys of the results. `seconds` is the duration from the command to the last score."""

    title: str
    seed: int
    seconds: float


class Results(ResultsRequired, total=False):
    """The results that the page shows. `finished` is a date or time as text; all `examples` are shown.

    `overall` are the scores over all types, of type `all`, with intervals in which questions about one picture are a
    cluster.
    """

    finished: str
    command: str
    peak_memory_bytes: int
    versions: dict[str, str]
    machine: Machine
    patches: Patches
    parts: list[Part]
    stages: list[Stage]
    scores: list[Score]
    overall: list[Score]
    constants: list[Constant]
    differences: list[Change]
    captions: Captions
    english: English
    examples: list[Example]
    steps: list[Step]
    next_commands: list[Command]
