"""Small things to learn: plain-colored pictures, and what to say of them."""

from pathlib import Path

from PIL import Image
from tests.parts import IMAGE_SIZE, joined

from lapilli.data.sample import Sample, Turn, write_samples
from lapilli.training.recipe import Data, TrainRecipe

COLORS = {"red": (200, 30, 30), "green": (30, 160, 40), "blue and dark": (20, 30, 120)}


def write_lesson(folder: Path, count: int = 12) -> Data:
    """`count` pictures, a question about each, and after every fourth a question without a picture."""
    images = folder / "images"
    images.mkdir(parents=True)
    samples = []
    for index in range(count):
        name, color = list(COLORS.items())[index % len(COLORS)]
        Image.new("RGB", (IMAGE_SIZE + index % 2, IMAGE_SIZE), color).save(images / f"{index}.png")
        question, answer = Turn("user", "<image>\nWhat color is it?"), Turn("assistant", name)
        samples.append(Sample(f"color-{index}", (f"{index}.png",), (question, answer)))
        if index % 4 == 3:
            samples.append(Sample(f"words-{index}", (), (Turn("user", "Is red a color?"), Turn("assistant", "yes"))))
    write_samples(folder / "lesson.json", samples)
    return Data(folder / "lesson.json", images)


def write_captions(folder: Path, count: int = 12) -> Data:
    """The pictures with captions: every row has one picture."""
    data = write_lesson(folder, count)
    turns = [("user", "<image>\nDescribe it."), ("assistant", "a plain picture")]
    samples = [
        Sample(f"caption-{index}", (f"{index}.png",), tuple(Turn(role, text) for role, text in turns))
        for index in range(count)
    ]
    write_samples(data.file, samples)
    return data


def recipe(folder: Path, stage: str = "instruct", **changes) -> TrainRecipe:
    """A recipe of a few steps on a fresh lesson in `folder`, unless `changes` say otherwise."""
    fields = {
        "stage": stage,
        "model": joined("clip", "llama"),
        "out": folder / "run",
        "batch_size": 4,
        "learning_rate": 3e-3,
        "log_every": 1,
        **changes,
    }
    if "data" not in fields:
        fields["data"] = (write_captions if stage == "align" else write_lesson)(folder / "lesson")
    return TrainRecipe(**fields)
