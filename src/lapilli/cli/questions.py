"""A question about one picture, as several commands take it."""

from pathlib import Path
from typing import TYPE_CHECKING

from lapilli.cli.console import note_hidden
from lapilli.cli.options import decoded
from lapilli.core.errors import UsageError

if TYPE_CHECKING:
    from PIL.Image import Image

    from lapilli.data.sample import Sample
    from lapilli.model.llava import Llava


def asked(image: Path, question: str) -> "Sample":
    """The sample that asks a question about a picture. Raises UsageError for what is no question."""
    from lapilli.core.prompt.template import IMAGE_MARK

    question = decoded("question", question)
    if not question.strip():
        raise UsageError("question: empty; ask something about the picture")
    if IMAGE_MARK in question:
        raise UsageError(f"question: {question!r} holds {IMAGE_MARK}, which stands for a picture; leave it out")
    from lapilli.data.sample import Sample, Turn

    return Sample("question", (image.name,), (Turn("user", f"{IMAGE_MARK}\n{question}"),))


def opened(image: Path) -> "Image":
    """The picture in a file. Raises LapilliError where there is none."""
    from lapilli.data.pictures import open_picture

    return open_picture(image.parent, image.name)


def hidden_share(llava: "Llava", name: str, picture: "Image") -> float:
    """The share of the picture that the model does not see, which is said on stderr if there is one."""
    hidden = llava.pixels.framing(picture.size).hidden
    note_hidden(name, hidden)
    return hidden
