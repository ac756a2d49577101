"""Kill runs outright and go on with them: is what comes of it the same, to the last bit, as of an undisturbed run?

    OMP_NUM_THREADS=1 python benchmarks/kills.py [--every 1] [--random 40] [--only cosine constant scenes ...]

Trainings of nine steps, with dropout, are killed before every file event of their last five steps and of their
finishing (opened for writing, made, renamed, removed, synced; and in the middle of every file of weights), and at
random moments elsewhere, half of the latter twice: in two schedules, by LoRA, of one layer, in bf16, and with the best
weights kept. Each is resumed as a user would. Weights, card, the figures of training.json
and the step, epoch, loss, rate and gradient norm of every line of the log must be those of the undisturbed run, and
nothing else may be left. Commands that make a folder are killed in the same way and given again. So is an evaluation,
at random moments too: every file must be that of the undisturbed one, and no question may be put to the model whose
answer was in the log.

Prints JSON: for every kind the events that there are, the kills, how many ended right, and what was wrong. Every run is
a fork of a process that has imported everything and computed nothing. The exit code is 1 where anything was wrong.
"""

import argparse
import filecmp
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import safetensors.torch
import torch
from PIL import Image
from random_llava import random_llava
from torch.optim.optimizer import register_optimizer_step_post_hook

from lapilli.cli import run as command
from lapilli.core.errors import LapilliError
from lapilli.core.files import write_atomically
from lapilli.core.run import RunDir
from lapilli.data.sample import Sample, Turn, write_samples
from lapilli.evaluation.answer_log import AnswerLog
from lapilli.evaluation.asking import Answerer, Round
from lapilli.model.llava import save
from lapilli.training.loop import train
from lapilli.training.recipe import Data, TrainRecipe, Validation
from lapilli.training.tuning import LlmTuning, Lora
from lapilli.training.validation import LOSS

LAST = 5
"""Steps of a training before whose file events it is killed."""

QUESTIONS = 70
"""Of the evaluation, each asked with three pictures."""

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_EVENTS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.truncate"}


@dataclass(frozen=True)
class Kind:
    """Something to be killed: `start` begins it, or goes on with it, in the folder that it is given.

    `fault` compares what came of it with what came of the undisturbed one: "" if it is right.
    """

    name: str
    start: Callable[[Path], object]
    fault: Callable[[Path, Path], str]
    steps: int = 0
    at_random: bool = False


def main() -> None:
    """Kill, go on, compare, print."""
    options = _options()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as held:
        folder = Path(held)
        _fork(lambda: _materials(folder), folder / "materials.log")
        kinds = [kind for kind in _kinds(folder) if not options.only or kind.name in options.only]
        found = {kind.name: _measured(kind, folder / kind.name, options) for kind in kinds}
    print(json.dumps(found, indent=1))
    sys.exit(any(one["wrong"] for one in found.values()))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, help="of the file events, every so many-th")
    parser.add_argument("--random", type=int, default=40, help="kills at random moments")
    parser.add_argument("--only", nargs="+", help="kinds, such as cosine and scenes")
    return parser.parse_args()


