"""A study of numbers, with no model: squares, shared out, and their sum; run by a process that a test can kill.

python tiny.py FOLDER PROCESSES
"""

import os
import signal
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from lapilli.core.errors import LapilliError
from lapilli.core.run import RunDir
from lapilli.studies.steps import Step, carry_out, result

COUNT = 8


@dataclass
class Squares:
    """What the tasks hold in common. Task number `bad` fails; where it is below 0, its process is killed."""

    run: RunDir
    seconds: float = 0.0
    bad: int | None = None
    done: list[int] = field(default_factory=list)

    def square(self, number):
        time.sleep(self.seconds)
        if self.bad == number:
            raise LapilliError(f"{number}: fails")
        if self.bad == -number:
            os.kill(os.getpid(), signal.SIGKILL)
        self.done.append(number)
        return {"square": number**2, "process": os.getpid(), "before": self.done[:-1]}

    def total(self):
        return sum(self.run.load(f"square-{number}")["square"] for number in range(1, COUNT + 1))


def steps(squares):
    run = squares.run
    numbers = range(1, COUNT + 1)
    yield Step("squares", [result(run, f"square-{number}", partial(squares.square, number)) for number in numbers])
    yield Step("sum", [result(run, "sum", squares.total)], counted=False)


def study(folder, processes=1, progress=lambda *_: None, **more):
    run = RunDir.begin(folder, {"study": "tiny"}, 0)
    carry_out(steps(Squares(run, **more)), progress, processes)
    return run


if __name__ == "__main__":
    study(Path(sys.argv[1]), int(sys.argv[2]), seconds=0.2)
