"""The page of a comparison: what it says first, and that it is one file in which text stays text."""

import copy
import re

from tests.studies.compare import made

from lapilli.report.compare import story
from lapilli.report.compare.page import render, write_page
from lapilli.studies.compare.settings import RESULT


def planted():
    return made.planted().load(RESULT)


def test_it_says_first_what_changed_most_where_and_beyond_which_floor():
    result = planted()
    assert story.headline(result).startswith("Most changed: ")
    assert re.search(r"at (layer [2-4]|the last norm)$", story.headline(result))
    words = " ".join(story.opening(result))
    assert "Beyond the base run again, by these neighbors: the last token with the picture, " in words
    assert "the mean of the image tokens, " in words and "(layer 2 to last norm)" in words
    assert f"layer {made.PLANTED} changed most" in words and "100\u202f% of redrawn samples" in words
    assert re.search(r"n = \d\d", words) and "shuffled" in words


def test_of_a_model_beside_itself_it_says_that_nothing_has_changed():
    result = made.identical().load(RESULT)
    assert story.headline(result) == "No change beyond what running the base again gives"
    words = " ".join(story.opening(result))
    assert "No layer itself has changed" in words and "weights of the layers are the same" in words
    assert "Beyond the base run again, by these neighbors: nowhere." in words and "is open" in words


def test_a_change_that_no_floor_of_seeds_lets_through_is_not_claimed():
    result = planted()
    for verdict in result["verdicts"]:
        if verdict["floor"] == "floor":
            verdict["beyond"] = []
    assert story.headline(result) == "The tuning changed no more than another seed does"


def test_sites_in_a_row_are_a_range():
    result = {"sites": ["embeddings", "layer 0", "layer 1", "layer 2", "last norm"]}
    assert story.sites(result, [0, 2, 3]) == "embeddings, layer 1 to layer 2"
    assert story.sites(result, []) == "" and story.sites(result, [4]) == "last norm"


def test_every_verdict_has_n_band_and_null():
    rows = list(story.rows(planted()))
    assert len(rows) == len(story.PLACES) * len(story.MEASURES)
    page = render(planted())
    for row in rows:
        assert row["n"] and "[" in row["change"] and row["shuffled"] != "–"
        for floor in row["floors"].values():
            assert "[" in floor["value"] and floor["beyond"]
        assert row["change"] in page


def test_text_of_a_result_is_no_markup(tmp_path):
    result = copy.deepcopy(planted())
    evil = "</title><script>alert(1)</script>"
    for model in result["models"].values():
        model["label"] = evil
    result["settings"]["data"] = result["models"]["again"]["dtype"] = evil
    result["weights"]["change"]["outside"][0]["name"] = evil
    result["weights"]["change"]["parts"][0]["part"] = evil
    result["sites"] = [f"{site}{evil}" for site in result["sites"]]
    write_page(result, tmp_path / "compare.html")
    page = (tmp_path / "compare.html").read_text()
    assert "<script" not in page and "alert(1)" in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page


def test_without_a_second_tuning_the_page_says_that_seeds_are_not_known():
    result = planted()
    result["pairs"] = {name: pair for name, pair in result["pairs"].items() if name != "floor"}
    result["verdicts"] = [one for one in result["verdicts"] if one["floor"] != "floor"]
    for one in result["profiles"] + result["local"]:
        one["curves"].pop("floor", None)
    del result["models"]["floor"], result["weights"]["floor"]
    page = render(result)
    assert "No second tuning was given" in page and "two tunings" not in page.lower()
