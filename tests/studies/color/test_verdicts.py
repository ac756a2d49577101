"""The rules, on figures that are made for them."""

from dataclasses import asdict

import numpy as np
import pytest

from lapilli.core.statistics.bootstrap import draws
from lapilli.studies.color.verdicts import Part, _above, _below, verdict, verdicts
from lapilli.studies.color.verdicts import Test as Comparison

MODELS = ("tuned 1", "tuned 2")


GROWN = [f"{way}_{part}" for way in ("certain", "wide") for part in ("top", "beyond")]


def _interval(value, width=0.1):
    return {"value": value, "low": value - width, "high": value + width, "n": 30}


def holding():
    """Figures for which every part of every statement holds."""
    result = {"settings": {"verdict_size": 5}, "accuracy": [], "ways": [], "halves": [], "decoding": []}
    result |= {"overlaps": [], "growth": [], "knocked": [], "keys": []}
    for model in MODELS:
        for condition in ("VQA", "TQA-tuned"):
            here = {"model": model, "condition": condition}
            result["accuracy"].append(here)
            for way, half, difference in (
                ("facts->facts", "shallow", -1),
                ("facts->text", "shallow", -1),
                ("facts->last", "deep", 1),
            ):
                result["ways"].append(here | {"way": way, "span": half, "beyond": _interval(-1)})
                result["halves"].append(here | {"way": way, **_interval(difference)})
            looking = {"of": "increase", "k": 5, "drop_beyond": _interval(0.3), "asked_beyond": _interval(0.3)}
            result["keys"].append(here | looking)
            for null in ("any", "layers"):
                out = {
                    "of": "base",
                    "how": "mean",
                    "null": null,
                    "k": 5,
                    "log_prob_p": 1 / 21,
                    "least_p": 1 / 21,
                    "log_prob_sets": [0.0] * 20,
                }
                result["knocked"].append(here | out | {"log_prob": _interval(-2), "log_prob_beyond": _interval(-1)})
        tuned = {"model": model, "condition": "TQA-tuned"}
        shared = {"kind": "tuning", "other": tuned, "measure": "increase", "k": 5, "chance": 1.25, "p": 0.005}
        shared |= {"least_p": 0.001, "observed": 4, "within": 2.0, "within_p": 0.03, "within_least_p": 0.01}
        result["overlaps"].append(shared | _interval(4))
        result["growth"].append(tuned | {"k": 5} | {name: _interval(0.5) for name in GROWN})
        for word in ("color", "object"):
            read = {"model": model, "condition": "VQA", "readout": "embedding", "word": word, "of": "increase", "k": 5}
            result["decoding"].append(read | {"above_random": _interval(0.3), "above_label": _interval(0.2)})
    return result


def _words(result):
    return {one["statement"]: one["verdict"] for one in verdicts(result)}


def test_a_statement_holds_when_all_parts_do_in_all_models():
    assert _words(holding()) == {"a": "holds", "b": "holds", "c": "holds"}
    counts = {one["statement"]: len(one["parts"]) for one in verdicts(holding())}
    assert counts == {"a": 2 * 2 * 4, "b": 2 * 2, "c": 2 * 5}


@pytest.mark.parametrize(
    ("statement", "rows", "number", "change"),
    [
        ("a", "halves", 0, _interval(-0.05)),  # the shallow half costs more, but not surely
        ("a", "halves", 2, _interval(-1)),  # the facts are read by the end in the shallow half
        ("a", "ways", 3, {"beyond": _interval(0.01)}),  # random looks cost as much
        ("b", "decoding", 3, {"above_label": _interval(0.05)}),
        ("b", "decoding", 0, {"above_random": _interval(-0.3)}),
        ("a", "keys", 1, {"drop_beyond": _interval(0.05)}),
        ("a", "keys", 2, {"asked_beyond": _interval(-0.3)}),
        ("c", "overlaps", 1, {"p": 0.06}),
        ("c", "overlaps", 0, {"within_p": 0.06}),
        *(("c", "growth", 0, {name: _interval(value)}) for name in GROWN for value in (0.0, -1)),
        ("c", "knocked", 0, {"log_prob_p": 0.06}),
        ("c", "knocked", 2, {"log_prob_beyond": _interval(0.0)}),
        ("c", "knocked", 3, {"log_prob_beyond": _interval(0.0)}),  # among sets of the same layers
    ],
)
def test_one_part_that_fails_in_one_model_makes_it_mixed(statement, rows, number, change):
    result = holding()
    result[rows][number] = result[rows][number] | change
    assert _words(result) == {"a": "holds", "b": "holds", "c": "holds"} | {statement: "mixed"}
    (found,) = (one for one in verdicts(result) if one["statement"] == statement)
    assert [part["finding"] == "holds" for part in found["parts"]].count(False) == 1


@pytest.mark.parametrize(("value", "word"), [(-0.3, "fails"), (0.0, "not shown")])
def test_what_holds_nowhere_fails_when_it_is_contradicted(value, word):
    result = holding()
    for row in result["decoding"]:
        row["above_random"] = _interval(value if row["word"] == "object" else 0.0)
    assert _words(result) == {"a": "holds", "b": word, "c": "holds"}


