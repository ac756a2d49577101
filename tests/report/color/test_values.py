"""The page of the color study shows of every chart and every table the figure that is meant, and no other."""

import re

import pytest
from tests.report.color import planted
from tests.report.color.reading import charts, marks, table

from lapilli.report.color.page import render

KEYS = "Attention of the top heads at their key positions"
ASKED = "Key positions on the thing that is asked about, share"
GROWTH = "Increase of the base's top 5 of 20 heads, after tuning less before"
SHARED = "Shared of the top 5 of 20 heads"
SEEDS = "between seeds"
PAIR = "tuned 1 VQA / tuned 2 VQA"


@pytest.fixture(scope="module")
def page():
    return render(planted.result())


@pytest.fixture(scope="module")
def drawn(page):
    return marks(page)


@pytest.mark.parametrize(
    ("chart", "row", "kind", "says"),
    [
        ("Answered rightly", "VQA", "dot", "tuned 1: 3 of 10, 10.0–50.0 %"),
        ("Answered rightly", "TQA-base", "dot", "base: 9 of 10, 59.6–98.2 %"),
        (f"{SHARED} by increase", SEEDS, "dot", f"{PAIR}, of the true means: 2.00 [1.90, 2.20], n = 4"),
        (f"{SHARED} by increase", SEEDS, "ring", f"{PAIR}, as measured: 4"),
        (f"{SHARED} by increase", SEEDS, "stick", "any heads, by chance: 1.50, p = 0.250"),
        (f"{SHARED} by increase", SEEDS, "stick", "by chance, in the same layers: 2.50, p = 0.125"),
        (f"{SHARED} by contrast", SEEDS, "dot", f"{PAIR}, of the true means: 3.00 [2.90, 3.20], n = 4"),
        (f"{SHARED} by contrast", SEEDS, "ring", f"{PAIR}, as measured: 1"),
        (f"{SHARED} by contrast", SEEDS, "stick", "any heads, by chance: 0.50, cannot be tested: p ≥ 0.050"),
        (f"{SHARED} by contrast", SEEDS, "stick", "by chance, in the same layers: 3.50, cannot be tested: p ≥ 0.250"),
        ("Right color less a random other one", "VQA", "dot", "tuned 1, model: 1.11 [1.01, 1.31], n = 4"),
        ("Right color less a random other one", "VQA", "ring",
         "tuned 1, top 5 by increase: 1.12 [1.02, 1.32], n = 4"),
        ("Right color less a random other one", "VQA", "wedge",
         "tuned 1, top 5 by contrast: 1.13 [1.03, 1.33], n = 4"),
        ("Right color less the best other one", "VQA", "dot", "tuned 1, model: 1.14 [1.04, 1.34], n = 4"),
        ("Right color less the best other one", "VQA", "ring",
         "tuned 1, top 5 by increase: 1.15 [1.05, 1.35], n = 4"),
        ("Right color less the best other one", "VQA", "wedge",
         "tuned 1, top 5 by contrast: 1.16 [1.06, 1.36], n = 4"),
        (KEYS, "VQA, by increase", "dot", "tuned 1, same: 0.310 [0.210, 0.510], n = 4"),
        (KEYS, "VQA, by increase", "ring", "tuned 1, different: 0.320 [0.220, 0.520], n = 4"),
        (KEYS, "VQA, by increase", "wedge", "tuned 1, paraphrase: 0.330 [0.230, 0.530], n = 4"),
        (KEYS, "VQA, by increase", "stick", "tuned 1, anywhere: 0.340 [0.240, 0.540], n = 4"),
        (ASKED, "VQA, by increase", "dot", "tuned 1: 0.36 [0.26, 0.56], n = 4"),
        (ASKED, "VQA, by increase", "stick", "tuned 1, any position: 0.37 [0.27, 0.57], n = 4"),
        ("Mean reciprocal rank, VQA, heads by increase", "attention wrote, object", "dot",
         "tuned 1, key position: 0.510 [0.410, 0.710], n = 4"),
        ("Mean reciprocal rank, VQA, heads by increase", "attention wrote, object", "wedge",
         "tuned 1, average position: 0.520 [0.420, 0.720], n = 4"),
        ("Mean reciprocal rank, VQA, heads by increase", "attention wrote, object", "ring",
         "tuned 1, other questions' words: 0.530 [0.430, 0.730], n = 4"),
        ("Mean reciprocal rank, VQA, heads by contrast", "attention wrote, object", "dot",
         "tuned 1, key position: 0.610 [0.510, 0.810], n = 4"),
        ("Mean reciprocal rank, TQA-tuned, heads by increase", "attention wrote, object", "wedge",
         "tuned 1, average position: 0.720 [0.620, 0.920], n = 4"),
        ("Mean reciprocal rank, TQA-tuned, heads by contrast", "attention wrote, object", "ring",
         "tuned 1, other questions' words: 0.830 [0.730, 1.030], n = 4"),
        ("Of 20 heads knocked out, VQA", "top 5", "dot", "tuned 1, p = 0.111 by rank: −2.11 [−2.21, −1.91], n = 4"),
        ("Of 20 heads knocked out, VQA", "top 5", "speck", "a random set: −1.71"),
        ("Of 20 heads knocked out, VQA", "top 5", "speck", "a random set: −1.72"),
        ("Of 20 heads knocked out, TQA-tuned", "base's top 5", "dot",
         "tuned 1, p = 0.222 by rank: −2.21 [−2.31, −2.01], n = 4"),
        ("Of 20 heads knocked out, TQA-tuned", "base's top 5", "speck", "a random set: −1.73"),
        ("Of 20 heads knocked out, TQA-base", "contrast, top 5", "dot",
         "base, p = 0.333 by rank: −2.31 [−2.41, −2.11], n = 4"),
        ("Of 20 heads knocked out, TQA-base", "contrast, top 5", "speck", "a random set: −1.74"),
        (GROWTH, "VQA, as it is", "dot", "tuned 1, top 5: 0.431 [0.331, 0.631], n = 4"),
        (GROWTH, "VQA, as it is", "wedge", "tuned 1, all other heads: 0.432 [0.332, 0.632], n = 4"),
        (GROWTH, "VQA, equally certain", "dot", "tuned 1, top 5: 0.434 [0.334, 0.634], n = 4"),
        (GROWTH, "VQA, equally certain", "wedge", "tuned 1, all other heads: 0.435 [0.335, 0.635], n = 4"),
        (GROWTH, "VQA, equally wide", "dot", "tuned 1, top 5: 0.437 [0.337, 0.637], n = 4"),
        (GROWTH, "VQA, equally wide", "wedge", "tuned 1, all other heads: 0.438 [0.338, 0.638], n = 4"),
        ("Looks cut, VQA", "question to last", "dot", "tuned 1: −5.11 [−5.21, −4.91], n = 4"),
        ("Looks cut, VQA", "question to last", "stick", "tuned 1, random looks: −5.12 [−5.22, −4.92], n = 4"),
        ("Looks cut, TQA-tuned", "question to last", "dot", "tuned 1: −5.21 [−5.31, −5.01], n = 4"),
        ("Looks cut, TQA-base", "question to last", "stick", "base, random looks: −5.32 [−5.42, −5.12], n = 4"),
    ],
)  # fmt: skip
def test_a_chart_shows_the_figure_that_is_meant(drawn, chart, row, kind, says):
    assert [(one.chart, one.row, one.kind) for one in drawn if one.says == says] == [(chart, row, kind)]


