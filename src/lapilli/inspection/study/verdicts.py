"""Whether the paper's three statements hold here, by rules that do not depend on what a run finds.

(a) shallow layers move features of the object to where its colour is, and to the end; deep heads extract the colour.
    For each tuned model, under VQA and TQA-tuned, four parts. The facts no longer look at each other (facts->facts);
    neither the question nor the position that answers looks at the facts (facts->text): the answer's log-probability
    falls further when this is cut in the shallow half of the layers than in the deep half, and further than by as many
    random looks there. The position that answers no longer looks at the facts (facts->last): it falls further when this
    is cut in the deep half than in the shallow half, and further than by as many random looks there. The top heads look
    at their key positions less when another thing is asked about, by more than when the same is asked in other words;
    and more of their key positions are on the thing that is asked about than of all positions of the facts.
(b) what the picture puts in the language model's input can be read as words.
    For each tuned model under VQA, two parts, colour and object: the mean reciprocal rank of the right word by the
    input embeddings, at the key patches of the top heads, is above that at a patch of the same picture on average, and
    above that of the words that are right of other questions.
(c) tuning strengthens the heads of the language model.
    For each tuned model, four parts. Of the top heads of TQA-base and TQA-tuned more are shared than by chance, also of
    sets with as many heads in every layer (p < 0.05 each); the increases of the top heads of TQA-base are larger in
    TQA-tuned; these heads knocked out in the tuned model, under VQA and under TQA-tuned, cost more than random sets of
    as many do (also by rank, p < 0.05), and than sets with as many in every layer.

Above, below, further and larger mean that the 95 % interval of the paired difference, over ENOUGH questions at the
least, lies there: intervals of fewer are too narrow, and show nothing. Top heads are the largest of the sizes that are
tried, by log-probability increase. A part holds when all of its tests do, is contradicted when the interval of one lies
on the other side of 0, and is not shown otherwise; a p shows nothing when it is too large. A statement holds when every
part holds in every tuned model, and is mixed where some do. Where no part holds in any, it fails if one is contradicted
in every model, and is not shown otherwise.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Word = Literal["holds", "mixed", "fails", "not shown"]

Finding = Literal["holds", "contradicted", "not shown"]

STATEMENTS = {
    "a": "Shallow layers move features of the object to where its colour is and to the end; deep heads extract "
    "the colour",
    "b": "What the picture puts in the language model's input can be read as words",
    "c": "Tuning strengthens the heads that the language model already had",
}

RULES = {
    "a": "In every tuned model, with picture and with text: hiding the facts from each other, and from all text behind "
    "them, costs more log-probability in the shallow half of the layers than in the deep half, and more than as many "
    "random looks; hiding the facts from the position that answers costs more in the deep half than in the shallow "
    "half, and more than as many random looks; the top heads look less at their key positions when another thing is "
    "asked about, more so than in other words, and these positions are on the thing more often than by chance.",
    "b": "In every tuned model: the mean reciprocal rank of the right colour, and of the right shape, read by the "
    "input embeddings at the key patches of the top heads, is above that at an average patch of the same picture, and "
    "above that of the words that are right of other questions.",
    "c": "In every tuned model: base and tuned model share more top heads on the same text than chance gives, also "
    "within their layers (p < 0.05 each); the base's top heads raise the answer more after tuning; knocked out in the "
    "tuned model, with picture and with text, they cost more than random sets of as many heads, by interval and by "
    "rank (p < 0.05), and more than sets with as many heads in the same layers.",
}

ENOUGH = 20
"""With fewer questions nothing is shown."""

COMMON = (
    "Every comparison must hold with its 95 % interval over questions, paired where it is of the same questions; it is "
    "contradicted when the interval lies on the other side of 0, and not shown otherwise, as when a p is too large, or "
    f"with fewer than {ENOUGH} questions. A "
    "statement holds when every part holds in every tuned model, and is mixed when some do. When none does it fails if "
    "a part is contradicted in every model, and is not shown if none is. The rules stand in the program, and do not "
    "depend on what a run finds. Those of (a) and (c) were written anew once, after trials on 24 to 60 questions of "
    "quickstart models."
)

_LEVEL = 0.05


@dataclass(frozen=True)
class Test:
    """One comparison: an interval, which must lie on the right side of 0, or a p, which must be small enough.

    It is contradicted when the interval lies on the wrong side; a p that is too large only shows nothing.
    """

    says: str
    value: float | None
    finding: Finding
    low: float | None = None
    high: float | None = None
    n: int | None = None
    p: float | None = None


@dataclass(frozen=True)
class Part:
    """A part of a statement in one model: it holds when all of its tests do."""

    says: str
    model: str
    condition: str
    tests: tuple[Test, ...]

    @property
    def finding(self) -> Finding:
        """What they come to together."""
        found = {test.finding for test in self.tests}
        return "contradicted" if "contradicted" in found else "not shown" if "not shown" in found else "holds"


def verdicts(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of all statements, from a study's figures."""
    found = []
    for name, parts_of in (("a", _moving), ("b", _readable), ("c", _strengthened)):
        parts = list(parts_of(result))
        said = [asdict(part) | {"finding": part.finding} for part in parts]
        word = verdict(parts)
        found.append({"statement": name, "says": STATEMENTS[name], "rule": RULES[name], "verdict": word, "parts": said})
    return found


def verdict(parts: Sequence[Part]) -> Word:
    """What the findings of a statement's parts come to.

    Of many comparisons some lie on the wrong side by chance: a part must do so in every model to count against it.
    """
    findings = {part.finding for part in parts}
    if "holds" in findings:
        return "holds" if findings == {"holds"} else "mixed"
    everywhere = [
        all(other.finding == "contradicted" for other in parts if (other.says, other.condition) == same)
        for same in {(part.says, part.condition) for part in parts}
    ]
    return "fails" if any(everywhere) else "not shown"


