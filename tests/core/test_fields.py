"""What fields mean and hold: their ranges, and the list that is made of them."""

import math
from dataclasses import dataclass, field
from typing import Annotated, Literal

import pytest

from lapilli.core.fields import FieldInfo, Range, list_fields, require_ranges


@dataclass(frozen=True)
class Inner:
    size: Annotated[int, "How large.", Range(1, 2_000)]


@dataclass(frozen=True)
class Outer:
    kind: Annotated[Literal["a", "b"], "Which."]
    group: Inner
    share: Annotated[float | None, "How much.", Range(0, below=1)] = None
    pair: Annotated[tuple[float, float], "From and to.", Range(above=0)] = (1.0, 2.0)
    several: Annotated[list[Inner], "More of them."] = field(default_factory=list)
    bare: str = "x"


def test_fields_are_listed_in_order_with_those_of_groups_and_of_entries():
    assert list_fields(Outer) == [
        FieldInfo("kind", "a | b", True, None, "Which."),
        FieldInfo("group.size", "whole number, 1 to 2,000", True, None, "How large."),
        FieldInfo("share", "number, 0 to less than 1, or null", False, None, "How much."),
        FieldInfo("pair", "[number, number], more than 0", False, [1.0, 2.0], "From and to."),
        FieldInfo("several", "list, of the fields below", False, [], "More of them."),
        FieldInfo("several[].size", "whole number, 1 to 2,000", True, None, "How large."),
        FieldInfo("bare", "text", False, "x", ""),
    ]


@pytest.mark.parametrize(
    ("range_", "words", "inside", "outside"),
    [
        (Range(1, 64), "1 to 64", (1, 64), (0, 65, 10**400)),
        (Range(0), "0 or more", (0, 1e300), (-1, 10**400)),
        (Range(above=0), "more than 0", (1e-300,), (0, -1)),
        (Range(above=0, most=5), "more than 0, at most 5", (5,), (0, 5.1)),
        (Range(0, below=1), "0 to less than 1", (0, 0.99), (1, -0.1)),
    ],
)
def test_a_range_holds_its_numbers_and_says_which(range_, words, inside, outside):
    assert str(range_) == words
    assert all(number in range_ for number in inside)
    assert not any(number in range_ for number in (*outside, math.nan, math.inf, -math.inf))


def test_the_first_number_out_of_its_range_is_named():
    require_ranges(Outer("a", Inner(1), share=0.5))
    require_ranges(Outer("a", Inner(1)))
    with pytest.raises(ValueError, match=r"^share: 1\.0; it must be 0 to less than 1$"):
        require_ranges(Outer("a", Inner(1), share=1.0, pair=(0.0, 1.0)))
    with pytest.raises(ValueError, match=r"^pair: \[1\.0, 0\.0\]; it must be more than 0$"):
        require_ranges(Outer("a", Inner(1), pair=(1.0, 0.0)))
