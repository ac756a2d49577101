"""The page of a patching study: what it says first, and that it is one file in which text stays text."""

import copy
import html
import re

from tests.studies.compare.made import LAYERS, PLANTED
from tests.studies.patch import made

from lapilli.report.patch import charts, story
from lapilli.report.patch.page import render, write_page
from lapilli.studies.patch.settings import RESULT


def planted():
    return copy.deepcopy(made.planted().load(RESULT))


def with_random(result, share):
    """The result, had the random changes this share of the gain everywhere, less surely so."""
    for one in result["exchanges"]:
        if one["source"] == "random":
            true = story.exchange(result, one["target"], story.WAYS[one["target"]][0], (one["kind"], one["readout"]))
            for index, number in enumerate(one["numbers"]):
                values = {"value": share, "low": share - 0.1, "high": share + 0.1}
                for name, value in values.items():
                    one["share"][name][index] = value
                    one["beyond"][name][index] = true["share"][name][number] and true["share"][name][number] - value
    return result


def test_it_says_first_which_layers_bring_the_gain_back_beside_random_changes():
    result = with_random(planted(), 0.1)
    assert story.headline(result) == f"Layers 0 to {PLANTED} bring half of the gain back"
    words = " ".join(story.opening(result))
    assert f"half of the gain is back with layers 0 to {PLANTED} (layer {PLANTED} to layer {PLANTED} in" in words
    assert "All layers, put into the base alone, brought back 100\u202f% [100, 100]; random changes" in words
    assert "random changes of the same size 10\u202f% [0, 20], another seed's tuning 100\u202f% [100, 100]" in words
    assert f"whatever order they are put in, layer {PLANTED}, 100\u202f% [100, 100], has most" in words
    assert "The connector, put into the base alone, brought back 0\u202f% [0, 0]" in words


def test_what_random_changes_do_too_is_not_claimed():
    assert story.headline(with_random(planted(), 1.5)) == "No part brings more back than random changes do"


def test_a_part_that_brings_more_than_the_layers_is_named():
    result = with_random(planted(), 0.1)
    one = story.exchange(result, "base", "tuned")
    for column in ("value", "low", "high"):
        for window in result["windows"]:
            one["share"][column][window["at"]] = 0.2
        one["share"][column][result["parts"]["connector"]] = 0.9
    one["half"]["value"] = LAYERS
    random = story.exchange(result, "base", "random")
    random["beyond"]["low"][random["numbers"].index(result["parts"]["connector"])] = 0.7
    assert story.headline(result) == "The connector alone brings 90\u202f% of the gain back"
    assert "no number of layers brings half of the gain back" in " ".join(story.opening(result))


def test_a_window_that_does_no_more_than_random_changes_is_not_the_headline():
    result = with_random(planted(), 0.1)
    random = story.exchange(result, "base", "random")
    for stop in range(1, LAYERS):
        random["beyond"]["low"][random["numbers"].index(story.window_at(result, 0, stop))] = -0.1
    words = f"All layers bring more back than random changes do, layers 0 to {PLANTED} no more"
    assert story.headline(result) == words


def test_a_loss_is_no_gain():
    result = planted()
    story.score(result, story.MAIN)["gain"].update({"value": -1.2, "low": -2.0, "high": -0.5})
    assert story.headline(result) == "There is no gain to bring back"
    assert "brought back" not in " ".join(story.opening(result))


def test_without_a_gain_it_says_so_and_shows_no_share():
    result = made.identical().load(RESULT)
    assert story.headline(result) == "There is no gain to bring back"
    assert "Its interval is not above 0, so there is no gain to recover." in story.opening(result)[0]
    page = render(result)
    assert "Every window" not in page and "No gain to recover: " in page and "No second tuning was given" in page


def test_windows_below_both_models_are_counted_and_the_worst_named():
    result = planted()
    for test in result["tests"]:
        if test["test"] == "interference":
            test |= {"holm": 1.0}
    assert "No window of layers ends below" in " ".join(story.opening(result))
    chosen = next(test for test in result["tests"] if test["test"] == "interference" and test["start"] == 1)
    chosen |= {"value": -3.0, "low": -4.0, "high": -2.0, "holm": 0.001, "above": 40, "below": 12}
    assert "No window of layers ends below" in " ".join(story.opening(result))  # few samples far below, most above
    chosen |= {"above": 12, "below": 40}
    assert "made of layers that do not fit: 1 hybrid. Furthest is" in " ".join(story.opening(result))
    assert "by −3.00 [−4.00, −2.00] nats" in " ".join(story.opening(result))


def test_every_share_in_a_table_has_its_interval_and_its_controls():
    result = planted()
    rows = list(story.part_rows(result, story.MAIN))
    assert len(rows) == 2 * len(story.PARTS)
    for row in rows:
        assert "[" in row["share"] and len(row["controls"]) == 3 and row["n"] == 52
        assert all("[" in control for control in row["controls"])
    assert len(list(story.gain_rows(result))) == 15


def test_parts_of_layers_have_their_controls_but_halves_of_the_mlp():
    result = planted()
    rows = list(story.within_rows(result, story.MAIN))
    assert len(rows) == 2 * 2 * len(story.WITHIN)
    for row in rows:
        controlled = [control != story.NONE for control in row["controls"]]
        assert "[" in row["share"] and controlled == [not row["part"].endswith("of the MLP")] * 3
    page = render(result)
    assert "the shallow half, at image tokens" in page and "all layers, the norms" in page
    words = " ".join(story.opening(result))
    assert "The shallow half of the tuned layers, put into the base at image tokens alone, brought back" in words


