"""Which GGUF file is meant where a language model may be named; without torch."""

import os
from pathlib import Path

from lapilli.core.errors import UsageError
from lapilli.model.fetched import RELEASES, fetched_file

_SUFFIX = ".gguf"


def gguf_named(name: Path | str) -> Path | None:
    """The GGUF file that is meant: itself, a fetched one by its name, or the only one in a folder; None for no GGUF.

    A folder with a config.json is that of a model, whatever else lies in it. Raises UsageError for a file that is not
    there, for a model that has not been fetched yet, and for a folder with several.
    """
    if str(name) in RELEASES:
        return fetched_file(str(name))
    path = Path(name)
    if path.suffix.lower() == _SUFFIX and not os.path.isdir(path):  # noqa: PTH112 - Path.is_dir raises for long names
        if not os.path.exists(path):  # noqa: PTH110 - as above
            raise UsageError(f"{name}: no such file; give a GGUF file that is on this machine")
        return path
    if not os.path.isdir(path) or (path / "config.json").exists():  # noqa: PTH112 - as above
        return None
    files = sorted(file for file in path.iterdir() if file.suffix.lower() == _SUFFIX)
    if len(files) > 1:
        raise UsageError(f"{name}: {len(files)} GGUF files; give one of them, such as {files[0]}")
    return files[0] if files else None
