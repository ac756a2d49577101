"""TokenLayout: every invariant refuses its violation, and positions are those counted by hand."""

import numpy as np
import pytest

from lapilli.core.layout import Role, TokenLayout

T, S, Q, I, A, E, P = (  # noqa: E741 - one letter a token keeps the sequences readable
    Role.TEMPLATE, Role.SYSTEM, Role.QUESTION, Role.IMAGE, Role.ANSWER, Role.STOP, Role.PADDING
)  # fmt: skip


def arrays(roles, turns=None, patches=()):
    """The arrays of a layout; `patches` are (image, row, column) of the IMAGE tokens in order."""
    length, remaining = len(roles), iter(patches)
    placed = [next(remaining) if role == I else (-1, -1, -1) for role in roles]
    image, row, column = np.array(placed, dtype=int).reshape(length, 3).T
    turn = np.zeros(length, dtype=int) if turns is None else np.array(turns)
    return {"role": np.array(roles, dtype=int), "turn": turn, "image": image, "row": row, "column": column}


def grid(image, rows, columns):
    return [(image, row, column) for row in range(rows) for column in range(columns)]


@pytest.fixture
def one_image():
    """<s> system, a question with a 2 x 3 image, an answer of two tokens, stop; then a second exchange."""
    roles = [T, S, T, Q, *[I] * 6, Q, T, A, A, E, T, Q, T, A, E]
    turns = [-1, -1, *[0] * 13, *[1] * 5]
    return TokenLayout(**arrays(roles, turns, grid(0, 2, 3)))


@pytest.fixture
def two_images():
    """A 1 x 2 image at positions 1 and 2, and a 2 x 2 image with a question token between its rows."""
    return TokenLayout(**arrays([T, I, I, Q, I, I, Q, I, I, A], None, grid(0, 1, 2) + grid(1, 2, 2)))


def test_positions_by_role_turn_and_image(one_image, two_images):
    assert one_image.length == 20
    assert one_image.positions(A).tolist() == [12, 13, 18]
    assert one_image.positions(A, turn=0).tolist() == [12, 13]
    assert one_image.positions(E, turn=1).tolist() == [19]
    assert one_image.positions(S, turn=1).tolist() == []
    assert two_images.positions(I).tolist() == [1, 2, 4, 5, 7, 8]
    assert two_images.positions(I, image=1).tolist() == [4, 5, 7, 8]


def test_the_last_answer_is_that_of_the_last_turn_with_its_stop(one_image, two_images):
    assert np.nonzero(one_image.last_answer)[0].tolist() == [18, 19]
    assert np.nonzero(two_images.last_answer)[0].tolist() == [9]
    assert np.nonzero(one_image.padded(22, "left").last_answer)[0].tolist() == [20, 21]
    assert not TokenLayout(**arrays([T, Q], [0, 0])).last_answer.any()
    assert TokenLayout(**arrays([])).last_answer.tolist() == []


def test_patches_of_one_and_of_two_images(one_image, two_images):
    assert one_image.image_count == 1
    assert one_image.patches(0).tolist() == [[4, 5, 6], [7, 8, 9]]
    assert two_images.image_count == 2
    assert two_images.patches(0).tolist() == [[1, 2]]
    assert two_images.patches(1).tolist() == [[4, 5], [7, 8]]


@pytest.mark.parametrize("image", [-1, 2])
def test_an_image_that_is_not_there(two_images, image):
    with pytest.raises(IndexError, match=f"image {image}: the sequence has 2 images"):
        two_images.patches(image)


def test_a_text_alone_and_nothing_at_all_are_layouts():
    text = TokenLayout(**arrays([T, Q, A, E]))
    assert (text.image_count, text.positions(I).tolist()) == (0, [])
    nothing = TokenLayout([], [], [], [], [])
    assert (nothing.length, nothing.image_count) == (0, 0)


def test_arrays_are_read_only_copies_of_the_stated_types():
    given = arrays([T, I, A], None, [(0, 0, 0)])
    layout = TokenLayout(**given)
    given["role"][0] = Q
    assert layout.role.tolist() == [T, I, A]
    with pytest.raises(ValueError, match="read-only"):
        layout.role[0] = Q
    assert layout.role.dtype == np.int8
    assert {layout.turn.dtype, layout.image.dtype, layout.row.dtype, layout.column.dtype} == {np.dtype(np.int16)}


