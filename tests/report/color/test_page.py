"""The page of the color study: what it says, what it draws, and what it never does."""

import copy
import math
import re

import pytest
from markupsafe import escape
from tests.report.color.reading import table
from tests.studies.color import fabricated

from lapilli.report.color import numbers
from lapilli.report.color.charts import Mark, Panel, Row, layers_chart, mark, rows_chart
from lapilli.report.color.page import render, write_page
from lapilli.report.kit import figures


@pytest.fixture
def result():
    return fabricated.result()


@pytest.fixture(scope="module")
def page():
    return render(fabricated.result())


@pytest.mark.parametrize(
    ("kinds", "said"),
    [
        ({"a": "holds", "b": "holds", "c": "holds"}, "Of 3 statements 3 hold (a, b, c)."),
        ({"a": "not shown", "b": "mixed", "c": "holds"}, "1 holds (c), 1 is mixed (b) and 1 is not shown (a)."),
        ({"a": "cannot be tested", "b": "holds", "c": "holds"}, "2 hold (b, c) and 1 cannot be tested (a)."),
        ({"a": "fails", "b": "not shown", "c": "not shown"}, "1 fails (a) and 2 are not shown (b, c)."),
    ],
)
def test_it_begins_with_the_finding_in_words(result, kinds, said):
    for verdict in result["verdicts"]:
        verdict["verdict"] = kinds[verdict["statement"]]
    text = re.sub(r"<[^>]+>", "", render(result))
    assert said in text and text.index(said) < text.index("tested one by one")
    assert text.index("the picture's patches, or the text that") < text.index("facts reach facts")


def test_verdicts_come_first_with_their_rules(result):
    page = render(result)
    stamps = re.findall(r'class="stamp ([\w-]+)"', page)
    assert stamps == [one["verdict"].replace(" ", "-") for one in result["verdicts"]]
    assert all(str(escape(one["rule"])) in page for one in result["verdicts"])
    assert page.index("stamp") < page.index("What was asked") < page.index("1. Heads")
    for one in result["verdicts"]:
        cells = page.split(f"<h2><span>({one['statement']}) ")[1].split("</article>")[0]
        ticks = [word.replace("-", " ") for word in re.findall(r'class="test ([\w-]+)"', cells)]
        assert sorted(ticks) == sorted(test["finding"] for part in one["parts"] for test in part["tests"])


@pytest.mark.parametrize(
    ("section", "title", "name"),
    [
        ("asked", "answered rightly", "accuracy"), ("overlap", "all sizes, both measures", "overlaps"),
        ("difference", "logit differences, all sizes", "differences"), ("keys", "key positions, all sizes", "keys"),
        ("decoding", "all sizes and conditions", "decoding"), ("knocked", "log-probability and accuracy", "knocked"),
        ("knocked", "growth of the base", "growth"), ("ways", "all ways and layers", "ways"),
        ("ways", "shallow half less deep half", "halves"),
    ],
)  # fmt: skip
def test_every_table_has_a_line_for_every_figure(result, page, section, title, name):
    lines = table(page, f'aria-labelledby="{section}"', f"<summary>Table: {title}")
    assert len(lines) == len(result[name])


def test_the_papers_figures_have_a_line_each_with_every_models(result, page):
    lines = table(page, 'aria-labelledby="paper"')
    assert len(lines) == len(result["beside_paper"]) > 0
    for line, row in zip(lines, result["beside_paper"], strict=True):
        assert line[:2] == [row["says"], str(row["paper"])] and len(line) == 3 + 2 * len(row["measured"])


def test_it_is_one_file_that_asks_for_nothing(result, tmp_path):
    path = write_page(result, tmp_path)
    page = path.read_text()
    assert path.name == "color.html" and "<script" not in page
    assert not re.findall(r'(?:src|href)="(?!#|data:)', page) and "url(" not in page and "@import" not in page
    assert "default-src 'none'" in page and "light dark" in page


