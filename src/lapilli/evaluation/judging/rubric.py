"""What a judge is told, in files of a version: system.txt, published.txt and balanced.txt.

A changed text is a new version: the judgements that were paid for belong to the old one.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lapilli.core.errors import UsageError
from lapilli.core.read import read_text

Procedure = Literal["balanced", "published"]

NEWEST = "v1"

_NAMES = ("system", "published", "balanced")
_REMEDY = "give a folder with the files of lapilli's own version, or leave the setting rubric out"


@dataclass(frozen=True)
class Rubric:
    """The texts of a version by the names of their files."""

    version: str
    texts: Mapping[str, str]

    @property
    def sha256(self) -> str:
        """The hash of all texts."""
        content = "\0".join(f"{name}\0{text}" for name, text in sorted(self.texts.items()))
        return hashlib.sha256(content.encode()).hexdigest()

    def rule(self, procedure: Procedure, role: str) -> str:
        """How the answers are to be judged; the published rule calls them by their role."""
        return self.texts[procedure].replace("{role}", role)


def read_rubric(version: str) -> Rubric:
    """The rubric of a version that comes with the package, or in somebody's own folder of the same files.

    Raises UsageError for a file that is missing or empty.
    """
    shipped = Path(__file__).parent / "versions" / version
    folder = shipped if version.isalnum() and shipped.is_dir() else Path(version)
    if not folder.is_dir():
        raise UsageError(f"rubric {version}: no such version or folder; {_REMEDY}")
    texts = {}
    for name in _NAMES:
        file = folder / f"{name}.txt"
        if not file.is_file() or not (text := read_text(file, _REMEDY).strip()):
            raise UsageError(f"{file}: missing or empty; {_REMEDY}")
        texts[name] = text
    return Rubric(version if folder is shipped else folder.resolve().name, texts)
