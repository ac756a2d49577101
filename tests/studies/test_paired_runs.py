"""Two evaluations of the same questions: by hand, under a null, and where they do not belong together."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest

from lapilli.core.errors import LapilliError
from lapilli.core.run import RunDir
from lapilli.core.statistics.multiple import holm
from lapilli.studies import paired_runs
from lapilli.studies.paired_runs import Answer, Question, compare_runs, is_evaluation

PIXEL = "data:image/jpeg;base64,/9j/4AAQSkZJRgABAQAAAQABAAD="


def row(at, right, condition="image", kind="color", split="", image=None, benchmark="mine.csv"):
    question = {"id": str(at), "question": f"What is {at}?", "image": f"{at}.png" if image is None else image}
    question |= {"type": kind, "answers": ["red"]} | ({"split": split} if split else {})
    answer = {"benchmark": benchmark, "condition": condition, "question": question, "prompt": "?"}
    text = "red" if right else "blue"
    return answer | {"given": text, "normalised": text, "right": right, "expected": ["red"]}


def evaluation(folder, rows, pictures=(), drawn=None, **recipe):
    of = {"model": "a", "benches": ["mine.csv"], "data": str(folder), "inputs": {"mine.csv": "same"}} | recipe
    saved = RunDir.create(folder, of, 0)
    saved.save("answers", rows)
    saved.save("pictures", list(pictures))
    if drawn:
        saved.save("questions", drawn)
    saved.finish()
    return folder


def pair(tmp_path, first, second, **more):
    return (evaluation(tmp_path / "a", first, **more), evaluation(tmp_path / "b", second))


def by_type(compared):
    return {of.type: of for of in compared.types}


def test_the_difference_of_each_type_is_that_by_hand_with_mcnemar_s_test(tmp_path):
    first = [row(at, at < 9) for at in range(10)] + [row(at, True, kind="place") for at in range(10, 14)]
    second = [row(at, at < 2 or at == 9) for at in range(10)] + [row(at, True, kind="place") for at in range(10, 14)]
    compared = compare_runs(*pair(tmp_path, first, second))
    types = by_type(compared)
    assert list(types) == ["color", "place", "all"]
    color, place, every = types.values()
    assert (color.first, color.second, color.compared.difference) == (0.9, 0.3, pytest.approx(0.6))
    assert (color.compared.first_only, color.compared.second_only, color.compared.n) == (7, 1, 10)
    assert color.compared.p == pytest.approx(binomtest(7, 8).pvalue) and color.compared.test == "McNemar, exact"
    assert (place.compared.difference, place.compared.p) == (0, 1)
    assert every.compared.difference == pytest.approx(6 / 14)
    p = [of.compared.p for of in compared.types]
    assert [of.compared.p_holm for of in compared.types] == holm(p) == pytest.approx([3 * p[0], 1, 3 * p[0]])
    assert len(compared.changed) == 8 and compared.reworded == 0


def test_in_the_other_order_the_signs_change_and_nothing_else(tmp_path):
    first = [row(at, at % 3 == 0, image=f"{at // 2}.png") for at in range(40)]
    second = [row(at, at % 4 == 0, image=f"{at // 2}.png") for at in range(40)]
    folders = pair(tmp_path, first, second)
    (one,), (other,) = (compare_runs(*order).types for order in (folders, folders[::-1]))
    assert one.compared.difference == -other.compared.difference and one.first == other.second
    assert one.compared.detectable == pytest.approx(other.compared.detectable)
    low, high = one.compared.difference_interval
    assert other.compared.difference_interval == pytest.approx((-high, -low), abs=0.02)
    assert one.compared.test == "bootstrap of pictures"  # two questions about each


def test_equal_answers_differ_by_nothing_and_controls_are_left_out(tmp_path):
    rows = [row(at, at % 2 == 0) for at in range(8)]
    blank = [row(at, False, "blank") for at in range(8)]
    compared = compare_runs(*pair(tmp_path, [*rows, *blank], rows))
    (every,) = compared.types
    assert (every.compared.n, every.compared.difference, every.compared.p) == (8, 0, 1)
    assert compared.changed == () and compared.differing == ()


def test_under_the_null_hardly_a_row_is_called_different_and_a_true_difference_is():
    """Of runs that are as good, with three questions about each picture, a row differs in 5 of 100 pairs at most."""

    def found(second_share, seed):
        """The least adjusted p of four types."""
        rng = np.random.default_rng(seed)
        easy = np.repeat(rng.uniform(-0.3, 0.2, 60), 3)  # pictures are easy or hard for both
        rights = [rng.uniform(size=180) < share + easy for share in (0.6, second_share)]
        answers = [Answer("b", "image", asked_about(at), "", "", right=None) for at in range(180)]
        pairs = [tuple(replace(one, right=bool(of[at])) for of in rights) for at, one in enumerate(answers)]
        return min(of.compared.p_holm for of in paired_runs._types(("a", "b"), {"b": pairs}))

    def asked_about(at):
        return Question(str(at), "?", f"{at // 3}.png", ("color", "shape", "place", "count")[at % 4])

    alarms = sum(found(0.6, seed) < 0.05 for seed in range(100))
    assert binomtest(alarms, 100, 0.05, alternative="greater").pvalue > 0.001
    assert sum(found(0.85, seed) < 0.05 for seed in range(20)) >= 18


def test_answers_in_other_words_that_are_as_right_are_counted(tmp_path):
    rows = [row(at, False) for at in range(3)]
    other = [rows[0] | {"given": "green"}, *rows[1:]]
    assert compare_runs(*pair(tmp_path, rows, other)).reworded == 1


def test_a_changed_answer_has_its_picture_where_a_run_has_kept_it(tmp_path):
    first, second = [row(0, True), row(1, True)], [row(0, False), row(1, False)]
    pictures = [{"benchmark": "mine.csv", "split": "", "image": "1.png", "uri": PIXEL}]
    compared = compare_runs(*pair(tmp_path, first, second, pictures=pictures, model="b"))
    assert [(one.answers[0].question.id, one.uri) for one in compared.changed] == [("0", ""), ("1", PIXEL)]
    assert compared.differing == ("model",)


def test_splits_are_apart_and_questions_without_pictures_are_independent(tmp_path):
    first = [row(at, True, split=split, image="") for split in ("held_out", "compositional") for at in range(3)]
    second = [one | {"right": index == 0} for index, one in enumerate(first)]
    types = by_type(compare_runs(*pair(tmp_path, first, second)))
    assert {name: of.compared.difference for name, of in types.items()} == {
        "held_out all": pytest.approx(2 / 3), "compositional all": 1,
    }  # fmt: skip
    assert types["held_out all"].compared.test == "McNemar, exact"


def test_a_question_that_a_file_asks_twice_is_compared_twice(tmp_path):
    rows = [row(7, True), row(7, True)]
    (every,) = compare_runs(*pair(tmp_path, rows, [rows[0], row(7, False)])).types
    assert (every.compared.n, every.compared.first_only) == (2, 1)


def test_questions_that_only_one_was_asked_are_listed(tmp_path):
    first, second = [row(at, True) for at in range(4)], [row(at, True) for at in range(1, 3)]
    with pytest.raises(LapilliError, match=r"mine.csv: other questions: 2 only in a: '0 What is 0\?', '3 What is 3\?'"):
        compare_runs(*pair(tmp_path, first, second))


@pytest.mark.parametrize("change", ["question", "image", "expected"])
def test_a_question_of_one_name_that_is_another_is_no_match(change, tmp_path):
    first = row(0, True)
    changed = {"expected": ["blue"]} if change == "expected" else {"question": first["question"] | {change: "another"}}
    with pytest.raises(LapilliError, match=r"1 only in a: .*; 1 only in b: "):
        compare_runs(*pair(tmp_path, [first], [first | changed]))


def talk(rights, name="7", **changes):
    """The turns of a conversation, rightly answered or not; changes are of the first question."""
    rows = [row(f"{name}-{turn}", right, image="7.png") for turn, right in enumerate(rights, 1)]
    for turn, one in enumerate(rows, 1):
        one["question"] |= {"conversation": name, "turn": turn} | (changes if turn == 1 else {})
    return rows


def test_conversations_are_compared_by_turn_too(tmp_path):
    first = [*talk([True, True, True], "7"), *talk([True, True], "8")]
    second = [*talk([True, False, True], "7"), *talk([True, False], "8")]
    types = by_type(compare_runs(*pair(tmp_path, first, second)))
    assert {name: (of.compared.n, of.compared.difference) for name, of in types.items()} == {
        "turn 1": (2, 0), "turn 2": (2, 1), "turn 3": (1, 0), "all": (5, pytest.approx(0.4)),
    }  # fmt: skip


@pytest.mark.parametrize("change", [{"question": "What else?"}, {"id": "other"}, {"conversation": "other"}])
def test_a_question_behind_other_turns_is_another(change, tmp_path):
    """Its own words are the same, and so may be its name."""
    first, second = talk([True, True]), talk([True, True], **change)
    with pytest.raises(LapilliError, match=r"2 only in a: '7-1 .*', '7-2 .*'; 2 only in b: "):
        compare_runs(*pair(tmp_path, first, second))


def test_an_earlier_turn_with_another_right_answer_is_another(tmp_path):
    second = talk([True, True])
    second[0]["expected"] = ["green"]
    with pytest.raises(LapilliError, match=r"2 only in a"):
        compare_runs(*pair(tmp_path, talk([True, True]), second))


def test_other_pictures_of_the_same_names_are_refused(tmp_path):
    rows = [row(0, True)]
    one = evaluation(tmp_path / "a", rows)
    with pytest.raises(LapilliError, match=r"other questions or pictures \(mine.csv\)"):
        compare_runs(one, evaluation(tmp_path / "b", rows, inputs={"mine.csv": "other"}))
    drawn = [evaluation(tmp_path / name, rows, drawn={"scenes/held_out": name}) for name in "cd"]
    with pytest.raises(LapilliError, match=r"other questions or pictures \(scenes/held_out\)"):
        compare_runs(*drawn)


def test_published_benchmarks_are_named_and_left_to_their_own_command(tmp_path):
    rows, gqa = [row(0, True)], [row(0, True, benchmark="gqa")]
    assert compare_runs(*pair(tmp_path, [*rows, *gqa], [*rows, *gqa])).left_out == ("gqa",)
    with pytest.raises(LapilliError, match=r"no benchmark to compare: c: gqa; d: gqa; .*lapilli score"):
        compare_runs(*(evaluation(tmp_path / name, gqa) for name in "cd"))


@pytest.mark.parametrize(
    "spoilt", [{"a": 1}, [1], [{}], [row(0, True) | {"right": "yes"}], [row(0, True) | {"question": {"id": 1}}]]
)
def test_a_spoilt_file_of_answers_is_one_line(spoilt, tmp_path):
    with pytest.raises(LapilliError, match=r"answers.json: .*run the evaluation again"):
        compare_runs(*pair(tmp_path, spoilt, [row(0, True)]))


def test_an_unfinished_run_and_one_that_was_changed_are_refused(tmp_path):
    one, other = pair(tmp_path, [row(0, True)], [row(0, True)])
    (other / "results/answers.json").write_text("[]")
    with pytest.raises(LapilliError, match="changed since the run finished"):
        compare_runs(one, other)
    (other / "manifest.json").unlink()
    with pytest.raises(LapilliError, match="has not finished"):
        compare_runs(one, other)


def test_an_evaluation_is_known_by_its_recipe(tmp_path):
    assert is_evaluation(RunDir.open(evaluation(tmp_path / "a", [])))
    assert not is_evaluation(RunDir.create(tmp_path / "training", {"stage": "align"}, 0))
