"""What can be told of a run before anything of it is read: whether its folder is free, and what it needs is there.

Nothing here imports torch, so that a refusal takes no longer than reading a recipe.
"""

from dataclasses import fields, replace

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.files import refuse_occupied
from lapilli.core.recipe import read_recipe
from lapilli.core.run import RunDir
from lapilli.model.hub import pinned
from lapilli.training.recipe import TrainRecipe

MODEL = "model"
"""The folder of the trained model or part, inside the run's."""

CHECKPOINTS = "checkpoints"
"""The folder of a run's checkpoints, while it has any."""

_FREE_ON_RESUME = ("save_every", "log_every", "workers")  # they do not change what is computed


def startable(recipe: TrainRecipe, resume: bool) -> TrainRecipe:
    """The recipe, with the commit of a model of the hub in it: what is learned from is what the run's recipe names.

    Raises LapilliError for a run that is there already, a resumption of one that is not, and a file that is not there;
    UsageError for a model that is neither a folder nor an id, and where a resumed run began with another recipe.
    """
    recipe = replace(recipe, model=pinned(recipe.model))
    _require_place(recipe, resume)
    if not is_trained(recipe):
        _require_data(recipe)
    return recipe


def is_trained(recipe: TrainRecipe) -> bool:
    """Whether the run has nothing more to train: the model is written when all else is, and appears as a whole."""
    return (recipe.out / MODEL).exists()


def _require_data(recipe: TrainRecipe) -> None:
    if not recipe.data.file.exists():
        raise LapilliError(f"{recipe.data.file}: cannot be read: no such file; correct data.file")
    if recipe.data.images is not None and not recipe.data.images.is_dir():
        raise LapilliError(f"{recipe.data.images}: no such folder; correct data.images")


def _require_place(recipe: TrainRecipe, resume: bool) -> None:
    if not (recipe.out / "recipe.yaml").is_file():
        if resume:
            raise LapilliError(f"{recipe.out}: no run to resume; start it without --resume")
        refuse_occupied(recipe.out)
        return
    if RunDir.open(recipe.out).is_complete:
        raise LapilliError(f"{recipe.out}: the run there has finished; name another out, or remove the folder")
    if not resume:
        raise LapilliError(f"{recipe.out}: an unfinished run is there; go on with --resume, or remove the folder")
    _require_same(recipe)


def _require_same(recipe: TrainRecipe) -> None:
    before = read_recipe(recipe.out / "recipe.yaml", [], TrainRecipe)
    for field in fields(TrainRecipe):
        old, new = getattr(before, field.name), getattr(recipe, field.name)
        if old != new and field.name not in _FREE_ON_RESUME:
            raise UsageError(f"{field.name}: {new}, but the run at {recipe.out} began with {old}; change it back")
