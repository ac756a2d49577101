"""Manifests: every file of a folder with its size and SHA-256. It is written last: where it exists, all is complete."""

from pathlib import Path
from typing import Any, TypedDict

from lapilli.core.errors import LapilliError
from lapilli.core.files import LOCK, explain_write, sha256, sync, write_atomically
from lapilli.core.plain import json_text
from lapilli.core.read import checked, read_json

MANIFEST = "manifest.json"


class _Manifest(TypedDict):
    """The part of manifest.json that is read: size in bytes and SHA-256 of every file, by its path in the folder."""

    files: dict[str, Any]


def seal(folder: Path, **facts: Any) -> None:
    """Write every file of the folder out to the disk, and then their manifest, which includes `facts`.

    Raises LapilliError when it cannot be written.
    """
    inside = sorted(folder.rglob("*"))
    with explain_write(folder / MANIFEST):
        sync([folder.parent, folder, *inside])
    files = [file for file in inside if file.is_file() and file.name != LOCK and file != folder / MANIFEST]
    entries = {file.relative_to(folder).as_posix(): _fingerprint(file) for file in files}
    write_atomically(folder / MANIFEST, json_text({**facts, "files": entries}, indent=2) + "\n")


def changed(folder: Path) -> list[str]:
    """Return the files that are missing or differ from the manifest; the manifest's name if it cannot be read."""
    try:
        content = checked(_Manifest, read_json(folder / MANIFEST, ""), MANIFEST, "")
        return [name for name, entry in content["files"].items() if _fingerprint(folder / name) != entry]
    except (LapilliError, OSError, ValueError):  # names of files that no system has
        return [MANIFEST]


def _fingerprint(file: Path) -> dict[str, Any] | None:
    """Size in bytes and SHA-256 of a file; None when it does not exist."""
    if not file.is_file():
        return None
    return {"bytes": file.stat().st_size, "sha256": sha256(file)}
