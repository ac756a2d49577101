"""lmms-eval's tasks on any LLaVA that lapilli reads, asked in lapilli's batches.

    LMMS_EVAL/bin/python benchmarks/clients/children/lmms_tasks.py MODEL pope mme [--out FILE] [--limit 100]

The environment is ../requirements/lmms-eval.txt, with lapilli in it: `LMMS_EVAL/bin/pip install --no-deps .` in this
checkout. MODEL is a folder. lmms-eval fetches the tasks' data from the hub; --tasks names a folder of tasks of your
own, for which it needs no network. Answers are greedy, whatever a task says of sampling, and are not cut at its `until`
strings, as in lmms-eval's own `llava_hf`. Tasks that want log-likelihoods, several rounds or films are refused.

Prints the tasks' figures as JSON; --out has every answer too.
"""

import argparse
import hashlib
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmms_eval.api.model import lmms
from lmms_eval.evaluator import simple_evaluate
from lmms_eval.tasks import TaskManager
from PIL import Image

from lapilli.data.pictures import as_picture
from lapilli.data.sample import Sample, Turn
from lapilli.inference.answer import answer
from lapilli.model.llava import load

AT_ONCE = 512  # requests whose pictures are in memory
MARK = "<image>"


def main() -> None:
    """Parse, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("names", nargs="+", metavar="task")
    parser.add_argument("--tasks", type=Path, help="a folder of tasks of your own, instead of lmms-eval's")
    parser.add_argument("--limit", type=int, help="the most questions of a task")
    parser.add_argument("--out", type=Path, help="a file for the figures and every answer")
    options = parser.parse_args()
    found = evaluated(options.model, options.names, options.tasks, options.limit)
    print(json.dumps(found["results"], indent=1, default=str))
    if options.out:
        kept = {name: found[name] for name in ("results", "samples", "versions")}
        options.out.write_text(json.dumps(kept, indent=1, default=str), encoding="utf-8")


def evaluated(model: Path, names: list[str], tasks: Path | None = None, limit: int | None = None) -> dict[str, Any]:
    """What lmms-eval's `simple_evaluate` returns for these tasks."""
    of_one_s_own = {"include_path": str(tasks), "include_defaults": False} if tasks else {}
    found: dict[str, Any] = simple_evaluate(
        model=Batched(model), tasks=names, task_manager=TaskManager("ERROR", **of_one_s_own), limit=limit
    )
    return found


class Batched(lmms):
    """A model of a folder, as lmms-eval takes one."""

    def __init__(self, model: Path) -> None:
        super().__init__()
        self._llava = load(model)

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """The answers, in the order of the requests; those of one length at most are asked together."""
        answers = [""] * len(requests)
        for start in range(0, len(requests), AT_ONCE):
            longest = defaultdict(list)
            for index in range(start, min(start + AT_ONCE, len(requests))):
                longest[int(requests[index].args[1].get("max_new_tokens", 1024))].append(index)
            for tokens, chosen in longest.items():
                for index, text in zip(chosen, self._answered([requests[at] for at in chosen], tokens), strict=True):
                    answers[index] = text
        return answers

    def _answered(self, requests: Sequence[Any], tokens: int) -> list[str]:
        pictures: dict[str, Image.Image] = {}  # by their content: a batch reads one only once
        samples = [self._sample(request.args, pictures) for request in requests]
        made = answer(self._llava, samples, pictures.__getitem__, tokens, share_prefixes=True)
        return [one.text for one in made]

    def _sample(self, arguments: Sequence[Any], pictures: dict[str, Image.Image]) -> Sample:
        text, _, visuals, number, task, split = arguments
        names = []
        for visual in visuals(self.task_dict[task][split][number]) or []:
            picture = as_picture(visual)
            name = hashlib.sha256(f"{picture.size}".encode() + picture.tobytes()).hexdigest()
            pictures[name] = picture
            names.append(name)
        marks = "" if MARK in text else f"{MARK}\n" * len(names)
        return Sample(f"{task}/{number}", tuple(names), (Turn("user", marks + text),))

    def loglikelihood(self, requests: Sequence[Any]) -> Any:
        """Nothing: lmms-eval's tasks of this kind are few."""
        raise NotImplementedError("log-likelihoods: choose a task that generates answers")

    def generate_until_multi_round(self, requests: Sequence[Any]) -> Any:
        """Nothing, as in lmms-eval's own class."""
        raise NotImplementedError("several rounds: choose a task with one")


if __name__ == "__main__":
    main()