@pytest.mark.parametrize(
    ("says", "left"),
    [
        ("tuned 1: 3 of 10, 10.0–50.0 %", 96 + 304 * 0.25),
        (f"{PAIR}, as measured: 4", 152 + 248 * 4 / 5),
        (f"{PAIR}, of the true means: 2.00 [1.90, 2.20], n = 4", 152 + 248 * 2 / 5),
        ("any heads, by chance: 1.50, p = 0.250", 152 + 248 * 1.5 / 5),
        ("by chance, in the same layers: 2.50, p = 0.125", 152 + 248 * 2.5 / 5),
        ("tuned 1: 0.36 [0.26, 0.56], n = 4", 152 + 248 * 0.36),
        ("tuned 1: −5.11 [−5.21, −4.91], n = 4", 34 + 366 / 8 * (6 + 1 / 3)),  # of five layers, two halves and all
        ("base, random looks: −5.32 [−5.42, −5.12], n = 4", 34 + 366 / 8 * (6 + 1 / 2)),
    ],
)
def test_a_mark_lies_where_its_words_say(drawn, says, left):
    assert [one.left for one in drawn if one.says == says] == [pytest.approx(left, abs=0.01)]


FIRST = [(0, 0), (0, 1), (0, 2), (0, 3)]
"""The heads with the largest increases, but for the last one or two. By contrast, layers are the other way up."""
LAST = [(4, 0), (4, 1), (4, 2), (4, 3)]


@pytest.mark.parametrize(
    ("title", "framed"),
    [
        ("increase of heads, TQA-base", [[*FIRST, (1, 0)]] * 2),  # beside every tuned model
        ("increase of heads, VQA", [[*FIRST, (3, 2)], [*FIRST[:3], (2, 0), (2, 1)]]),
        ("direct of heads, VQA", [[*FIRST, (2, 1)], [*FIRST[:3], (2, 0), (2, 1)]]),
        ("contrast of heads, prior", [[(2, 1), *LAST], [(2, 0), (2, 1), *LAST[:3]]]),
    ],
)
def test_the_top_heads_are_framed(page, title, framed):
    assert [[head for head, cell in cells(chart) if cell[-1].get("class") == "framed"]
            for name, chart in charts(page) if name == title] == framed  # fmt: skip