def _materials(folder: Path) -> None:
    """A tiny LLaVA with dropout, and a few samples."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    save(random_llava(folder / "parts", sizes, sizes | {"attention_dropout": 0.2}, side=28), folder / "model")
    images, samples = folder / "images", []
    images.mkdir()
    for number in range(11):
        Image.new("RGB", (28, 28), (20 * number, 99, 200 - 10 * number)).save(images / f"{number}.png")
        turns = Turn("user", "<image>\nWhat is it?"), Turn("assistant", f"number {number}")
        samples.append(Sample(str(number), (f"{number}.png",), turns))
    write_samples(folder / "data.json", samples)
    rows = [f"{number % 11}.png,What is it{' now' * (number % 4)}?,number {number % 11}" for number in range(QUESTIONS)]
    write_atomically(folder / "mine.csv", "\n".join(["image,question,answer", *rows]) + "\n")


def _kinds(folder: Path) -> Iterator[Kind]:
    recipe = TrainRecipe(
        "instruct", folder / "model", Data(folder / "data.json", folder / "images"), folder, epochs=3.0, batch_size=2,
        accumulate=2, weight_decay=0.1, learning_rate=1e-2,
    )  # fmt: skip
    for name, changes in _trainings(recipe).items():
        yield Kind(name, _training(replace(recipe, **changes)), _fault_of_run, steps=9, at_random=True)
    arguments = {
        "scenes": lambda out: ["data", "scenes", out, "--count", "4"],
        "convert": lambda out: ["model", "convert", folder / "model", out, "--to", "original"],
        "build": lambda out: [
            "model",
            "build",
            out,
            "--vision",
            folder / "parts/eye",
            "--language",
            folder / "parts/voice",
        ],
    }
    for name, line in arguments.items():
        yield Kind(name, _command(line), _fault_of_folder)
    yield Kind("eval", _evaluation(folder), _fault_of_evaluation, at_random=True)


def _trainings(recipe: TrainRecipe) -> dict[str, dict[str, Any]]:
    """What of the recipe is changed for each training that is killed, by its name."""
    updates = {"llm": LlmTuning(mode="lora"), "lora": Lora(2, dropout=0.2), "save_every": 2, "log_every": 2}
    best = {"data": replace(recipe.data, validation_share=0.2), "validation": Validation(every=1, keep="best")}
    return {
        "cosine": {"schedule": "cosine", "save_every": 1, "log_every": 2},
        "constant": {"schedule": "constant", "save_every": 2, "log_every": 3},
        "lora": updates,
        "layers": {"llm": LlmTuning(layers="1", modules=("attention", "norms")), "save_every": 2, "log_every": 2},
        "bf16": {"precision": "bf16", "save_every": 2, "log_every": 2},
        "best": best | {"save_every": 2, "batch_size": 1, "accumulate": 3, "log_every": 2},
    }


def _training(recipe: TrainRecipe) -> Callable[[Path], object]:
    def start(out: Path) -> None:
        try:
            train(replace(recipe, out=out), resume=(out / "recipe.yaml").exists(), progress=False)
        except LapilliError:
            if not (out / "manifest.json").exists():  # else it was killed when all was done
                raise

    return start


def _command(line: Callable[[Path], list[Any]]) -> Callable[[Path], object]:
    def start(out: Path) -> None:
        code = command([str(part) for part in line(out)])
        if code and not out.exists():
            raise SystemExit(code)

    return start


def _evaluation(folder: Path) -> Callable[[Path], object]:
    """`lapilli eval` of questions of one's own; a question that is asked again is noted in the file `again`."""
    answerer = AnswerLog.answerer

    def start(out: Path) -> None:
        def watched(log: AnswerLog, answer: Answerer, of: Round) -> Answerer:
            def noted(samples: Sequence[Sample], pictures: Any) -> Sequence[str]:
                answered = {(row["condition"], row["id"]) for row in RunDir.open(out).metrics()}
                if again := [one.id for one in samples if (of[-1], one.id) in answered]:
                    (out.parent / "again").write_text(f"{of}: {again}")
                return answer(samples, pictures)

            return answerer(log, noted, of)

        with patch.object(AnswerLog, "answerer", watched):
            words = ["eval", folder / "model", folder / "mine.csv", "--images", folder / "images", "--out", out]
            if code := command([str(word) for word in words]):
                raise SystemExit(code)

    return start


