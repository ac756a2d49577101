"""Figures of made-up rows whose means, differences and ranks are known."""

import numpy as np
import pytest
from tests.studies.color import fabricated
from tests.studies.color.fabricated import K


@pytest.fixture
def result():
    return fabricated.result()


def _one(rows, **said):
    (found,) = (row for row in rows if all(row[name] == value for name, value in said.items()))
    return found


def _numbers(figure):
    return figure["value"], figure["low"], figure["high"]


def test_heads_are_compared_on_what_all_answer_rightly(result):
    assert result["counts"] == {"asked": 10, "kept": 9, "choosing": 5, "measuring": 4}
    right = {(row["model"], row["condition"]): row["correct"] for row in result["accuracy"]}
    assert right["base", "TQA-base"] == 9 and right["tuned 1", "VQA"] == 10


def test_tables_have_intervals_around_their_means(result):
    table = _one(result["tables"], model="tuned 1", condition="VQA", measure="increase")
    value, low, high = (np.array(table[name]) for name in ("value", "low", "high"))
    assert value.ravel()[[0, 1, 2, 3, 9]] == pytest.approx([10, 9, 8, 7, 6], abs=0.02)
    assert (low <= value).all() and (value <= high).all() and (high - low).max() < 0.05 and table["n"] == 9


def test_overlaps_are_those_of_the_planted_heads(result):
    base = {"model": "base", "condition": "TQA-base"}
    for label, shared in (("tuned 1", 4), ("tuned 2", 3)):
        row = _one(
            result["overlaps"], one=base, other={"model": label, "condition": "TQA-tuned"}, measure="increase", k=K
        )
        assert row["value"] == row["observed"] == shared and shared - 1 <= row["low"] <= shared <= row["high"]
        assert row["chance"] == pytest.approx(1.25)
    seeds = _one(result["overlaps"], kind="seeds", one={"model": "tuned 1", "condition": "VQA"}, measure="direct", k=2)
    assert seeds["value"] == 2 and seeds["p"] == pytest.approx(1 / 190)
    kinds = [row["kind"] for row in result["overlaps"] if row["k"] == K and row["measure"] == "contrast"]
    assert sorted(kinds) == sorted(["tuning", "modality", "both", "prior"] * 2 + ["seeds"] * 2)


def test_differences_are_sums_over_the_top_heads(result):
    row = _one(
        result["differences"], model="tuned 1", condition="VQA", readout=f"top {K}", against="random", of="contrast"
    )
    assert row["value"] == pytest.approx(
        40, abs=0.1
    )  # the layers are turned round: the same heads' parts are elsewhere
    best = _one(result["differences"], model="tuned 1", condition="VQA", readout="top 1", against="best", of="contrast")
    assert best["value"] == pytest.approx(5, abs=0.1)
    assert _one(result["differences"], model="base", readout="model", against="best", of="increase")["value"] == 3


def test_key_figures_are_means_over_heads_and_drops_are_paired(result):
    for k, factor in ((1, 2.0), (2, 1.5), (5, 1.2)):
        row = _one(result["keys"], model="tuned 2", condition="VQA", k=k, of="increase")
        assert _numbers(row["same"]) == pytest.approx([0.4 * factor] * 3)
        assert _numbers(row["drop"]) == pytest.approx([0.3 * factor] * 3)
        assert _numbers(row["drop_beyond"]) == pytest.approx([0.2 * factor] * 3)
        assert (row["same"]["n"], row["drop"]["n"]) == (4, 3)  # one question has nothing else to ask about
        assert row["asked_beyond"]["value"] == pytest.approx(0.3 * factor)
        other = _one(result["keys"], model="tuned 2", condition="VQA", k=k, of="contrast")
        assert other["same"]["value"] == pytest.approx(0.2 * factor)


def test_reciprocal_ranks_stand_beside_both_nulls(result):
    row = _one(result["decoding"], model="tuned 1", condition="VQA", k=1, of="increase", readout="wrote", word="color")
    assert [row[name]["value"] for name in ("key", "random", "label")] == pytest.approx([0.5, 0.25, 0.125])
    assert [row[f"above_{name}"]["low"] for name in ("random", "label")] == pytest.approx([0.25, 0.375])


def test_knocked_sets_stand_beside_random_ones(result):
    row = _one(result["knocked"], model="tuned 1", condition="VQA", of="base", k=K, how="mean", null="any")
    assert row["log_prob"]["value"] == -3 and row["log_prob_p"] == pytest.approx(1 / 21) == row["least_p"]
    assert _numbers(row["log_prob_beyond"]) == pytest.approx([-2] * 3) and len(row["log_prob_sets"]) == 20
    assert row["right"]["value"] == -0.5 and row["right_p"] == 1  # every random set costs more answers


def test_ways_and_halves_are_differences_of_the_same_questions(result):
    here = {"model": "base", "condition": "TQA-base", "way": "facts->last"}
    shallow, deep = (_one(result["ways"], **here, span=kind) for kind in ("shallow", "deep"))
    assert _one(result["halves"], **here)["value"] == pytest.approx(
        shallow["change"]["value"] - deep["change"]["value"]
    )
    assert _numbers(_one(result["halves"], **here)) == pytest.approx([1] * 3)  # the same of every question
    assert shallow["beyond"]["value"] == pytest.approx(shallow["change"]["value"] / 2)
    assert shallow["layers"] == [0, 2] and deep["layers"] == [3, 5]
    assert "random" not in next(row for row in result["ways"] if row["span"] == "window")


def test_growth_is_of_the_heads_of_the_base(result):
    """Head 4 of the base, with 6, is nothing in the first tuned model: 40 in five heads become 34."""
    row = _one(result["growth"], model="tuned 1", condition="TQA-tuned", k=K)
    for way, part in (("", 1), ("certain_", 2), ("wide_", 4)):  # the measures are whole, halves and quarters
        assert row[f"{way}top"]["value"] == pytest.approx(-6 / 5 / part, abs=0.05)
        assert row[f"{way}others"]["value"] == pytest.approx(6 / 15 / part, abs=0.05)  # head 9 has grown
        assert row[f"{way}beyond"]["value"] == pytest.approx(-1.6 / part, abs=0.05)


def test_the_papers_figures_stand_beside_those_that_are_like_them(result):
    rows = {row["says"]: row for row in result["beside_paper"]}
    shared = rows["top 10 heads shared before and after tuning, on text"]
    (own, _) = shared["measured"]
    base = _one(result["overlaps"], kind="tuning", other={"model": "tuned 1", "condition": "TQA-tuned"},
                measure="increase", k=10)  # fmt: skip
    assert (shared["paper"], shared["chance"]) == (8, pytest.approx(100 / 1024))
    assert (own["model"], own["value"], own["chance"]) == ("tuned 1", base["observed"], pytest.approx(5))
    read = rows["mean reciprocal rank of the color by the input embeddings, key patches"]["measured"][0]
    assert (read["value"], read["chance"]) == pytest.approx((0.3, 0.15))  # of five heads, the first twice as much
    looked = rows["attention at key positions, VQA, asked about another thing"]["measured"][1]
    assert looked["value"] == pytest.approx(0.12) and looked["chance"] == pytest.approx(0.024)
