"""A teacher for tests: it answers in the right form, with what the captions say, always alike."""

import json
import multiprocessing
from pathlib import Path

from lapilli.data.contexts import Context, Instance, read_contexts, write_contexts
from lapilli.data.generation.generate import generate, plan_work
from lapilli.data.generation.kinds import KINDS
from lapilli.data.generation.prompts import read_prompts
from lapilli.data.generation.settings import read_settings

PROMPTS = read_prompts("v1")
KIND = {PROMPTS.texts[f"{kind}.system.txt"]: kind for kind in ("conversation", "detail", "reasoning")}
REAL = Path(__file__).parents[4] / "shared/data/coco80"
CONTEXTS = REAL / "caps_boxes_coco2014_val_80.jsonl"

FAST = ["first_pause=0.01", "deadline=1.5", "concurrency=16"]


def asked_of(messages):
    """The kind of a call, and the context that it is about; a call that was made again has the same."""
    kind = KIND[messages[0]["content"]]
    shots = sum(f"{kind}.{number}.txt" in PROMPTS.texts for number in range(1, 9))
    return kind, messages[1 + 2 * shots]["content"]


def is_first(body):
    """Whether a call is no repair of another one."""
    kind = KIND[body["messages"][0]["content"]]
    shots = sum(f"{kind}.{number}.txt" in PROMPTS.texts for number in range(1, 9))
    return len(body["messages"]) == 2 + 2 * shots and body["max_tokens"] == 1_024


def teach(messages):
    kind, context = asked_of(messages)
    captions = context.split("\n\n")[0].splitlines()
    whole = " ".join(captions)
    if kind == "detail":
        return whole
    if kind == "reasoning":
        return f"Question:\nWhat might come next?\n===\nAnswer:\n{whole} It may therefore go on for a while."
    blocks = [f"Question:\nWhat is to be noticed, part {n}?\n===\nAnswer:\n{text}" for n, text in enumerate(captions)]
    return "\n===\n".join(blocks)


def made_up(count):
    """Contexts that no file has."""
    names = ("dog", "kite", "bench", "boat", "cup")
    return [
        Context(
            f"made-{at}", f"{at}.jpg",
            (f"A {names[at % 5]} number {at} stands on the grass.", f"Somebody looks at item {at} in the sun."),
            (Instance(names[at % 5], (0.1, 0.2, 0.5, 0.8)), Instance("person", (0.6, 0.1, 0.9, 0.9))),
        )
        for at in range(count)
    ]  # fmt: skip


def contexts_file(folder, count=12):
    write_contexts(folder / "contexts.jsonl", made_up(count))
    return folder / "contexts.jsonl"


def body_key(body):
    return json.dumps(body, sort_keys=True)


def work(file, kinds=KINDS, overrides=(), **more):
    """What is to be made of a file of contexts, with settings for tests."""
    return plan_work(read_contexts(file), kinds, "teacher", read_settings(None, [*FAST, *overrides]), **more)


def make(file, out, url):
    """Generate; what a process does that is to be killed."""
    generate(work(file), out, url)


def started(file, out, url):
    """A process that generates, forked from one that has imported all it needs and done nothing."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.data.generation.teacher", "openai"])
    process = context.Process(target=make, args=(file, out, url))
    process.start()
    return process


def first_calls(file):
    """The key of every call that begins a job, by its request."""
    wanted = work(file)
    calls = [wanted.engine.call(job) for job in wanted.jobs]
    return {body_key(json.loads(json.dumps(call.request()))): call.key for call in calls}


def journalled(out):
    """The keys of the whole lines of a journal."""
    file = out / "journal.jsonl"
    lines = file.read_bytes().split(b"\n")[:-1] if file.is_file() else []
    return {json.loads(line)["key"] for line in lines}