def _measured(kind: Kind, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The undisturbed run, then one for every kill."""
    right = folder / "right"
    began = time.monotonic()
    _fork(lambda: kind.start(right / "out"), folder / "right.log", [], folder / "events.json")
    seconds = time.monotonic() - began
    events = json.loads((folder / "events.json").read_text())
    first = next(number for number, (step, _) in enumerate(events) if step >= kind.steps - LAST)
    chosen = range(first, len(events), options.every)
    faults = {f"{number} {events[number][1]}": _killed_at(kind, folder, number) for number in chosen}
    rng = random.Random(0)
    for number in range(options.random if kind.at_random else 0):
        moments = [rng.uniform(0, seconds) for _ in range(1 + number % 2)]
        faults[f"after {moments} s"] = _killed_after(kind, folder, moments)
    wrong = {name: fault for name, fault in faults.items() if fault}
    return {"events": len(events) - first, "kills": len(faults), "right": len(faults) - len(wrong), "wrong": wrong}


def _killed_at(kind: Kind, folder: Path, number: int) -> str:
    """What is wrong after a kill just before a file event."""
    out = folder / "killed" / "out"
    status = _fork(lambda: kind.start(out), folder / "killed.log", [number])
    return _ended(kind, folder) if os.WIFSIGNALED(status) else "it was not killed"


def _killed_after(kind: Kind, folder: Path, moments: list[float]) -> str:
    """What is wrong after kills when so many seconds had passed, each of what went on from the one before."""
    for seconds in moments:
        child = os.fork() or _work(lambda: kind.start(folder / "killed" / "out"), folder / "killed.log", [], None)
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return _ended(kind, folder)


def _ended(kind: Kind, folder: Path) -> str:
    """Go on with what was killed, and compare."""
    killed, right, log = folder / "killed", folder / "right", folder / "again.log"
    try:
        if _fork(lambda: kind.start(killed / "out"), log):
            return log.read_text().strip()[-300:] or "it failed"
        left = sorted(file.relative_to(killed).as_posix() for file in killed.rglob(".*"))
        return f"left over: {left}" if left else kind.fault(killed / "out", right / "out")
    finally:
        shutil.rmtree(killed, ignore_errors=True)


def _fault_of_run(out: Path, right: Path) -> str:
    if _names(out) != _names(right):
        return f"other files: {sorted(_names(out) ^ _names(right))}"
    RunDir.open(out).verify()
    if differing := [name for name in _names(right) if name.startswith("model/") and not _same(name, out, right)]:
        return f"differing: {differing}"
    if _lines(out) != _lines(right):
        return f"the log differs: {_lines(out)}"
    figures, wanted = (RunDir.open(path).load("training") for path in (out, right))
    speeds = [(one.pop("seconds"), one.pop("samples_per_second")) for one in (figures, wanted)]
    return "" if figures == wanted and min(speeds[0]) > 0 else f"training.json differs: {figures}, {speeds}"


def _fault_of_folder(out: Path, right: Path) -> str:
    if _names(out) != _names(right):
        return f"other files: {sorted(_names(out) ^ _names(right))}"
    differing = [name for name in _names(right) if not _same(name, out, right)]
    return f"differing: {differing}" if differing else ""


def _fault_of_evaluation(out: Path, right: Path) -> str:
    if _names(out) != _names(right):
        return f"other files: {sorted(_names(out) ^ _names(right))}"
    RunDir.open(out).verify()
    if (out.parent / "again").exists():
        return f"asked twice: {(out.parent / 'again').read_text()}"
    timed = {"environment.json", "manifest.json"}
    differing = [name for name in _names(right) - timed if not _same(name, out, right)]
    return f"differing: {differing}" if differing else ""


def _names(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}


def _same(name: str, out: Path, right: Path) -> bool:
    return filecmp.cmp(out / name, right / name, shallow=False)


def _lines(out: Path) -> list[list[float | None]]:
    names = ("step", "epoch", "loss", "learning_rate", "grad_norm", LOSS)
    return [[line.get(name) for name in names] for line in RunDir.open(out).metrics()]


def _fork(work: Callable[[], object], log: Path, kill: list[int] | None = None, events: Path | None = None) -> int:
    """The status of a process that does the work; with `kill`, its file events are counted, and one may end it."""
    child = os.fork() or _work(work, log, kill, events)
    return os.waitpid(child, 0)[1]


def _work(work: Callable[[], object], log: Path, kill: list[int] | None, events: Path | None) -> int:
    """In the child: what is printed goes into `log`, and the events into a file."""
    log.parent.mkdir(parents=True, exist_ok=True)
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(file, 2)
    code = 0
    try:
        counter = None if kill is None else Counter(log.parent, kill)
        work()
        if counter and events:
            events.write_text(json.dumps(counter.seen))
    except BaseException as error:  # noqa: BLE001 - the border of the process
        print(f"{type(error).__name__}: {error}", flush=True)
        code = 1
    os._exit(code)


class Counter:
    """Counts this process's file events in and below `out` of a folder's folders, and kills it before one of them."""

    def __init__(self, folder: Path, kill: list[int]) -> None:
        self.seen: list[tuple[int, str]] = []
        self._folders = tuple(str(folder / name) + os.sep for name in ("right", "killed"))
        self._kill = kill
        self._step = 0
        register_optimizer_step_post_hook(self._count_step)
        self._watch_weights(torch, "save")
        self._watch_weights(safetensors.torch, "serialize_file")
        sync, os.fsync = os.fsync, lambda opened: (self._event(f"fsync {_name(opened)}"), sync(opened))[1]
        sys.addaudithook(self._audit)

    def _count_step(self, *_: Any) -> None:
        self._step += 1

    def _audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        is_write = event == "open" and arguments[2] & _WRITES
        if not (is_write or event in _EVENTS) or isinstance(arguments[0], int):
            return
        path = os.fsdecode(arguments[0])
        # shutil.rmtree names what it removes from within its folder
        if path.startswith(self._folders) or (not Path(path).is_absolute() and event in ("os.remove", "os.rmdir")):
            self._event(f"{event} {path.rpartition(os.sep)[2]}")

    def _event(self, name: str) -> None:
        if len(self.seen) in self._kill:
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen.append((self._step, name))

    def _watch_weights(self, module: Any, name: str) -> None:
        """Of what is written by other languages than Python: before it, in its middle, and after it."""
        write = getattr(module, name)

        def watched(content: Any, file: Any, *rest: Any, **named: Any) -> Any:
            self._event(f"{name} {Path(file).name}")
            result = write(content, file, *rest, **named)
            if len(self.seen) in self._kill:
                os.truncate(file, Path(file).stat().st_size // 2)
            self._event(f"half of {Path(file).name}")
            self._event(f"whole {Path(file).name}")
            return result

        setattr(module, name, watched)


def _name(opened: int) -> str:
    return Path(f"/proc/self/fd/{opened}").readlink().name if Path("/proc/self/fd").exists() else str(opened)


if __name__ == "__main__":
    main()
