"""The order in which questions are asked."""

from lapilli.data.order import longest_first


def test_without_anything_in_common_the_longest_is_first_and_equals_keep_their_order():
    assert longest_first([3, 9, 3, 5], ["a", "b", "c", "d"]) == [1, 3, 0, 2]
    assert longest_first([], []) == []


def test_a_group_comes_where_its_longest_question_does():
    assert longest_first([2, 8, 7, 9, 1, 8], ["x", "x", "y", "y", "y", "z"]) == [3, 2, 4, 1, 0, 5]
