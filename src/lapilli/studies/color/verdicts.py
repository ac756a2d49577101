"""Verdicts on the paper's three STATEMENTS, by RULES that do not depend on a run's results.

RULES state what each statement needs, and COMMON how tests make a part, and parts a statement; the page shows both. Top
heads are the `verdict_size` of overlap.py with the largest log-probability increases.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Word = Literal["holds", "mixed", "fails", "not shown", "cannot be tested"]

Finding = Literal["holds", "contradicted", "not shown", "cannot be tested"]

STATEMENTS = {
    "a": "Shallow layers move features of the object to where its color is and to the end; deep heads extract "
    "the color",
    "b": "What the picture puts in the language model's input can be read as words",
    "c": "Tuning strengthens the heads that the language model already had",
}

RULES = {
    "a": "In every tuned model, with picture and with text: hiding the facts from each other, and from all text behind "
    "them, costs more log-probability in the shallow half of the layers than in the deep half, and more than as many "
    "random looks; hiding the facts from the position that answers costs more in the deep half than in the shallow "
    "half, and more than as many random looks; the top heads look less at their key positions when another thing is "
    "asked about, more so than in other words, and these positions are on the thing more often than by chance.",
    "b": "In every tuned model: the mean reciprocal rank of the right color, and of the right shape, read by the "
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
"""The level that a p must be below."""

ROUNDING = 1e-5
"""The least distance of an interval from 0, in nats or shares: a smaller one may be rounding in single precision."""

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
    """One comparison, by an interval or by a p; `least_p` is the smallest possible p."""

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
    """A part of a statement in one model under one condition."""

    says: str
    model: str
    condition: str
    tests: tuple[Test, ...]

    @property
    def finding(self) -> Finding:
        """The worst finding of its tests."""
        findings = {test.finding for test in self.tests}
        worst: tuple[Finding, ...] = ("contradicted", "not shown", "cannot be tested")
        return next((finding for finding in worst if finding in findings), "holds")


def verdicts(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The verdicts on all statements, as plain values, from a study's figures."""
    judged = []
    for name, parts_of in (("a", _moving), ("b", _readable), ("c", _strengthened)):
        parts = list(parts_of(result))
        judged_parts = [asdict(part) | {"finding": part.finding} for part in parts]
        word = verdict(parts)
        judged.append(
            {"statement": name, "says": STATEMENTS[name], "rule": RULES[name], "verdict": word, "parts": judged_parts}
        )
    return judged


def verdict(parts: Sequence[Part]) -> Word:
    """The verdict on a statement from the findings of its parts.

    Some of many comparisons lie on the wrong side by chance, so a part counts against the statement only if it is
    contradicted in every model.
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


def _models_under(result: Mapping[str, Any], condition: str) -> Iterator[str]:
    """The models that were asked under a condition."""
    yield from (row["model"] for row in result["accuracy"] if row["condition"] == condition)


def _row(rows: Sequence[Mapping[str, Any]], **labels: Any) -> Mapping[str, Any]:
    """The only row with these labels."""
    (match,) = (row for row in rows if all(row[name] == value for name, value in labels.items()))
    return match


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
    return Test(says, figure["value"], finding, low=low, high=high, n=figure["n"])


def _moving(result: Mapping[str, Any]) -> Iterator[Part]:
    claims = (
        ("facts->facts", "shallow", "facts reach facts in shallow layers"),
        ("facts->text", "shallow", "facts reach the text behind them in shallow layers"),
        ("facts->last", "deep", "the answer is read from the facts in deep layers"),
    )
    for condition in ("VQA", "TQA-tuned"):
        for model in _models_under(result, condition):
            for route, half, says in claims:
                here = {"model": model, "condition": condition, "way": route}
                by_half = _row(result["halves"], **here)
                beyond = _row(result["ways"], **here, span=half)["beyond"]
                other = "deep half" if half == "shallow" else "shallow half"
                between = _below(f"against the {other}", by_half if half == "shallow" else _negative(by_half))
                yield Part(says, model, condition, (between, _below("against random looks", beyond)))
            yield Part(
                "top heads look at what is asked about", model, condition, _attention_tests(result, model, condition)
            )


def _attention_tests(result: Mapping[str, Any], model: str, condition: str) -> tuple[Test, ...]:
    k = result["settings"]["verdict_size"]
    row = _row(result["keys"], model=model, condition=condition, of="increase", k=k)
    return (
        _above("less when another thing is", row["drop_beyond"]),
        _above("key positions on it, less chance", row["asked_beyond"]),
    )


def _negative(figure: Mapping[str, Any]) -> dict[str, Any]:
    return {"value": -figure["value"], "low": -figure["high"], "high": -figure["low"], "n": figure["n"]}


def _readable(result: Mapping[str, Any]) -> Iterator[Part]:
    for model in _models_under(result, "VQA"):
        for word in ("color", "object"):
            here = {"model": model, "condition": "VQA", "readout": "embedding", "word": word, "of": "increase"}
            row = _row(result["decoding"], **here, k=result["settings"]["verdict_size"])
            tests = (
                _above("against an average patch", row["above_random"]),
                _above("against other questions' words", row["above_label"]),
            )
            yield Part(f"the right {word} can be read at key patches", model, "VQA", tests)


def _strengthened(result: Mapping[str, Any]) -> Iterator[Part]:
    k = result["settings"]["verdict_size"]
    for model in _models_under(result, "TQA-tuned"):
        other = {"model": model, "condition": "TQA-tuned"}
        shared = _row(result["overlaps"], kind="tuning", other=other, measure="increase", k=k)
        yield Part("base and tuned model share top heads", model, "TQA-tuned", _shared(shared, k))
        grown = _row(result["growth"], **other, k=k)
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
    """The tests of the observed number of shared heads, against either null."""
    says = f"shared of {k}, {figure['chance']:.2f} by chance", f"{figure['within']:.2f} by chance in the same layers"
    return tuple(
        _by_p(words, figure["observed"], figure["n"], figure[f"{null}p"], figure[f"{null}least_p"])
        for words, null in zip(says, ("", "within_"), strict=True)
    )


def _by_p(says: str, value: float | None, n: int, p: float, least_p: float) -> Test:
    finding: Finding = "cannot be tested"
    if n >= ENOUGH and least_p < LEVEL:
        finding = "holds" if p < LEVEL else "not shown"
    return Test(says, value, finding, n=n, p=p, least_p=least_p)


def _needed(rows: Sequence[Mapping[str, Any]], here: Mapping[str, Any]) -> tuple[Test, ...]:
    """The tests of an ablation against random sets of any heads, and against those of the same layers."""
    tests: list[Test] = []
    for null, whose in (("any", ""), ("layers", " of the same layers")):
        matching = [row for row in rows if all(row[name] == wanted for name, wanted in {**here, "null": null}.items())]
        for row in matching:
            change = row["log_prob"]
            says = f"against {len(row['log_prob_sets'])} sets{whose}"
            tests.append(_below(says, row["log_prob_beyond"]))
            tests.append(_by_p("by rank among them", change["value"], change["n"], row["log_prob_p"], row["least_p"]))
        if not matching:
            tests.append(Test(f"no other sets{whose}", None, "cannot be tested"))
    return tuple(tests)
