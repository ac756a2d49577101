"""The answers of a round are kept as soon as they are there: an interrupted step does not ask for them again."""

import pytest

from lapilli.core.errors import LapilliError
from lapilli.data.sample import Sample, Turn
from lapilli.studies.quickstart.scoring import _kept

ROUND = ("scenes", "held_out", "blank")
SAMPLES = [Sample(str(number), (), (Turn("user", f"What is {number}?"),)) for number in range(3)]


def _never(samples, pictures):
    raise AssertionError("asked again")


def test_a_round_is_asked_once(tmp_path):
    first = _kept(tmp_path, lambda samples, pictures: [one.id for one in samples], ROUND)(SAMPLES, None)
    assert first == _kept(tmp_path, _never, ROUND)(SAMPLES, None) == ["0", "1", "2"]
    assert [file.name for file in tmp_path.iterdir()] == ["scenes-held_out-blank.json"]


def test_another_round_is_asked(tmp_path):
    _kept(tmp_path, lambda samples, pictures: ["a", "b", "c"], ROUND)(SAMPLES, None)
    other = _kept(tmp_path, lambda samples, pictures: ["d", "e", "f"], ("scenes", "held_out", "image"))
    assert other(SAMPLES, None) == ["d", "e", "f"]


def test_a_damaged_file_is_named_with_the_remedy(tmp_path):
    (tmp_path / "scenes-held_out-blank.json").write_text('{"a": 1}')
    with pytest.raises(LapilliError, match=r"scenes-held_out-blank\.json: .*remove it, and run the quickstart again"):
        _kept(tmp_path, _never, ROUND)(SAMPLES, None)
