"""An explanation: findings as a folder of files, and as a page.

    explanation.json     what was asked, said and found, in words and numbers
    arrays.safetensors   contributions and read-outs, a token after the other
    image.*, view.png    the picture, and what the encoder got of it
    receipts/            what removing patches did, one file each
    explanation.html     all of it, to look at in a browser, without a network

The form of the files is that of `report/explanation`, which checks and draws them.
"""

import hashlib
import io
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save as packed

from lapilli import __version__
from lapilli.core.files import new_folder, write_atomically
from lapilli.core.plain import json_text
from lapilli.inspection.trace import Trace
from lapilli.report.explanation import bundle, page
from lapilli.studies.explain import description as parts
from lapilli.studies.explain.arrays import array_description, arrays_of
from lapilli.studies.explain.findings import Findings
from lapilli.studies.explain.summary import summary

_VIEW = "view.png"
_LOSSLESS = 512 * 512  # pixels up to which the picture is kept exactly


@dataclass(frozen=True, eq=False)
class Explanation:
    """An explanation of one answer about one picture, to be saved, or shown in a notebook.

    description   the content of explanation.json
    arrays        the content of arrays.safetensors
    pictures      the files of the picture and of the view: name and content
    """

    description: dict[str, Any]
    arrays: dict[str, NDArray[Any]] = field(repr=False)
    pictures: dict[str, bytes] = field(repr=False)

    def save(self, out: Path | str) -> None:
        """Write the folder, whole or not at all. Raises LapilliError when `out` is not empty."""
        with new_folder(Path(out)) as folder:
            self._write(folder)

    @classmethod
    def load(cls, folder: Path) -> "Explanation":
        """Read what `save` wrote. Raises LapilliError for another folder, or one that violates its schema or sums."""
        description, arrays = bundle.read(folder)
        bundle.check(description, arrays, str(folder))
        names = (description["image"]["file"], description["image"]["view"]["file"])
        return cls(description, arrays, {name: (folder / Path(name).name).read_bytes() for name in names})

    def __str__(self) -> str:
        return summary(self.description, self.arrays)

    def _repr_html_(self) -> str:
        with tempfile.TemporaryDirectory() as folder:
            self._write(Path(folder))
            return page.frame(page.render(Path(folder)))

    def _write(self, folder: Path) -> None:
        for name, content in self.pictures.items():
            write_atomically(folder / name, content)
        for receipt in self.description["receipts"]:
            write_atomically(folder / "receipts" / f"{receipt['id']}.json", json_text(receipt, indent=2) + "\n")
        write_atomically(folder / "arrays.safetensors", packed(self.arrays))
        write_atomically(folder / "explanation.json", json_text(self.description) + "\n")
        page.write_page(folder)


def explanation(
    findings: Findings,
    picture: Image.Image,
    name: str = "a LLaVA",
    command: Sequence[str] = (),
) -> Explanation:
    """The explanation made of findings about `picture`.

    `name` is the model's, and `command` the command line that explains the same answer again, if there is one.
    """
    trace = findings.trace
    view = _patched(trace, picture)
    file, content = _file(picture)
    arrays = arrays_of(findings)
    description = {
        "schema": bundle.SCHEMA,
        "id": hashlib.sha256(content + trace.ids.tobytes()).hexdigest()[:12],
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "made_by": _made_by(findings, command),
        "model": parts.model_part(trace, name),
        "image": _image_part(findings, picture, view, file, content),
        "prompt": parts.prompt_part(trace),
        "answer": parts.answer_part(findings),
        "method": parts.method_part(findings),
        "routes": parts.routes_part(findings.decomposition.routes),
        "dependence": parts.dependence_part(findings.dependence),
        "checks": parts.checks_part(findings),
        "receipts": parts.receipts_part(findings, command),
        "vocabulary": parts.vocabulary_part(findings),
        "arrays": {name: array_description(name) for name in arrays},
    }
    return Explanation(description, arrays, {file: content, _VIEW: _encoded(view, "PNG")})


def _image_part(
    findings: Findings, picture: Image.Image, view: Image.Image, file: str, content: bytes
) -> dict[str, Any]:
    pixels = findings.trace.llava.pixels
    return {
        "file": file,
        "sha256": hashlib.sha256(content).hexdigest(),
        "size": list(picture.size),
        "view": {"file": _VIEW, **parts.view_part(pixels.framing(picture.size), view.width)},
        "grid": parts.grid_part(findings),
    }


def _patched(trace: Trace, picture: Image.Image) -> Image.Image:
    """The encoder's view of a picture, without the rest at the right and at the bottom that no patch covers."""
    (rows, columns), cell = trace.layout.grid(0), trace.llava.pixels.cell
    return trace.llava.pixels.view(picture).crop((0, 0, columns * cell, rows * cell))


def _made_by(findings: Findings, command: Sequence[str]) -> dict[str, Any]:
    stream = findings.trace.resid
    return {
        "version": __version__,
        "command": parts.repeated(findings, command),
        "seed": findings.seed,
        "device": str(stream.device),
        "dtype": str(stream.dtype).removeprefix("torch."),
        "seconds": findings.seconds,
    }


def _file(picture: Image.Image) -> tuple[str, bytes]:
    """The picture as a file: lossless unless it is large."""
    if picture.width * picture.height <= _LOSSLESS:
        return "image.png", _encoded(picture, "PNG")
    return "image.jpg", _encoded(picture, "JPEG")


def _encoded(picture: Image.Image, kind: str) -> bytes:
    content = io.BytesIO()
    picture.save(content, kind, quality=92)
    return content.getvalue()
