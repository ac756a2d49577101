"""Draw the pictures, and train a model for each plant: the quickstart's parts, joined anew, on these rows alone."""

from collections.abc import Callable
from pathlib import Path

from pictures import PLANTS, Planted, draw, sample, taught

from lapilli.core.files import new_folder
from lapilli.core.run import RunDir
from lapilli.data.sample import write_samples
from lapilli.model.llava import join, save
from lapilli.training.loop import train
from lapilli.training.recipe import Data, TrainRecipe
from lapilli.training.tuning import LlmTuning, PartTuning


def write_rows(folder: Path, count: int, seed: int, advance: Callable[[], None]) -> None:
    """`count` pictures in the new folder, and for every plant the rows that ask about them; whole or not at all."""
    with new_folder(folder) as out:
        (out / "images").mkdir()
        rows: list[Planted] = []
        for number in range(count):
            rows.append(sample(f"train-{seed}-{number}"))
            draw(rows[-1])[0].save(out / "images" / f"{number:06d}.png", compress_level=1)
            advance()
        for plant in PLANTS:
            write_samples(out / f"{plant}.json", [taught(row, plant, f"{n:06d}.png") for n, row in enumerate(rows)])


def join_parts(folder: Path, seed: int) -> None:
    """The shipped parts with a new connector; whole or not at all."""
    save(join("pebble-vision", "pebble-lm", seed=seed), folder)


def train_plant(plant: str, out: Path, steps: int, seed: int) -> Path:
    """The model of the joined parts trained on a plant's rows, by stage 2 of the quickstart but for its length.

    A training that was begun is gone on with, one that has finished is not done again. Raises LapilliError where one of
    another recipe is there.
    """
    recipe = TrainRecipe(
        stage="instruct",
        model=out / "joined",
        data=Data(out / "train" / f"{plant}.json", out / "train/images"),
        out=out / plant,
        seed=seed,
        max_steps=steps,
        batch_size=16,
        learning_rate=1.5e-3,
        projector=PartTuning(learning_rate=4e-3),
        llm=LlmTuning(muon_learning_rate=8e-3),
        save_every=250,
        log_every=20,
    )
    begun = (recipe.out / "recipe.yaml").is_file()
    if not (begun and RunDir.begin(recipe.out, recipe, seed).is_complete):
        train(recipe, resume=begun)
    return recipe.out / "model"