def broken(**changes):
    return {**arrays([T, I, I, I, I, A], None, grid(0, 2, 2)), **changes}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (broken(turn=[0] * 5), "differ in length"),
        (broken(turn=[[0] * 6]), r"turn: shape \(1, 6\), expected \(token,\)"),
        (broken(turn=[0.0] * 6), "turn: float64 numbers, expected integers"),
        (broken(turn=[40_000] * 6), "turn: a number outside the range of int16"),
        (broken(turn=[-2] * 6), "a turn below -1"),
        (broken(role=[T, I, I, I, I, 7]), "unknown role"),
        (broken(role=[T, I, I, I, I, 300]), "role: a number outside the range of int8"),
        (broken(image=[-2, 0, 0, 0, 0, -1]), "image: a number below -1"),
        (broken(image=[0, 0, 0, 0, 0, -1]), "image: set on other tokens"),
        (broken(row=[-1, 0, 0, 1, -1, -1]), "row: set on other tokens"),
        (broken(column=[-1, 0, 1, 0, 1, 0]), "column: set on other tokens"),
        (broken(image=[-1, 1, 1, 1, 1, -1]), "image 0 of 2 has no patches"),
        (broken(row=[-1, 0, 0, 2, 2, -1]), "4 patches are not a 3 x 2 grid"),
        (broken(column=[-1, 0, 2, 0, 2, -1]), "4 patches are not a 2 x 3 grid"),
        (broken(column=[-1, 0, 0, 1, 1, -1], row=[-1, 0, 1, 0, 1, -1]), "not a 2 x 2 grid, row by row"),
        (broken(column=[-1, 0, 1, 0, 0, -1]), "not a 2 x 2 grid"),
        (broken(image=[-1, 1, 1, 0, 0, -1], row=[-1, 0, 0, 0, 0, -1]), "not numbered in the order"),
        (arrays([I, I, I], None, [(0, 0, 0), (0, 0, 1), (0, 1, 0)]), "3 patches are not a 2 x 2 grid"),
    ],
)
def test_a_broken_layout_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        TokenLayout(**given)


@pytest.mark.parametrize(("side", "before"), [("left", 3), ("right", 0)])
def test_padding_moves_every_position_and_adds_no_meaning(two_images, side, before):
    padded = two_images.padded(two_images.length + 3, side)
    assert padded.length == two_images.length + 3
    for role in (T, Q, I, A):
        assert padded.positions(role).tolist() == (two_images.positions(role) + before).tolist()
    assert padded.patches(1).tolist() == (two_images.patches(1) + before).tolist()
    padding = padded.positions(P)
    assert padding.tolist() == ([0, 1, 2] if side == "left" else [10, 11, 12])
    assert all((array[padding] == -1).all() for array in (padded.turn, padded.image, padded.row, padded.column))


def test_padding_to_its_own_length_changes_nothing_and_to_less_is_refused(two_images):
    assert two_images.padded(10, "left") == two_images
    with pytest.raises(ValueError, match="10 tokens cannot be padded to 9"):
        two_images.padded(9, "right")
    with pytest.raises(ValueError, match="side 'middle'"):
        two_images.padded(12, "middle")


def test_concatenation_numbers_turns_and_images_on(one_image, two_images):
    text = TokenLayout(**arrays([T, Q, A, E]))
    packed = TokenLayout.concatenate([one_image, text, two_images])
    assert packed.length == 20 + 4 + 10
    assert packed.image_count == 3
    assert packed.patches(0).tolist() == one_image.patches(0).tolist()
    assert packed.patches(2).tolist() == (two_images.patches(1) + 24).tolist()
    assert packed.positions(A, turn=1).tolist() == [18]
    assert packed.positions(A, turn=2).tolist() == [22]
    assert packed.positions(A, turn=3).tolist() == [33]
    assert packed.turn[:2].tolist() == [-1, -1]


def test_concatenation_of_one_and_of_none(two_images):
    assert TokenLayout.concatenate([two_images]) == two_images
    with pytest.raises(ValueError, match="no layouts"):
        TokenLayout.concatenate([])


def test_equality_compares_every_array(two_images):
    same = TokenLayout(two_images.role, two_images.turn, two_images.image, two_images.row, two_images.column)
    assert same == two_images
    assert two_images != two_images.padded(11, "right")
    other = TokenLayout(two_images.role, two_images.turn + 1, two_images.image, two_images.row, two_images.column)
    assert other != two_images
    assert two_images != "a layout"