def test_an_interval_on_the_wrong_side_contradicts_and_one_around_0_shows_nothing():
    result = holding()
    result["growth"][0]["wide_top"] = _interval(-1)
    result["growth"][1]["certain_top"] = _interval(0.05)
    (found,) = (one for one in verdicts(result) if one["statement"] == "c")
    grown = [part["finding"] for part in found["parts"] if part["says"].endswith("raise the answer more")]
    assert grown == ["contradicted", "not shown"]


def test_an_interval_without_numbers_is_none_that_holds():
    result = holding()
    result["growth"][0]["wide_top"] = {"value": None, "low": None, "high": None, "n": 0}
    assert _words(result)["c"] == "cannot be tested"


def test_with_few_questions_nothing_can_be_tested():
    """Two questions' interval is nearly always on one side of 0."""

    def few(value):
        if isinstance(value, dict):
            return {name: 19 if name == "n" else few(one) for name, one in value.items()}
        return [few(one) for one in value] if isinstance(value, list) else value

    assert set(_words(few(holding())).values()) == {"cannot be tested"}


@pytest.mark.parametrize(
    ("findings", "word"),
    [
        ("h", "holds"), ("hc", "mixed"), ("hn", "mixed"), ("cc", "fails"), ("cn", "not shown"), ("nn", "not shown"),
        ("hu", "cannot be tested"), ("uu", "cannot be tested"), ("hun", "mixed"), ("nu", "not shown"),
        ("cu", "not shown"),
    ],
)  # fmt: skip
def test_the_word_for_parts(findings, word):
    names = {"h": "holds", "c": "contradicted", "n": "not shown", "u": "cannot be tested"}
    tests = [Comparison("", None, names[letter]) for letter in findings]
    assert verdict([Part("one", str(model), "VQA", (test,)) for model, test in enumerate(tests)]) == word


@pytest.mark.parametrize(
    ("findings", "word"), [("hu", "u"), ("hun", "n"), ("unc", "c"), ("hh", "h"), ("uu", "u"), ("un", "n")]
)
def test_a_part_is_what_its_worst_test_is(findings, word):
    names = {"h": "holds", "c": "contradicted", "n": "not shown", "u": "cannot be tested"}
    part = Part("one", "m", "VQA", tuple(Comparison("", None, names[letter]) for letter in findings))
    assert part.finding == names[word]


UNTESTABLE = [
    ("overlaps", 0, {"within_p": 0.25, "within_least_p": 0.25}),  # four heads fill a layer, one is in another
    ("overlaps", 1, {"p": 0.05, "least_p": 0.05}),  # one head of twenty
    ("knocked", 1, {"log_prob_p": 0.25, "least_p": 0.25}),  # three sets of the same layers
    ("knocked", 2, {"log_prob_p": 0.05, "least_p": 0.05}),  # nineteen sets
]


@pytest.mark.parametrize(("rows", "number", "change"), UNTESTABLE)
def test_where_no_small_p_is_possible_it_cannot_be_tested(rows, number, change):
    result = holding()
    result[rows][number] |= change
    assert _words(result)["c"] == "cannot be tested"
    (found,) = (one for one in verdicts(result) if one["statement"] == "c")
    lost = [test for part in found["parts"] for test in part["tests"] if test["finding"] != "holds"]
    assert [test["finding"] for test in lost] == ["cannot be tested"] and lost[0]["least_p"] >= 0.05


@pytest.mark.parametrize("size", [1e-7, -1e-7, 9e-6])
def test_an_interval_beside_0_by_rounding_alone_shows_nothing(size):
    result = holding()
    result["growth"][0]["wide_top"] = _interval(size, abs(size) / 10)
    (found,) = (one for one in verdicts(result) if one["statement"] == "c")
    lost = [part["finding"] for part in found["parts"] if part["finding"] != "holds"]
    assert lost == ["not shown"]


@pytest.mark.parametrize("skewed", [False, True])
@pytest.mark.parametrize("n", [20, 100])
def test_of_no_difference_no_more_is_shown_than_an_interval_lets_by(n, skewed):
    """By chance an interval alone lies on one side 25 times in 1,000; of skewed differences, up to twice that."""
    rng, found = np.random.default_rng(n), []
    for _ in range(800):
        values = rng.exponential(size=n) - 1 if skewed else rng.standard_normal(n)
        figure = asdict(draws(n, 0).mean(values))
        found.append([_above("", figure).finding, _below("", figure).finding])
    shares = (np.array(found) == "holds").mean(0)
    allowed = 0.025 * (1 + 2 * skewed)
    assert (shares < allowed + 3 * np.sqrt(allowed / 800)).all()


def test_without_other_heads_in_the_same_layers_it_cannot_be_tested():
    result = holding()
    result["knocked"] = [row for row in result["knocked"] if row["null"] == "any" or row["model"] == "tuned 2"]
    (found,) = (one for one in verdicts(result) if one["statement"] == "c")
    lost = [(part["says"], part["model"], part["finding"]) for part in found["parts"] if part["finding"] != "holds"]
    assert found["verdict"] == "cannot be tested"
    assert lost == [("the base's top heads are needed", "tuned 1", "cannot be tested")] * 2
