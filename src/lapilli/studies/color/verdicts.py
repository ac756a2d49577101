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
    For each tuned model, five parts. Of the top heads of TQA-base and TQA-tuned more are shared than by chance, also of
    sets with as many heads in every layer (p < 0.05 each). The increases of the top heads of TQA-base are larger in
    TQA-tuned with the sharpness of the logits matched, in both ways of confidence.py: as they are they grow as well in
    a base whose logits are multiplied by 1.3. They have grown by more than those of the other heads, both ways. These
    heads knocked out in the tuned model, under VQA and under TQA-tuned, cost more than random sets of as many do, and
    than sets with as many in every layer, by interval and by rank (p < 0.05).

Above, below, further, larger and more mean that the 95 % interval of the paired difference lies there, by more than
ROUNDING. Top heads are those with the largest log-probability increases: ten, as in the paper, or a quarter of all
heads where that is fewer (overlap.py), since ten of twenty heads are half of the model, and their sets are alike by
chance.

A comparison cannot be tested when nothing that could be measured would have made it hold: with fewer than ENOUGH
questions, whose intervals are too narrow; where the smallest p that there can be is not below LEVEL, as among too few
sets; where there is no other set. A part holds when all of its tests do, is contradicted when the interval of one lies
on the other side of 0, is not shown when another does not hold, and cannot be tested otherwise. A statement holds when
every part holds in every tuned model, and cannot be tested when all the others do; it is mixed where only some do.
Where no part holds in any, it fails if one is contradicted in every model, cannot be tested if none can, and is not
shown otherwise.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Word = Literal["holds", "mixed", "fails", "not shown", "cannot be tested"]

Finding = Literal["holds", "contradicted", "not shown", "cannot be tested"]

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
    "within their layers (p < 0.05 each); the base's top heads raise the answer more after tuning, and by more than "
    "its other heads do, with answers made equally certain and with logits made equally wide; knocked out in the tuned "
    "model, with picture and with text, they cost more than random sets of as many heads, and than sets with as many "
    "heads in the same layers, by interval and by rank (p < 0.05).",
}

ENOUGH = 20
"""With fewer questions nothing can be tested."""

LEVEL = 0.05
"""What a p must be below."""

ROUNDING = 1e-5
"""How far from 0 an interval must lie, in nats or shares: what is nearer may be rounding in single precision."""

COMMON = (
    "Every comparison must hold with its 95 % interval over questions, paired where it is of the same questions; it is "
    "contradicted when the interval lies on the other side of 0, and not shown otherwise, as when a p is too large. It "
    f"cannot be tested with fewer than {ENOUGH} questions, or where no p below {LEVEL} is possible, as among few sets. "
    "A statement holds when every part holds in every tuned model, cannot be tested when only such parts are left "
    "over, and is mixed when others are. When none holds it fails if a part is contradicted in every model, and is not "
    "shown if none is. The rules stand in the program, and do not depend on what a run finds. They are not as they "
    "were first written: those of (a) and (c) were changed after trials on 24 to 60 questions of quickstart models, "
    "and those of (c) once more, when they were found to hold for a base whose logits were all multiplied by 1.3."
)


@dataclass(frozen=True)
class Test:
    """One comparison: an interval, which must lie on the right side of 0, or a p, which must be small enough.

    It is contradicted when the interval lies on the wrong side; a p that is too large only shows nothing. `least_p` is
    the smallest that there can be.
    """

    says: str
    value: float | None
    finding: Finding
    low: float | None = None
    high: float | None = None
    n: int | None = None
    p: float | None = None
    least_p: float | None = None


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
        worst: tuple[Finding, ...] = ("contradicted", "not shown", "cannot be tested")
        return next((finding for finding in worst if finding in found), "holds")


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
    if findings <= {"holds", "cannot be tested"}:
        return "holds" if findings == {"holds"} else "cannot be tested"
    if "holds" in findings:
        return "mixed"
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
    finding: Finding = "not shown"
    if low is None or figure["n"] < ENOUGH:
        finding = "cannot be tested"
    elif low > ROUNDING or high < -ROUNDING:
        finding = "holds" if (low > 0) == (side > 0) else "contradicted"
    return Test(says, figure["value"], finding, low, high, n=figure["n"])


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
    k = result["settings"]["verdict_size"]
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
            row = _one(result["decoding"], **here, k=result["settings"]["verdict_size"])
            tests = (
                _above("against an average patch", row["above_random"]),
                _above("against other questions' words", row["above_label"]),
            )
            yield Part(f"the right {word} can be read at key patches", model, "VQA", tests)


def _strengthened(result: Mapping[str, Any]) -> Iterator[Part]:
    k = result["settings"]["verdict_size"]
    for model in _tuned(result, "TQA-tuned"):
        other = {"model": model, "condition": "TQA-tuned"}
        shared = _one(result["overlaps"], kind="tuning", other=other, measure="increase", k=k)
        yield Part("base and tuned model share top heads", model, "TQA-tuned", _shared(shared, k))
        grown = _one(result["growth"], **other, k=k)
        for kind, says in (
            ("top", "the base's top heads raise the answer more"),
            ("beyond", "more so than its others"),
        ):
            tests = (
                _above("answers equally certain", grown[f"certain_{kind}"]),
                _above("logits equally wide", grown[f"wide_{kind}"]),
            )
            yield Part(says, model, "TQA-tuned", tests)
        for condition in ("VQA", "TQA-tuned"):
            here = {"model": model, "condition": condition, "of": "base", "how": "mean", "k": k}
            yield Part("the base's top heads are needed", model, condition, _needed(result["knocked"], here))


def _shared(figure: Mapping[str, Any], k: int) -> tuple[Test, ...]:
    """By the heads that are seen to be shared: p is about these."""
    says = f"shared of {k}, {figure['chance']:.2f} by chance", f"{figure['within']:.2f} by chance in the same layers"
    return tuple(
        _by_p(words, figure["observed"], figure["n"], figure[f"{null}p"], figure[f"{null}least_p"])
        for words, null in zip(says, ("", "within_"), strict=True)
    )


def _by_p(says: str, value: float | None, n: int, p: float, least_p: float) -> Test:
    finding: Finding = "holds" if p < LEVEL else "not shown"
    tested: Finding = finding if n >= ENOUGH and least_p < LEVEL else "cannot be tested"
    return Test(says, value, tested, n=n, p=p, least_p=least_p)


def _needed(rows: Sequence[Mapping[str, Any]], here: Mapping[str, Any]) -> tuple[Test, ...]:
    """Against random sets of any heads, and against those of the same layers."""
    tests: list[Test] = []
    for null, whose in (("any", ""), ("layers", " of the same layers")):
        found = [row for row in rows if all(row[name] == wanted for name, wanted in {**here, "null": null}.items())]
        for row in found:
            change = row["log_prob"]
            says = f"against {len(row['log_prob_sets'])} sets{whose}"
            tests.append(_below(says, row["log_prob_beyond"]))
            tests.append(_by_p("by rank among them", change["value"], change["n"], row["log_prob_p"], row["least_p"]))
        if not found:
            tests.append(Test(f"no other sets{whose}", None, "cannot be tested"))
    return tuple(tests)
