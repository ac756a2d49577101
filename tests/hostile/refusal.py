"""What every hostile input must come to: one line that says what to do; nothing written, run or swollen."""

import os
import time
import warnings
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from tests.parts import part

from lapilli.cli import run

WEIGHTS = "model.safetensors"

SECONDS = 20  # a tiny model answers in one, also on a busy machine; what is kept out here takes minutes, or for ever
MEGABYTES = 300  # far more than a tiny model needs


@dataclass(frozen=True)
class Said:
    """What a command line came to: exit code, both streams, seconds, and by how many megabytes the memory grew."""

    code: int
    out: str
    err: str
    seconds: float
    megabytes: float


class Canary:
    """Loaded from a pickle without care, it makes the folder `ran`: whoever finds that knows that code was run."""

    def __init__(self, folder):
        self.file = str(folder / "ran")

    def __reduce__(self):
        return os.mkdir, (self.file,)


def canary_module(folder):
    """A module that does the same when it is imported."""
    return f"import os\nos.mkdir({str(folder / 'ran')!r})\n"


def command(name, folder):
    """The command line, which writes to `out` if it writes."""
    model, out = folder / "model", folder / "out"
    return {
        "ask": ["ask", model, folder / "picture.png", "What?", "--max-new-tokens", 2],
        "info": ["model", "info", model],
        "convert": ["model", "convert", model, out],
        "original": ["model", "convert", model, out, "--to", "original"],
        "vision": ["model", "build", out, "--vision", model, "--language", part("llama")],
        "language": ["model", "build", out, "--vision", part("clip"), "--language", model],
    }[name]


def say(arguments, capsys):
    """Run one command line in this process, and measure it; a warning is more than one line, pytest would hide it."""
    capsys.readouterr()
    memory, start = _peak_memory(anew=True), time.monotonic()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("default")
        warnings.simplefilter("ignore", DeprecationWarning)
        code = run([str(argument) for argument in arguments])
    seconds, megabytes = time.monotonic() - start, _peak_memory() - memory
    assert [str(one.message) for one in warned] == []
    return Said(code, *capsys.readouterr(), seconds, megabytes)


def assert_refused(folder, arguments, capsys, message, code=1):
    """The command refuses in one line with a remedy, and `folder`, all that is around the input, is as it was."""
    before = snapshot(folder)
    said = say(arguments, capsys)
    assert_one_line(said.err)
    assert message in said.err, said.err
    assert (said.code, said.out) == (code, "")
    assert_bounded(said)
    assert snapshot(folder) == before


def assert_one_line(text):
    assert text.startswith("lapilli: ")
    assert text.endswith("\n")
    assert text[:-1].isprintable()  # one line, and nothing that a terminal obeys
    assert "--debug" not in text  # which stands behind what nobody has thought of
    assert "; " in text  # before the remedy
    assert len(text) < 2100


def assert_bounded(said):
    assert said.seconds < SECONDS
    assert said.megabytes < MEGABYTES


def snapshot(folder):
    """Everything below a folder, and what it holds; links are not followed."""
    return {str(path): _content(path) for path in sorted(Path(folder).rglob("*"))}


def _content(path):
    if path.is_symlink():
        return f"-> {path.readlink()}"
    return sha256(path.read_bytes()).hexdigest() if path.is_file() else oct(path.stat().st_mode)


def _peak_memory(anew=False):
    """Megabytes that this process has held at most; Linux forgets them where it is asked to, other systems do not."""
    status, forget = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not forget.exists():
        return 0.0
    if anew:
        forget.write_text("5")
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024
