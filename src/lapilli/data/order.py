"""The order in which questions are asked in batches."""

from collections.abc import Hashable, Sequence


def longest_first(lengths: Sequence[int], groups: Sequence[Hashable]) -> list[int]:
    """The indices of questions of these lengths, the longest first; those of a group, such as a picture, are together.

    A group comes where its longest question does. So what takes too much memory, or is too long, fails at once, and a
    batch has much in common; where groups have questions of many lengths, it has padding too.
    """
    order = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    places: dict[Hashable, int] = {}
    for place, index in enumerate(order):
        places.setdefault(groups[index], place)
    return sorted(order, key=lambda index: places[groups[index]])
