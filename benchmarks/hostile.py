"""Hostile inputs for every reader, each given to the real command line: one clear line or the right result.

    python benchmarks/hostile.py [--model FOLDER] [--group NAME]... [--jobs 2] [--json]

Every input of hostile_inputs.py and hostile_commands.py gets a sandbox and a process of its own, forked after torch and
transformers have been imported, with 60 s of the processor and 2 GB. An input is handled where the exit code is 0, 1 or
2; where, if it is not 0, stderr ends in one line of lapilli's that knows what happened, and nothing has been written;
where nothing outside of `out` has changed else; and where no character that a terminal obeys was printed. The model may
be one that has been trained; without one, the parts that come with lapilli are joined.
"""

import argparse
import json
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hostile_commands import arguments, recipes, results
from hostile_inputs import Input, adapters, models, pictures, questions, rows

GROUPS = (rows, questions, pictures, models, adapters, recipes, arguments, results)
"""What makes the inputs."""

SECONDS = 60  # of the processor: waiting for other work on a busy machine is not ours
_PATIENCE = 300  # seconds until a command is stopped that waits for something
MEGABYTES = 2_000
_LIMIT = 3_000  # megabytes of addresses beyond what the parent holds: nothing takes the machine with it


@dataclass(frozen=True)
class Said:
    """What a command came to; `faults` says what is wrong with that."""

    group: str
    name: str
    code: int
    seconds: float
    megabytes: float
    err: str
    faults: list[str]


def main() -> None:
    """Make the inputs, run them, and print what was not handled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path)
    parser.add_argument("--group", action="append", help="such as recipes; may be repeated; all, if none is")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    inputs = [one for make in GROUPS for one in make() if not options.group or one.group in options.group]
    with tempfile.TemporaryDirectory() as folder:
        whole = _whole(Path(folder) / "whole", options.model)
        _warm(whole)
        with ThreadPoolExecutor(options.jobs) as pool:
            said = list(pool.map(lambda one: _tried(one[1], whole, Path(folder) / str(one[0])), enumerate(inputs)))
    _print(said, options.json)


def _whole(folder: Path, model: Path | None) -> Path:
    """What every sandbox is a copy of."""
    from lapilli.data.scenes.dataset import write_scenes
    from lapilli.model.llava import join, save

    write_scenes(folder / "scenes", 12, "held_out", 0, lambda done: None)
    for split in ("held_out", "compositional"):
        write_scenes(folder / "splits" / split, 4, split, 0, lambda done: None)
    if model is None:
        save(join("pebble-vision", "pebble-lm"), folder / "model")
    else:
        shutil.copytree(model, folder / "model")
    shutil.copytree(folder / "model", folder / "other")
    shutil.copy(folder / "scenes/images/000000.png", folder / "picture.png")
    shutil.copy(folder / "scenes/instruct.json", folder / "rows.json")
    return folder


def _warm(whole: Path) -> None:
    """Import what the commands import, and do nothing that leaves threads behind."""
    import torch
    import transformers  # noqa: F401

    from lapilli.model.llava import codec_of

    torch.set_num_threads(1)
    codec_of(whole / "model")


def _tried(one: Input, whole: Path, sandbox: Path) -> Said:
    shutil.copytree(whole, sandbox)
    command = one.make(sandbox)
    before = _contents(sandbox)
    pid = os.fork()
    if pid == 0:
        _child(command, sandbox)
    code, seconds, used = _waited(pid)
    out, err = (Path(f"{sandbox}.{stream}").read_bytes().decode("utf-8", "replace") for stream in ("out", "err"))
    after = _contents(sandbox)
    changed = {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}
    shutil.rmtree(sandbox)
    faults = list(_faults(code, out, err, changed))
    faults += [f"{seconds:.0f} s"] * (seconds > SECONDS) + [f"{used:.0f} MB"] * (used > MEGABYTES)
    if faults:
        print(f"{one.group}: {one.name}: {'; '.join(faults)}: {err[-300:]!r}", file=sys.stderr, flush=True)
    return Said(one.group, one.name, code, round(seconds, 1), round(used), err[-300:], faults)


def _child(command: list[str], sandbox: Path) -> None:
    """Run the command as a process of its own would, and leave without what the parent has to do."""
    code = 99
    try:
        os.chdir(sandbox)
        os.environ["HF_HUB_OFFLINE"] = "1"
        for stream, number in (("out", 1), ("err", 2)):
            os.dup2(os.open(f"{sandbox}.{stream}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS + 5,) * 2)
        resource.setrlimit(resource.RLIMIT_AS, (held + _LIMIT * 1_000_000,) * 2)
        from lapilli.cli import run
        from lapilli.cli.console import prepare_streams

        prepare_streams()
        code = run(command)
    except BaseException:  # noqa: BLE001 - as the interpreter would print it
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _waited(pid: int) -> tuple[int, float, float]:
    """The exit code, below zero for a signal, seconds of the processor, and the megabytes held at most."""
    start = time.monotonic()
    while True:
        done, status, used = os.wait4(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss / 1000
        if time.monotonic() - start > _PATIENCE:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def _contents(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, with its size and the time of its last change."""
    return {
        str(path.relative_to(folder)): (path.lstat().st_size, path.lstat().st_mtime_ns)
        for path in folder.rglob("*")
        if not path.is_dir()
    }


def _faults(code: int, out: str, err: str, changed: set[str]) -> Iterator[str]:
    if code not in (0, 1, 2):
        yield f"exit code {code}"
    lines = [line for line in err.splitlines() if line.startswith("lapilli: ")]
    if code and len(lines) != 1 and not out:  # what is found wrong with data is a result, and on stdout
        yield f"{len(lines)} lines of an error"
    if "Traceback" in err or "--debug" in err:
        yield "unforeseen"
    if odd := sorted({char for char in out + err if not (char.isprintable() or char == "\n")}):
        yield f"prints {ascii(''.join(odd))[:60]}"
    if wrong := sorted(path for path in changed if code or path.split("/")[0] != "out"):
        yield f"changed {', '.join(wrong[:3])}"


def _print(said: list[Said], as_json: bool) -> None:
    rest = [one for one in said if one.faults]
    counts = Counter(one.group for one in said)
    handled = {group: count - sum(one.group == group for one in rest) for group, count in counts.items()}
    found: dict[str, Any] = {"inputs": len(said), "handled": len(said) - len(rest), "by_group": {
        group: [handled[group], count] for group, count in counts.items()}}  # fmt: skip
    found |= {"longest_seconds": max(one.seconds for one in said), "most_megabytes": max(one.megabytes for one in said)}
    found |= {"rest": [vars(one) for one in rest]}
    if not as_json:
        del found["rest"]  # which has been told as it came
    print(json.dumps(found))


if __name__ == "__main__":
    main()
