import pytest
from tests.report.quickstart.fake_results import overall

from lapilli.core.statistics.proportion import newcombe, wilson
from lapilli.report.quickstart import story


def score(type_, correct, n=200, condition="image", stage="instruct", split="held_out"):
    keys = {"stage": stage, "split": split, "condition": condition, "type": type_}
    return {**keys, **wilson(correct, n).__dict__}


def board(*scores, constants=()):
    bare = {"title": "", "seed": 0, "seconds": 0.0}
    return story.scoreboard({**bare, "scores": scores, "overall": overall(scores), "constants": constants})


def always(type_, estimate, answer="yes", n=200):
    return {"split": "held_out", "type": type_, "answer": answer, "estimate": estimate, "n": n}


def titles(found):
    return [finding.title for finding in story.findings(found)]


@pytest.mark.parametrize(
    ("first", "second", "low", "high"),
    [((56, 70), (48, 80), 0.0524, 0.3339), ((9, 10), (3, 10), 0.1705, 0.8090), ((10, 10), (0, 10), 0.6075, 1.0)],
)
def test_the_interval_of_a_difference_is_that_of_newcombes_table(first, second, low, high):
    change = newcombe(wilson(*first), wilson(*second))
    assert change.estimate == pytest.approx(first[0] / first[1] - second[0] / second[1])
    assert (change.low, change.high) == pytest.approx((low, high), abs=1e-4)


def test_the_differences_are_those_between_the_scores():
    """One type, of both splits: against blank and stage 1, and the new combinations against the new pictures."""
    rows = [
        score("color", 90, 100), score("color", 20, 100, "blank"), score("color", 50, 100, stage="align"),
        score("color", 80, 100, split="compositional"),
    ]  # fmt: skip
    gain = {"estimate": 0.6, "low": 0.5, "high": 0.7}
    captions = {"n": 20, "mentioned": wilson(40, 50).__dict__, "shuffled": wilson(10, 50).__dict__, "gain": gain}
    made = {"title": "", "seed": 0, "seconds": 0.0, "scores": rows, "overall": overall(rows), "captions": captions}
    found = list(story.differences(made))
    expected = {
        ("held_out", "blank"): (wilson(90, 100), wilson(20, 100)),
        ("held_out", "stage 1"): (wilson(90, 100), wilson(50, 100)),
        ("compositional", "new pictures"): (wilson(80, 100), wilson(90, 100)),
    }
    for kind in ("color", "all"):
        changes = {(row["split"], row["against"]): row for row in found if row["type"] == kind}
        assert changes.keys() == expected.keys()
        for key, (first, second) in expected.items():
            change = newcombe(first, second)
            assert [changes[key][name] for name in ("estimate", "low", "high")] == [
                change.estimate,
                change.low,
                change.high,
            ]
    assert found[-1] == {"split": "held_out", "type": "colors in captions", "against": "another picture", **gain}


def test_the_overall_score_is_the_one_that_knows_which_questions_share_a_picture():
    """Pooling the types would take them for independent: its interval is narrower."""
    rows = [score("color", 90, 100), score("shape", 10, 300)]
    whole = overall(rows)[0] | {"low": 0.1, "high": 0.5}
    found = story.scoreboard({"title": "", "seed": 0, "seconds": 0.0, "scores": rows, "overall": [whole]})
    assert found.overall("held_out") == story.proportion(whole)
    assert story.scoreboard({"title": "", "seed": 0, "seconds": 0.0, "scores": rows}).overall("held_out") is None


def test_a_control_that_was_not_asked_everything_has_no_overall_score():
    found = board(score("color", 90), score("shape", 90), score("color", 10, condition="blank"))
    assert found.overall("held_out", "blank") is None
    assert story.headline(found).verdict == "untested"


def test_what_was_never_asked_is_no_score():
    assert board(score("color", 0, 0)).splits == []


def test_the_best_constant_weighs_the_types_by_their_questions():
    found = board(
        score("color", 50, 100), score("shape", 50, 300), constants=[always("color", 0.4), always("shape", 0.2)]
    )
    assert found.best_constant("held_out") == pytest.approx(0.25)
    assert board(score("color", 50)).best_constant("held_out") is None


@pytest.mark.parametrize(
    ("blank", "swapped", "verdict"),
    [(40, 40, "sees"), (40, 148, "blind"), (150, None, "blind"), (None, None, "untested")],
)
def test_it_sees_only_when_the_picture_beats_every_control_there_is(blank, swapped, verdict):
    controls = [("blank", blank), ("swapped", swapped)]
    rows = [score("color", correct, condition=name) for name, correct in controls if correct is not None]
    assert story.headline(board(score("color", 150), *rows)).verdict == verdict


def test_without_scores_it_is_only_built():
    assert story.headline(board()).verdict == "built"
    assert story.findings(board()) == []


def test_a_type_where_looking_does_not_help_is_named_and_others_are_not():
    found = board(
        score("color", 180), score("color", 40, condition="blank"),
        score("reading", 22), score("reading", 20, condition="blank"),
    )  # fmt: skip
    assert "Looking is not shown to help with reading" in titles(found)


def test_gains_that_so_few_questions_cannot_show_are_not_called_none():
    """12 of 20 against 7, and against one answer that gets half: both may well be gains."""
    few = board(
        score("spatial", 12, n=20), score("spatial", 7, n=20, condition="blank"), constants=[always("spatial", 0.5)]
    )
    assert {
        "Looking is not shown to help with spatial",
        "Not shown to beat one fixed answer on spatial",
    } <= {*titles(few)}


def test_a_type_that_one_fixed_answer_does_as_well_is_named_with_that_answer():
    found = board(score("existence", 104), score("color", 180), constants=[always("existence", 0.5)])
    finding = next(finding for finding in story.findings(found) if "fixed answer" in finding.title)
    assert finding.title.endswith("on existence")
    assert "“yes”" in finding.words


@pytest.mark.parametrize(
    ("correct", "title"),
    [
        (100, "It loses on combinations it never met"),
        (175, "New combinations cost it nothing that these questions can show"),
    ],
)
def test_new_combinations_are_compared_with_new_pictures(correct, title):
    assert title in titles(board(score("color", 180), score("color", correct, split="compositional")))


def test_what_the_second_stage_spoiled_is_said():
    found = board(score("color", 180, stage="align"), score("color", 90))
    assert "The second stage made color worse" in titles(found)