def _tuned(result: Mapping[str, Any], condition: str) -> Iterator[str]:
    """The models that were asked under a condition."""
    yield from (row["model"] for row in result["accuracy"] if row["condition"] == condition)


def _one(rows: Sequence[Mapping[str, Any]], **said: Any) -> Mapping[str, Any]:
    """The row that is of this."""
    (found,) = (row for row in rows if all(row[name] == value for name, value in said.items()))
    return found


def _below(says: str, figure: Mapping[str, Any]) -> Test:
    return _beside_zero(says, figure, -1)


def _above(says: str, figure: Mapping[str, Any]) -> Test:
    return _beside_zero(says, figure, 1)


def _beside_zero(says: str, figure: Mapping[str, Any], side: int) -> Test:
    """Whether an interval lies above 0 (side 1) or below it (side -1), as it should, or on the other side."""
    low, high = figure["low"], figure["high"]
    lies = 0 if low is None or figure["n"] < ENOUGH or low <= 0 <= high else 1 if low > 0 else -1
    finding: Finding = "not shown" if lies == 0 else "holds" if lies == side else "contradicted"
    return Test(says, figure["value"], finding, low, high, figure["n"])


def _moving(result: Mapping[str, Any]) -> Iterator[Part]:
    asked = (
        ("facts->facts", "shallow", "facts reach facts in shallow layers"),
        ("facts->text", "shallow", "facts reach the text behind them in shallow layers"),
        ("facts->last", "deep", "the answer is read from the facts in deep layers"),
    )
    for condition in ("VQA", "TQA-tuned"):
        for model in _tuned(result, condition):
            for way, half, says in asked:
                here = {"model": model, "condition": condition, "way": way}
                by_half = _one(result["halves"], **here)
                beyond = _one(result["ways"], **here, span=half)["beyond"]
                other = "deep half" if half == "shallow" else "shallow half"
                between = _below(f"against the {other}", by_half if half == "shallow" else _negative(by_half))
                yield Part(says, model, condition, (between, _below("against random looks", beyond)))
            yield Part("top heads look at what is asked about", model, condition, _looking(result, model, condition))


def _looking(result: Mapping[str, Any], model: str, condition: str) -> tuple[Test, ...]:
    k = result["settings"]["sizes"][-1]
    row = _one(result["keys"], model=model, condition=condition, of="increase", k=k)
    return (
        _above("less when another thing is", row["drop_beyond"]),
        _above("key positions on it, less chance", row["asked_beyond"]),
    )


def _negative(figure: Mapping[str, Any]) -> dict[str, Any]:
    return {"value": -figure["value"], "low": -figure["high"], "high": -figure["low"], "n": figure["n"]}


def _readable(result: Mapping[str, Any]) -> Iterator[Part]:
    for model in _tuned(result, "VQA"):
        for word in ("colour", "object"):
            here = {"model": model, "condition": "VQA", "readout": "embedding", "word": word, "of": "increase"}
            row = _one(result["decoding"], **here, k=result["settings"]["sizes"][-1])
            tests = (
                _above("against an average patch", row["above_random"]),
                _above("against other questions' words", row["above_label"]),
            )
            yield Part(f"the right {word} can be read at key patches", model, "VQA", tests)


def _strengthened(result: Mapping[str, Any]) -> Iterator[Part]:
    k = result["settings"]["sizes"][-1]
    for model in _tuned(result, "TQA-tuned"):
        other = {"model": model, "condition": "TQA-tuned"}
        shared = _one(result["overlaps"], kind="tuning", other=other, measure="increase", k=k)
        tests = (
            _by_chance(f"of {k}, {shared['chance']:.2f} by chance", shared, shared["p"]),
            _by_chance(f"{shared['within']:.2f} by chance in the same layers", shared, shared["within_p"]),
        )
        yield Part("base and tuned model share top heads", model, "TQA-tuned", tests)
        grown = _one(result["growth"], **other, k=k)
        yield Part("the base's top heads raise the answer more", model, "TQA-tuned", (_above("by tuning", grown),))
        for condition in ("VQA", "TQA-tuned"):
            here = {"model": model, "condition": condition, "of": "base", "how": "mean", "k": k}
            yield Part("the base's top heads are needed", model, condition, _needed(result["knocked"], here))


def _by_chance(says: str, figure: Mapping[str, Any], p: float) -> Test:
    return Test(says, figure["value"], _shown(p, figure["n"]), figure["low"], figure["high"], figure["n"], p)


def _shown(p: float, n: int) -> Finding:
    return "holds" if p < _LEVEL and n >= ENOUGH else "not shown"


def _needed(rows: Sequence[Mapping[str, Any]], here: Mapping[str, Any]) -> tuple[Test, ...]:
    """Against any heads, and against heads of the same layers: where there are no others, nothing is shown."""
    out = _one(rows, **here, null="any")
    value, p = out["log_prob"]["value"], out["log_prob_p"]
    tests = (
        _below("against random sets", out["log_prob_beyond"]),
        Test("by rank", value, _shown(p, out["log_prob"]["n"]), p=p),
    )
    matched = [row for row in rows if all(row[name] == wanted for name, wanted in {**here, "null": "layers"}.items())]
    if not matched:
        return *tests, Test("no other heads in these layers", None, "not shown")
    sets = len(matched[0]["log_prob_sets"])
    return *tests, _below(f"against {sets} sets of the same layers", matched[0]["log_prob_beyond"])
