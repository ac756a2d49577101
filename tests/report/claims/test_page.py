"""The page of claims: what is refuted comes first, every figure is beside its range, and text stays text."""

import re
from dataclasses import asdict

import numpy as np
import pytest
from markupsafe import escape
from tests.studies.claims.made import N, evidence
from tests.studies.flow import made as made_flow

from lapilli.core.plain import plain
from lapilli.report.claims.page import render, write_page
from lapilli.report.claims.story import bounds, headline, lines
from lapilli.studies.claims.claim import LEVEL, finding_of
from lapilli.studies.claims.study import CLAIMS, DRAWN, ELSEWHERE

SHARES = 0.7 ** np.arange(24) / (0.7 ** np.arange(24)).sum()


@pytest.fixture(scope="module")
def result():
    """What the study saves of a tuning whose shallow layers have the gain."""
    made = evidence(SHARES)
    findings = [asdict(finding_of(claim, made, LEVEL / len(CLAIMS))) for claim in CLAIMS]
    drawn = made_flow.result(SHARES)
    flow = {name: drawn[name] for name in DRAWN}
    settings = {"samples": N, "level": LEVEL, "claims": len(CLAIMS), "depth": 24}
    models = {role: {"label": f"<{role}>"} for role in ("base", "tuned")}
    return plain({"models": models, "settings": settings, "claims": findings, "elsewhere": ELSEWHERE, "flow": flow})


def test_what_is_refuted_comes_first(result):
    said = list(lines(result))
    assert len(said) == len(CLAIMS)
    order = [line.partition(":")[0] for line in said]
    assert order == sorted(order, key=["refuted", "supported", "not decided", "not tested"].index)
    assert said[0].startswith("refuted: ")
    page = render(result)
    assert page.index("<h2>Refuted</h2>") < page.index("<h2>Supported</h2>")


def test_the_headline_counts_every_claim_once(result):
    assert headline(result).startswith(f"{len(CLAIMS)} claims: ")
    assert sum(map(int, re.findall(r"(\d+) (?:refuted|supported|not)", headline(result)))) == len(CLAIMS)


def test_every_figure_has_its_range_its_interval_and_a_drawing(result):
    page = render(result)
    for claim in result["claims"]:
        assert escape(claim["says"]) in page
        assert escape(claim["why"] if claim["verdict"] == "untested" else bounds(claim)) in page
    drawn = [claim for claim in result["claims"] if claim["verdict"] != "untested"]
    before, _, depths = page.partition("<h2>Where the picture is read</h2>")
    assert before.count("<svg") - page.count('class="brand-mark"') == len(drawn)
    assert depths.count("<figcaption>") == 6 and depths.count("<svg") == 6 + 5  # charts, and what the legend shows
    assert "about the same list" not in page and "Not tested here" in page


def test_text_stays_text_and_nothing_is_fetched(result, tmp_path):
    write_page(result, tmp_path / "claims.html")
    page = (tmp_path / "claims.html").read_text()
    assert "<base>" not in page and "&lt;base&gt;" in page
    assert not re.search(r'(?:src|href)="https?:', page)


@pytest.mark.parametrize(
    ("least", "most", "words"), [(0.9, None, "at least 0.9"), (None, 0.3, "at most 0.3"), (0.15, 0.55, "0.15 to 0.55")]
)
def test_ranges_in_words(least, most, words):
    assert bounds({"least": least, "most": most}) == words
