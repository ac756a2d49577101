"""What a teacher is asked: a system message, examples and a context, all of them in files of a version.

A version is a folder: KIND.system.txt, contexts.jsonl with the contexts of the examples, KIND.1.txt and so on with
their answers, questions.txt with those that ask for a description, and again.txt and unused.txt. A changed text is
a new version: the answers that were paid for belong to the old one.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lapilli.core.errors import UsageError
from lapilli.core.llm.call import Message
from lapilli.core.read import read_text
from lapilli.data.contexts import Context, read_contexts
from lapilli.data.generation.kinds import KINDS, Kind

NEWEST = "v1"
BOXED: tuple[Kind, ...] = ("detail", "reasoning")
"""The kinds whose teacher sees boxes too, as in LLaVA's data."""

_REMEDY = "give a folder with the files of lapilli's own version, or leave the setting prompts out"


@dataclass(frozen=True)
class Prompts:
    """The texts of a version, by the names of their files; `examples` are the contexts that they answer."""

    version: str
    texts: Mapping[str, str]
    examples: tuple[Context, ...]

    @property
    def sha256(self) -> str:
        """The hash of all texts."""
        content = "\0".join(f"{name}\0{text}" for name, text in sorted(self.texts.items()))
        return hashlib.sha256(content.encode()).hexdigest()

    def messages(self, kind: Kind, context: Context, boxes: bool, only: Sequence[str] = ()) -> tuple[Message, ...]:
        """What a teacher is asked about a context: what is the same for all of them comes first, which servers cache.

        With `only`, to ask about these facts.
        """
        messages = [Message("system", self.texts[f"{kind}.system.txt"])]
        for number, example in enumerate(self.examples, 1):
            if answer := self.texts.get(f"{kind}.{number}.txt"):
                messages += [Message("user", described(example, boxes)), Message("assistant", answer)]
        text = described(context, boxes)
        if only:
            text += "\n\n" + self.texts["unused.txt"].format(facts="; ".join(only))
        return (*messages, Message("user", text))

    def complaint(self, fault: str) -> str:
        """What a teacher is told whose reply cannot be used."""
        return self.texts["again.txt"].format(fault=fault)

    def request(self, name: str, number: int) -> str:
        """The question that the description of that number answers: one of a list, always the same for a name."""
        questions = self.texts["questions.txt"].splitlines()
        first = int(hashlib.sha256(name.encode()).hexdigest(), 16)
        return questions[(first + number) % len(questions)]


def read_prompts(version: str) -> Prompts:
    """The prompts of a version that comes with the package, or in somebody's own folder of the same files.

    Raises UsageError for a file that is missing or empty.
    """
    shipped = Path(__file__).parent / "versions" / version
    folder = shipped if version.isalnum() and shipped.is_dir() else Path(version)
    if not folder.is_dir():
        raise UsageError(f"prompts {version}: no such version or folder; {_REMEDY}")
    files = sorted(folder.glob("*.txt"))
    texts = {file.name: read_text(file, _REMEDY).strip() for file in files}
    needed = [f"{kind}.{part}.txt" for kind in KINDS for part in ("system", "1")]
    for name in (*needed, "questions.txt", "again.txt", "unused.txt"):
        if not texts.get(name):
            raise UsageError(f"{folder / name}: missing or empty; {_REMEDY}")
    for name, field in (("again.txt", "fault"), ("unused.txt", "facts")):
        _require_template(texts[name], field, folder / name)
    examples = read_contexts(folder / "contexts.jsonl")
    texts["contexts"] = repr(examples)
    # By its name alone, which calls are kept under: another way to write its path would have them all paid again.
    return Prompts(version if folder is shipped else folder.resolve().name, texts, tuple(examples))


def _require_template(text: str, field: str, file: Path) -> None:
    """Raise UsageError for a text that does not take its field, as it would once answers are paid for."""
    try:
        is_taken = "\0" in text.format(**{field: "\0"})
    except (LookupError, ValueError, AttributeError, TypeError):
        is_taken = False
    if not is_taken:
        raise UsageError(f"{file}: write {{{field}}} once where it is to stand, and other braces twice: {{{{ }}}}")


def described(context: Context, boxes: bool) -> str:
    """A context as a teacher reads it: the captions, one a line, and behind an empty line the objects with boxes."""
    captions = "\n".join(caption for caption in context.captions if caption.strip())
    objects = "\n".join(f"{one.category}: {_box(one.bbox)}" for one in context.instances) if boxes else ""
    if not captions and not objects:  # only boxes are known, and the kind sees none: their names at least
        objects = "\n".join(f"{name}: {count}" for name, count in context.categories.items())
    return "\n\n".join(part for part in (captions, objects) if part)


def _box(bbox: Sequence[float]) -> str:
    return "[" + ", ".join(f"{end:.3f}" for end in bbox) + "]"
