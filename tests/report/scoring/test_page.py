"""The tables and the page of scored files, from values by hand."""

import pytest

from lapilli.report.scoring.page import render
from lapilli.report.scoring.tables import comparison_table, confusion, figure_table, model_table, number, short_names

RESULT = {
    "splits": {"random": {"n": 3, "accuracy": 0.5, "accuracy_interval": [0.25, 0.75], "tp": 1200}},
    "f1": None,
    "f1_interval": [None, None],
    "relative": 120.8,
    "relative_interval": [117.0, 125.0],
    "missed": ["1"],
    "benchmark": {"name": "pope", "version": "1"},
}


def row(name, score, text="yes", expected="yes", parsed="yes"):
    return {"id": name, "group": "g", "score": score, "text": text, "expected": expected, "parsed": parsed}


def test_every_number_has_a_row_and_an_interval_where_there_is_one():
    assert figure_table(RESULT).rows == [
        ["splits random accuracy", "0.500", "0.250 to 0.750", "3"],
        ["splits random tp", "1,200", "", ""],
        ["f1", "–", "", ""],
        ["relative", "120.8", "117.0 to 125.0", ""],
    ]
    assert [number(value) for value in (7, 0.12345, 12.345, None, float("nan"), -0.5)] == [
        "7", "0.123", "12.3", "–", "–", "-0.500",
    ]  # fmt: skip


def test_several_files_have_a_column_each():
    table = model_table({"a": RESULT, "b": {"relative": 1.0, "relative_interval": [0.5, 2.0]}})
    assert table.columns == ("figure", "a", "b")
    assert table.rows == [
        ["splits random accuracy", "0.500 [0.250, 0.750]", "–"],
        ["relative", "120.8 [117.0, 125.0]", "1.000 [0.500, 2.000]"],
    ]


COMPARED = {
    "score": "accuracy",
    "first": "a", "second": "b", "n": 1200, "difference": 0.1, "difference_interval": [0.05, 0.15],
    "test": "McNemar, exact", "p": 0.01, "p_holm": 0.03, "detectable": 0.07, "first_only": 9, "second_only": 2,
}  # fmt: skip


def test_a_comparison_is_a_row():
    table = comparison_table([COMPARED, COMPARED | {"first_only": None, "second_only": None, "p": None}])
    assert table.rows[0] == ["a less b", "1,200", "0.100 [0.050, 0.150]", "0.010", "0.030", "0.070", "9 : 2"]
    assert table.rows[1][3] == "–" and table.rows[1][-1] == ""
    assert table.note.startswith("difference of accuracy; p by McNemar")


def test_confusion_is_of_few_labels():
    rows = [row("1", 1), row("2", 0, parsed="no"), row("3", 0, expected="no", parsed=""), row("4", 0, expected="no")]
    assert confusion(rows).rows == [["no", "0", "1", "1"], ["yes", "1", "1", "0"]]
    assert confusion(rows[:1]) is None and confusion([row(str(at), 1, expected=str(at)) for at in range(9)]) is None


def test_the_page_shows_worst_best_and_changed_answers_as_text():
    first = [row("1", 1), row("2", 0, text="<i>no</i>"), row("3", 1)]
    second = [row("1", 0, text="changed"), row("2", 0), row("3", 1)]
    parts = {"models": {"a": RESULT, "b<q>": RESULT}, "comparisons": [COMPARED]}
    page = render("pope", parts, {"a": first, "b<q>": second})
    assert "1 answer scored differently" in page and "changed" in page
    assert "&lt;i&gt;no" in page and "<i>" not in page and "b&lt;q&gt;" in page and "b<q>" not in page
    assert page.count("Worst: 1 answer") == 1 and page.count("Best: 2 answers") == 1 and "Worst: 2 answers" in page


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["review_bard_vicuna-13b.jsonl", "review_gpt35_vicuna-13b.jsonl"], ["bard", "gpt35"]),
        (["a/answers.jsonl", "b/answers.jsonl"], ["a", "b"]),
        (["model.jsonl", "model-2.jsonl"], ["model.jsonl", "model-2.jsonl"]),  # nothing would be left of one
        (["llava-7b.jsonl", "llava-13b.jsonl"], ["7b", "13b"]),
        (["only.jsonl"], ["only.jsonl"]),
    ],
)
def test_what_all_names_share_is_left_out_of_tables(names, short):
    assert list(short_names(names).values()) == short