def test_what_another_picture_leaves_is_beside_the_own_and_said_first():
    result = planted()
    rows = list(story.seeing_rows(result))
    assert len(rows) == 2 * len(story.PARTS)
    assert all("[" in row[name] for row in rows for name in ("own", "other", "seeing"))
    one = next(one for one in result["seeing"] if (one["target"], one["readout"]) == ("base", "content"))
    at = one["numbers"].index(result["parts"]["all"])
    for name, values in {"own": (2.0, 1.0, 3.0), "other": (-1.0, -2.0, 0.0), "seeing": (3.0, 2.0, 4.0)}.items():
        for column, value in zip(("value", "low", "high"), values, strict=True):
            one[name][column][at] = value
    words = " ".join(story.opening(result))
    assert "With its own picture the right answer gained 2.00 [1.00, 3.00] nats, with another's" in words
    assert "−1.00 [−2.00, 0.00] (n = " in words and "the difference, 3.00 [2.00, 4.00], is seeing" in words
    result["seeing"] = []
    assert "is seeing" not in " ".join(story.opening(result)) and "With another's picture" not in render(result)


def uncontrolled():
    """Half is back with so many layers that controls were not run of, as at all but the ends of blocks."""
    result = with_random(planted(), 0.1)
    at = story.window_at(result, 0, PLANTED + 1)
    for one in result["exchanges"]:
        if one["source"] in story.CONTROLS and at in one["numbers"]:
            gone = one["numbers"].index(at)
            one["numbers"] = [number for number in one["numbers"] if number != at]
            for column in ("share", "beyond", "score"):
                for values in one[column].values():
                    del values[gone]
    return result


def test_of_a_deep_model_the_next_layers_beside_controls_are_named():
    """In the headline too: those are the ones that were tested."""
    result = uncontrolled()
    assert story.headline(result) == f"Layers 0 to {PLANTED + 1} bring half of the gain back"
    words = " ".join(story.opening(result))
    assert f"half of the gain is back with layers 0 to {PLANTED} (" in words
    assert f"; layers 0 to {PLANTED + 1}, which controls were run of: 100" in words
    assert str(charts.cumulative_chart(result, "base", story.MAIN, True)).count(story.CONTROLS["random"])


def test_of_a_deep_model_the_layers_that_do_no_more_than_random_changes_are_the_tested_ones():
    result = uncontrolled()
    random = story.exchange(result, "base", "random")
    random["beyond"]["low"][random["numbers"].index(story.window_at(result, 0, PLANTED + 2))] = -0.1
    words = f"All layers bring more back than random changes do, layers 0 to {PLANTED + 1} no more"
    assert story.headline(result) == words


def test_the_map_has_a_cell_for_every_window_and_none_below_the_diagonal():
    result = planted()
    drawn = str(charts.windows_map(result, "base", story.MAIN))
    assert drawn.count("first layer") == LAYERS * (LAYERS + 1) // 2
    assert f"first layer {PLANTED}, last layer {PLANTED}: 1.00" in drawn and "first layer 3, last layer 1" not in drawn


def test_curves_begin_at_the_target_and_have_their_controls():
    result = planted()
    drawn = html.unescape(str(charts.cumulative_chart(result, "base", story.MAIN, True)))
    for name in ("the true parts", *story.CONTROLS.values()):
        assert f"{name}, layer {LAYERS}" in drawn
    assert re.search(rf"the true parts, layer {PLANTED + 1}: 100\u202f% \[100\u202f%, 100\u202f%\]", drawn)


def test_text_of_a_result_is_no_markup(tmp_path):
    result = planted()
    evil = "</title><script>alert(1)</script>"
    for model in result["models"].values():
        model["label"] = evil
    result["settings"]["data"] = evil
    write_page(result, tmp_path / "patch.html")
    page = (tmp_path / "patch.html").read_text()
    assert "<script" not in page and "alert(1)" in page
    assert "http://" not in page.replace("http://www.w3.org", "") and "https://" not in page


def test_what_was_said_is_shown_as_text():
    result = planted()
    figure = {"estimate": 0.5, "low": 0.4, "high": 0.6, "correct": 26, "n": 52}
    share = {"value": 0.62, "low": 0.42, "high": 0.79, "n": 52}
    one = {
        "target": "base", "source": "tuned", "at": result["parts"]["layers"], "right": figure, "share": share,
        "gained": 9, "lost": 2, "p": 0.06, "holm": 0.31, "words": 1.25, "no_answer": figure, "unfinished": figure,
    }  # fmt: skip
    example = {
        "question": "<script>q</script>",
        "answer": "<b>",
        "base": "<i>no",
        "tuned": "&",
        "connector": "c",
        "layers": "l",
    }
    random = {**one, "source": "random-0", "share": {**share, "value": 0.07, "low": -0.01, "high": 0.15}, "holm": None}
    result["generated"] = {"n": 52, "longest": 32, "tests": 1, "hybrids": [one, random], "examples": [example]}
    page = render(result)
    text = html.unescape(re.sub(r"<[^>]+>", " ", page))
    assert "<script>q" not in page and "&lt;script&gt;q&lt;/script&gt;" in page and "&lt;i&gt;no" in page
    assert re.search(
        r"all layers\s+50\u202f% \[40, 60\]\s+62\u202f% \[42, 79\]\s+7\u202f% \[−1, 15\]\s+\+9, −2\s+0.310\s+1.2", text
    )
    assert "In their own words" in page and "In their own words" not in render(planted())
