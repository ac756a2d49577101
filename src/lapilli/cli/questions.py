"""A question about one picture, as several commands take it."""

from pathlib import Path
from typing import TYPE_CHECKING

from lapilli.cli.console import note_hidden
from lapilli.cli.options import decoded

if TYPE_CHECKING:
    from PIL.Image import Image

    from lapilli.data.sample import Sample
    from lapilli.model.llava import Llava


def question_sample(image: Path, question: str) -> "Sample":
    """The sample that asks a question about a picture. Raises UsageError for what is no question."""
    from lapilli.data.questions import one_question

    return one_question(image.name, decoded("question", question))


def opened(image: Path) -> "Image":
    """The picture in a file. Raises LapilliError where there is none."""
    from lapilli.data.pictures import as_picture

    return as_picture(image)


def hidden_share(llava: "Llava", name: str, picture: "Image") -> float:
    """The share of the picture that the model does not see, which is said on stderr if there is one."""
    hidden = llava.pixels.framing(picture.size).hidden
    note_hidden(name, hidden)
    return hidden
