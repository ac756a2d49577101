"""A teacher for tests: it answers in the right form, with what the captions say, always alike."""

import json
from pathlib import Path

from lapilli.data.contexts import Context, Instance, write_contexts
from lapilli.data.generation.prompts import read_prompts

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
