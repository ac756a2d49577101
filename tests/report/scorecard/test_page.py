import base64
import copy
import hashlib
import html
import re

import pytest
from tests.report.scorecard.fake import OPERATORS, fake_scorecard, small_scorecard

from lapilli.report.scorecard import words
from lapilli.report.scorecard.page import render, write_page

TOLD = fake_scorecard()
SMALL = small_scorecard()
PAGE = render(TOLD)


def test_the_losses_are_said_first_with_their_figures():
    best = TOLD["losses"][0]["ours"]
    opening = PAGE[: PAGE.index("What faithfulness costs")]
    assert best in opening
    for loss in TOLD["losses"]:
        assert f"{loss['other']} <strong>+{-loss['difference']:.2f}</strong>" in opening
        assert words.spread(-loss["high"], -loss["low"]) in opening
    text = re.sub(r"<[^>]+>", " ", opening)
    assert text.index("Where ours loses") < text.index("How far others are ahead")


def test_that_none_loses_is_said_too():
    page = render({**SMALL, "losses": [], "best_tests": []})
    assert "None is measurably more faithful than ours." in page
    assert "Where ours loses" not in page


def test_every_figure_of_the_scores_is_on_the_page():
    cells = re.findall(r'<td data-column="[^"]+"[^>]*data-sort="([^"]+)"', PAGE)
    assert sorted(map(float, cells))  # all are numbers
    shown = set(map(float, cells))
    slopes = [score["value"] for score in TOLD["scores"] if score["metric"] == "slope"]
    others = {score["value"] for score in TOLD["scores"] if score["metric"] != "slope"}
    assert slopes and {abs(slope - 1) for slope in slopes} | others <= shown  # sorted by how far from 1
    assert {method["seconds"]["value"] for method in SMALL["methods"]} <= shown


def test_the_front_is_the_scorecards():
    for operator in OPERATORS:
        title = f"Gap under {operator} against seconds per map"
        (said,) = set(re.findall(rf"<title>{title}</title><desc>On the front, fastest first: (.*?)\.</desc>", PAGE))
        assert [part.split(":")[0] for part in said.replace("&#39;", "'").split("; ")] == sorted(
            TOLD["front"][operator],
            key=lambda name: next(m["seconds"]["value"] for m in TOLD["methods"] if m["name"] == name),
        )


def test_how_it_was_measured_is_said():
    measured = PAGE[PAGE.index("How it was measured") :]
    for said in (TOLD["settings"]["target"], TOLD["settings"]["filter"], *OPERATORS.values()):
        assert said.replace("'", "&#39;") in measured
    for count in TOLD["counts"].values():
        assert f"<b>{count}</b>" in measured
    assert all(f"{name} {version}" in measured for name, version in TOLD["settings"]["versions"].items())
    assert measured.count("Invented &amp; Imagined 2026") == len(TOLD["methods"])


@pytest.mark.parametrize("key", SMALL)
def test_any_key_may_be_missing(key):
    assert "</html>" in render({name: value for name, value in SMALL.items() if name != key})


@pytest.mark.parametrize(
    "where",
    ["methods", "metrics", "scores", "tests", "best", "best_tests", "losses", "agreement", "sanity", "examples"],
)
def test_any_list_may_be_empty(where):
    assert "</html>" in render({**SMALL, where: []})


@pytest.mark.parametrize(
    "key", ["family", "says", "paper", "ours", "operators", "seconds", "forwards", "backwards", "memory"]
)
def test_a_method_needs_no_more_than_its_name(key):
    methods = [{name: value for name, value in method.items() if name != key} for method in SMALL["methods"]]
    assert "</html>" in render({**SMALL, "methods": methods})


def test_a_scorecard_of_nothing_is_a_page():
    assert "None of our own methods was scored." in render({})


def test_without_masks_there_is_no_plausibility():
    scores = [score for score in SMALL["scores"] if score["operator"]]
    page = render(
        {**SMALL, "scores": scores, "agreement": [row for row in SMALL["agreement"] if row["one"] in OPERATORS]}
    )
    assert "plausibility, no removal" not in page and "what a person would mark" not in page
    assert "plausibility, no removal" in PAGE and "what a person would mark" in PAGE