def cells(chart):
    """Of a map of heads: (layer, head) and what is drawn there, with its words in the second place."""
    told = [(re.match(r"layer (\d), head (\d):", one[1].findtext("title") or ""), one) for one in chart.iter("g")]
    return [((int(head[1]), int(head[2])), one) for head, one in told if head]


@pytest.mark.parametrize(
    ("title", "head", "value", "kind", "strength"),
    [
        ("increase of heads, VQA", (3, 2), 12.5, "raises", 12.5 / 20),
        ("increase of heads, VQA", (4, 3), -20.0, "lowers", 1.0),
        ("increase of heads, TQA-base", (0, 0), 10.0, "raises", 0.5),
        ("direct of heads, VQA", (0, 1), 18.0, "raises", 0.9),
        ("contrast of heads, VQA", (4, 2), 8.0, "raises", 0.8),
    ],
)
def test_a_map_shows_heads_in_their_places_on_one_scale(page, title, head, value, kind, strength):
    box = dict(cells(next(chart for name, chart in charts(page) if name == title)))[head][1]
    said = re.search(r": (.*) \[", box.findtext("title"))[1]
    assert float(said.replace("−", "-")) == pytest.approx(value, abs=0.02) and box.get("class") == kind
    assert float(box.get("fill-opacity")) == pytest.approx(strength, abs=0.002)


def test_maps_say_how_far_their_scale_goes_and_heads_their_interval(page):
    assert "<span>−20.00</span><span>0</span><span>20.00</span>" in page
    assert "layer 3, head 2: 12.50 [12.40, 12.70], n = 9" in page


@pytest.mark.parametrize(
    ("section", "title", "line"),
    [
        ("asked", "answered rightly", "tuned 1|VQA|3|10|25.0 % [10.0 %, 50.0 %]"),
        ("overlap", "all sizes, both measures",
         f"{PAIR}|increase|5|4|1.50|p = 0.250|2.50|p = 0.125|2 [2, 2]|0.61 [0.51, 0.81]|4"),
        ("difference", "logit differences, all sizes",
         "tuned 1|VQA|by contrast|random|top 5 of 20|1.13 [1.03, 1.33]|4"),
        ("keys", "key positions, all sizes",
         "tuned 1|VQA|by increase|5|0.310 [0.210, 0.510]|0.320 [0.220, 0.520]|0.420 [0.320, 0.620]|3|"
         "0.380 [0.280, 0.580]|0.340 [0.240, 0.540]|0.35 [0.25, 0.55]|0.36 [0.26, 0.56]|0.37 [0.27, 0.57]|4"),
        ("decoding", "all sizes and conditions",
         "tuned 1|VQA|by increase|5|attention wrote|object|0.510 [0.410, 0.710]|0.520 [0.420, 0.720]|"
         "0.540 [0.440, 0.740]|0.530 [0.430, 0.730]|0.550 [0.450, 0.750]|4"),
        ("knocked", "log-probability and accuracy",
         "tuned 1|VQA|increase|5|mean|2: any heads|−2.11 [−2.21, −1.91]|−2.12 [−2.22, −1.92]|p = 0.111|"
         "−2.13 [−2.23, −1.93]|−2.14 [−2.24, −1.94]|p = 0.411|4"),
        ("knocked", "growth of the base",
         "tuned 1|VQA|5|0.431 [0.331, 0.631]|0.432 [0.332, 0.632]|0.433 [0.333, 0.633]|0.434 [0.334, 0.634]|"
         "0.435 [0.335, 0.635]|0.436 [0.336, 0.636]|0.437 [0.337, 0.637]|0.438 [0.338, 0.638]|0.439 [0.339, 0.639]|4"),
        ("ways", "all ways and layers",
         "tuned 1|VQA|question to last|3–4|−5.11 [−5.21, −4.91]|−5.12 [−5.22, −4.92]|−5.13 [−5.23, −4.93]|4"),
        ("ways", "shallow half less deep half", "tuned 1|VQA|question to last|0.45 [0.35, 0.65]|4"),
    ],
)  # fmt: skip
def test_a_table_has_the_figures_that_are_meant(page, section, title, line):
    assert line.split("|") in table(page, f'aria-labelledby="{section}"', f"<summary>Table: {title}")


def test_a_verdict_has_the_tests_of_every_model_beside_its_part(page):
    """Of the made-up changes, shallow is 1 above deep, and on average 38.5 below half of what it is."""
    beyond = "−38.50 [−74.50, −2.50] against random looks, n = 4"
    assert [
        "facts reach facts in shallow layers", "VQA", f"1.00 [1.00, 1.00] against the deep half, n = 4 {beyond}",
        f"0.46 [0.36, 0.66] against the deep half, n = 4 {beyond}",
    ] in table(page, '<article class="verdict">')  # fmt: skip
