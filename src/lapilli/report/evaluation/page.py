"""The page `eval.html`: the scores and the answers of an evaluation in one self-contained file."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from lapilli.core.files import write_atomically
from lapilli.report.kit import figures
from lapilli.report.kit.environment import environment, style

Rows: TypeAlias = Sequence[Mapping[str, Any]]

_WRONG, _RIGHT = 48, 24  # answers of a benchmark that are shown with their pictures, about 20 KB each
_LISTED = 1_000  # that are listed without
_LONGEST = 400  # characters of a text
_ASKED = ("image", "text")  # the conditions that are no controls
_SIDES = {"Wrong": False, "Right": True}
_CONTROLS = {
    "teacher_forced": "after the right answers",
    "no_history": "without the earlier turns",
    "blank": "with a blank picture",
    "swapped": "with another picture",
    "language_only": "without a picture",
}


def pictured(answers: Rows) -> list[Mapping[str, Any]]:
    """The answers of a benchmark that the page shows with their pictures: the first wrong and the first right ones.

    Conversations are whole, and wrong where an answer is.
    """
    return [row for conversation in _with_cards(_conversations(answers)) for row in conversation]


def _conversations(answers: Rows) -> list[Rows]:
    """The answers that are right or wrong and no controls, those of a conversation in one list, each other alone."""
    conversations: dict[Any, list[Mapping[str, Any]]] = {}
    for row in answers:
        if row["condition"] in _ASKED and "right" in row:
            name = row["question"].get("conversation")
            conversations.setdefault((_split(row), name) if name else id(row), []).append(row)
    return list(conversations.values())


def _with_cards(conversations: Sequence[Rows]) -> list[Rows]:
    shown = [rows for rows in conversations if rows[0]["condition"] == "image"]
    wrong, right = ([rows for rows in shown if _is_right(rows) is side] for side in (False, True))
    return wrong[:_WRONG] + right[:_RIGHT]


def _is_right(conversation: Rows) -> bool:
    return all(row["right"] for row in conversation)


def write_page(parts: Mapping[str, Rows], model: str, out: Path) -> None:
    """Write the page of an evaluation's results to `out`; `parts` are those of `studies/evaluate.py`.

    Raises LapilliError when it cannot be written.
    """
    write_atomically(out, render(parts, model))


def render(parts: Mapping[str, Rows], model: str) -> str:
    """Return the page as text. All text of the results is escaped; the page has no script and fetches nothing."""
    templates = environment("evaluation", (figures.counted, figures.whole, cut))
    return templates.get_template("eval.html.jinja").render(
        style=style(templates, "page.css", "eval.css"),
        model=model,
        benchmarks=[_benchmark(parts, table) for table in parts["tables"]],
    )


def _benchmark(parts: Mapping[str, Rows], table: Mapping[str, Any]) -> dict[str, Any]:
    """A benchmark's table; its cards, wrong ones first; and the lists of what has no card."""
    name = table["benchmark"]
    answers = [row for row in parts["answers"] if row["benchmark"] == name]
    uris = {(row["split"], row["image"]): row["uri"] for row in parts["pictures"] if row["benchmark"] == name}
    replies, conversations = _replies(answers), _conversations(answers)
    with_cards = _with_cards(conversations)
    cards = [_card(rows, uris, replies) for rows in with_cards]
    numbers = set(map(id, with_cards))
    others = sorted((rows for rows in conversations if id(rows) not in numbers), key=_is_right)
    rest = [row for rows in others for row in rows]
    return {
        "name": name,
        "table": table,
        "pictured": bool(cards),
        "n": sum(map(len, conversations)),
        "right": sum(row["right"] for rows in conversations for row in rows),
        "of_several_turns": any(len(rows) > 1 for rows in conversations),
        "counts": {side: sum(_is_right(rows) is right for rows in conversations) for side, right in _SIDES.items()},
        "cards": {side: [card for card in cards if card["right"] is right] for side, right in _SIDES.items()},
        "rest": rest[:_LISTED],
        "unlisted": max(0, len(rest) - _LISTED),
    }


def _card(
    conversation: Rows, uris: Mapping[tuple[str, str], str], replies: Mapping[int, Mapping[str, str]]
) -> dict[str, Any]:
    """A picture with what was asked about it, in one turn or several."""
    first = conversation[0]
    return {
        "right": _is_right(conversation),
        "image": first["question"]["image"],
        "uri": uris.get((_split(first), first["question"]["image"])),
        "turns": [{**row, "controls": _controls(replies[id(row)])} for row in conversation],
    }


def _controls(replies: Mapping[str, str]) -> dict[str, str]:
    return {words: replies[control] for control, words in _CONTROLS.items() if control in replies}


def _replies(answers: Rows) -> dict[int, dict[str, str]]:
    """The answers to every question by condition, for the `id` of each of its rows.

    Every round of a split asks the same questions in the same order: of those with one id the first is the first.
    """
    counts: Counter[tuple[str, str, str]] = Counter()
    replies: dict[tuple[str, str, int], dict[str, str]] = defaultdict(dict)
    of_row = {}
    for row in answers:
        split, name, condition = _split(row), row["question"]["id"], row["condition"]
        of_row[id(row)] = replies[split, name, counts[split, name, condition]]
        of_row[id(row)][condition] = row["given"]
        counts[split, name, condition] += 1
    return of_row


def _split(row: Mapping[str, Any]) -> str:
    return str(row["question"].get("split", ""))


def cut(text: str) -> str:
    """A text as the page shows it; the run folder has the whole."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
