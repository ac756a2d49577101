"""The driver of all studies: it does what is left of a study's steps, in one process or several.

A study states its steps, and in each of them tasks with what they leave behind. Where a task's product is there, the
task is done: so an interrupted study goes on where it was, and a finished one does nothing.
"""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from lapilli.core.errors import LapilliError
from lapilli.core.files import sweep
from lapilli.core.pool import end_with_parent, importing_nothing_here
from lapilli.core.progress import Progress
from lapilli.core.run import RunDir


@dataclass(frozen=True)
class Task:
    """`do` makes `product`, a file or a folder, whole or not at all; where `product` exists the task is done."""

    product: Path
    do: Callable[[], object]


@dataclass(frozen=True)
class Step:
    """Tasks that do not depend on each other.

    counted  whether the step's progress is how many of its tasks are done; else the tasks report their own, if any
    """

    name: str
    tasks: Sequence[Task]
    counted: bool = True

    @property
    def left(self) -> list[Task]:
        """The tasks that are not done."""
        return [task for task in self.tasks if not task.product.exists()]


def result(run: RunDir, name: str, make: Callable[[], Any]) -> Task:
    """The task whose product is a result of a run: what `make` returns, saved as JSON under `name`."""
    return Task(run.product(name), partial(_save, run, name, make))


def _save(run: RunDir, name: str, make: Callable[[], Any]) -> None:
    run.save(name, make())


def carry_out(steps: Iterable[Step], progress: Progress, processes: int = 1) -> None:
    """Do what is left of the steps, one step after the other; a step is asked for when those before it are done.

    With several processes the tasks of a step are shared out among them, if two or more are left; those tasks must be
    picklable, and what they hold in common is pickled once for each process. The first failure ends the others and is
    raised. Raises LapilliError where a process is killed.
    """
    for step in steps:
        left, total = step.left, len(step.tasks)
        tell = partial(progress, step.name) if step.counted else _untold
        tell(total - len(left), total)
        with _under_way(left, processes) as done:
            try:
                for number, _ in enumerate(done, total - len(left) + 1):
                    tell(number, total)
            except BrokenProcessPool as error:
                raise LapilliError(
                    f"{step.name}: a process was killed, perhaps for want of memory; go on with fewer processes"
                ) from error


def _untold(done: int, total: int) -> None:
    """The progress of a step that reports its own."""


@contextmanager
def _under_way(tasks: Sequence[Task], processes: int) -> Iterator[Iterator[object]]:
    """Yields what comes along as tasks are done: here, or in processes that end with the block."""
    if processes == 1 or len(tasks) < 2:
        yield (task.do() for task in tasks)
        return
    pool = ProcessPoolExecutor(min(processes, len(tasks)), get_context("spawn"), _start, (tasks,))
    try:
        with importing_nothing_here():
            futures = [pool.submit(_do, number) for number in range(len(tasks))]
        yield (future.result() for future in as_completed(futures))
    except BaseException:  # raised again, an interrupt too: no process is to outlive the block
        for process in list(pool._processes.values()):  # what a task has made is whole, or not there
            process.terminate()
        pool.shutdown(cancel_futures=True)
        for folder in {task.product.parent for task in tasks}:
            sweep(folder)  # of what they were writing
        raise
    finally:
        pool.shutdown(cancel_futures=True)


_TASKS: list[Task] = []  # of a process of a pool


def _start(tasks: Sequence[Task]) -> None:
    """What a process of a pool begins with; an interrupt is its parent's to handle."""
    import torch  # here: quickstart refuses a recipe without it

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    torch.set_num_threads(1)  # processes share the cores out better than threads
    _TASKS[:] = tasks


def _do(number: int) -> None:
    _TASKS[number].do()