def test_one_operator_needs_no_switch():
    scores = [score for score in SMALL["scores"] if score["operator"] in (None, "blur")]
    settings = {**SMALL["settings"], "operators": SMALL["settings"]["operators"][:1]}
    page = render({**SMALL, "scores": scores, "settings": settings, "agreement": []})
    assert '<fieldset class="operators">' not in page
    assert '<fieldset class="operators">' in PAGE


def hostile(value, harm):
    if isinstance(value, dict):
        names = ("metric", "name", "test", "operator", "method", "primary")  # those that others refer to
        return {
            key: said if key in names and isinstance(said, str) else hostile(said, harm) for key, said in value.items()
        }
    if isinstance(value, list):
        return [hostile(item, harm) for item in value]
    return value + harm if isinstance(value, str) and not value.startswith("data:") else value


def renamed(told, harm):
    """The method's and the operator's own names made hostile wherever they stand."""
    said = copy.deepcopy(told)
    for rows, keys in (
        ("methods", ("name",)), ("scores", ("method", "operator")), ("sanity", ("method", "test")),
        ("sanity_tests", ("name",)),
    ):  # fmt: skip
        for row in said[rows]:
            row.update({key: row[key] + harm for key in keys if row[key]})
    for row in said["methods"]:
        row["operators"] = [name + harm for name in row["operators"]]
    for row in said["settings"]["operators"]:
        row["name"] += harm
    said["settings"]["primary"] += harm
    for key in ("curves", "front"):
        said[key] = {name + harm: value for name, value in said[key].items()}
    return said


@pytest.mark.parametrize("harm", ["<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "</style><b>"])
def test_all_text_stays_text(harm):
    for page in (render(hostile(SMALL, harm)), render(renamed(SMALL, harm))):
        assert harm not in page
        assert harm.replace("<", "&lt;").replace(">", "&gt;").replace('"', "&#34;") in page


def test_a_picture_that_is_no_picture_writes_no_rule():
    told = copy.deepcopy(SMALL)
    told["examples"][0]["picture"] = 'x"){}body{display:none}'
    assert "body{display:none}" not in render(told)


def test_it_stays_below_three_megabytes_and_asks_for_nothing():
    fine = render(fake_scorecard(2, "fine", (24, 24)))
    assert max(len(PAGE.encode()), len(fine.encode())) < 3_000_000
    for page in (PAGE, fine):
        assert not re.search(r'(?:src|href)="(?!data:|#)', page) and "@import" not in page
        assert all(found.startswith("data:") for found in re.findall(r'url\("([^"]*)', page))


def test_of_few_questions_intervals_are_said_to_be_too_narrow():
    pages = [render({**SMALL, "counts": {"kept": kept}}) for kept in (29, 30)]
    assert ["intervals are too narrow" in page for page in pages] == [True, False]
    assert [bool(words.narrow(60, compared)) for compared in (29, 30, None)] == [True, False, False]


def test_of_an_older_scorecard_no_loss_is_told():
    """Its best was chosen on the questions that its losses are of."""
    page = render({key: value for key, value in SMALL.items() if key not in ("best", "best_tests")})
    assert words.OLDER in html.unescape(page) and "Where ours loses" not in page and TOLD["losses"]


def test_two_models_have_a_part_each_and_one_between_them():
    page = render([SMALL, {**SMALL, "model": "the other model"}])
    assert "Do both scorecards say the same?" in page and "Do both scorecards say the same?" not in PAGE
    assert page.count("What faithfulness costs") == 2
    assert page.count("<h1") == 1
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_the_file_is_the_page(tmp_path):
    write_page(TOLD, tmp_path / "scorecard.html")
    assert (tmp_path / "scorecard.html").read_text(encoding="utf-8") == PAGE


def test_the_policy_names_exactly_the_script_and_fetches_nothing():
    (said,) = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]+)"', PAGE)
    (script,) = re.findall(r"<script[^>]*>(.*?)</script>", PAGE, re.DOTALL)
    policy = html.unescape(said)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert "img-src data:;" in policy and "http" not in policy