def test_text_of_the_result_stays_text(result):
    changed = copy.deepcopy(result)
    changed["example"]["facts"] = "<script>alert(1)</script>"
    changed["models"][1]["folder"] = "<b>one</b>"
    page = render(changed)
    assert "<script" not in page and "&lt;script&gt;alert(1)" in page and "<b>one</b>" not in page


def test_what_has_no_number_is_left_out(result):
    changed = copy.deepcopy(result)
    for row in changed["keys"]:
        for name in ("different", "drop", "drop_beyond"):
            row[name] = {"value": None, "low": None, "high": None, "n": 0}
    page = render(changed)
    assert "None" not in page and "nan" not in page.lower().replace("ananiadou", "")


def test_a_whisker_spans_the_interval_on_the_axis():
    figure = {"value": 0.5, "low": 0.25, "high": 1.0, "n": 12}
    drawn = rows_chart([Row("one", ((mark("dot", "first", figure),),))], "t", "s", 112.0, (0.0, 1.0))
    start, end = 112.0, 400.0
    (whisker,) = re.findall(r'<line x1="([\d.]+)" y1="[\d.]+" x2="([\d.]+)" y2="[\d.]+" class="whisker"', drawn)
    assert [float(x) for x in whisker] == pytest.approx([start + 0.25 * (end - start), end])
    (dot,) = re.findall(r'<circle cx="([\d.]+)"', drawn)
    assert float(dot) == pytest.approx((start + end) / 2) and "first: 0.50 [0.25, 1.00], n = 12" in drawn


def test_rows_have_a_lane_for_each_model_and_nothing_for_nothing():
    lanes = tuple((Mark("dot", str(number), float(number)),) for number in range(3))
    drawn = rows_chart([Row("a", lanes), Row("b", ((Mark("dot", "none", None),),))], "t", "s")
    heights = [float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', drawn)]
    assert len(heights) == 3 and heights == sorted(heights) and len(set(heights)) == 3


def test_columns_of_layers_share_one_axis():
    def column(value):
        return ((Mark("dot", "m", value),),)

    panels = [Panel("a", (column(-1.0), column(0.0))), Panel("b", (column(-0.5), column(-1.0)))]
    drawn = layers_chart(panels, ["0", "all"], "t", "s")
    (first, zero, half, low) = [float(y) for y in re.findall(r'<circle cx="[\d.]+" cy="([\d.]+)"', drawn)]
    assert low - first == pytest.approx(66.0) and half - zero == pytest.approx(66.0 + (first - zero) / 2, abs=0.05)


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (figures.number(-0.456), "−0.46"), (figures.number(-0.001), "0.00"), (figures.number(None), "–"),
        (figures.number(0.001, sign=True), "0.00"), (figures.number(0.02, sign=True), "+0.02"),
        (numbers.spread({"low": -1.0, "high": 2.0}), "[−1.00, 2.00]"),
        (numbers.spread({"low": None, "high": None}), ""),
        (numbers.spread({"low": math.nan, "high": 0.5}), ""),
        (numbers.spread({"low": 0.5, "high": math.inf}), ""),
        (numbers.with_interval({"value": 0.5, "low": math.nan, "high": math.nan}), "0.50"),
        (numbers.with_interval({"value": math.nan, "low": None, "high": None}), "–"),
        (numbers.chance(0.0312), "p\u202f=\u202f0.031"), (numbers.chance(1e-5), "p\u202f<\u202f0.001"),
        (numbers.digits({"value": 0.01, "low": -0.02, "high": 0.09}), 3),
        (numbers.digits({"value": 0.01, "low": -0.02, "high": 0.2}), 2),
        (numbers.digits({"value": 0.01, "low": 0.001, "high": 0.2}), 3),
        (numbers.digits({"value": 0.002, "low": 0.0003, "high": 0.02}), 4),
        (numbers.digits({"value": 0.0, "low": 0.0, "high": 0.0}), 4),
    ],
)  # fmt: skip
def test_numbers_read_as_they_should(said, words):
    assert said == words
