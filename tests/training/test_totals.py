"""The totals of a run, which a checkpoint holds."""

import json

import pytest

from lapilli.core.errors import LapilliError
from lapilli.training.totals import Counts, Totals


def test_totals_are_read_as_they_were_saved(tmp_path):
    totals = Totals(counts=Counts(3, 170, 12, 2), loss=0.1 + 0.2, logged=4, _before=7.25)
    totals.save(tmp_path / "totals.json")
    other = Totals()
    other.load(tmp_path / "totals.json")
    assert (other.counts, other.loss, other.logged) == (totals.counts, totals.loss, totals.logged)
    assert other.seconds >= 7.25


@pytest.mark.parametrize("change", [{"counts": None}, {"counts": 3}, {"loss": "much"}, {"seconds": None}])
def test_totals_of_another_form_are_refused_with_their_file(tmp_path, change):
    file = tmp_path / "totals.json"
    Totals(counts=Counts(3, 170, 12, 2)).save(file)
    saved = json.loads(file.read_text()) | change
    file.write_text(json.dumps({name: value for name, value in saved.items() if value is not None}))
    with pytest.raises(LapilliError, match=r"totals\.json: .*another version of lapilli wrote it"):
        Totals().load(file)
