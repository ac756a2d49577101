"""A tiny base and versions of it, questions of which each has two candidates, and finished studies of them."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.studies.compare.made import COUNT, PLANTED, base, changed, questions

from lapilli.core.placement import Placement
from lapilli.studies.patch.study import opened, study
from lapilli.studies.tuning import BASE, CONTROL, FLOOR, TUNED, tuning

_HOLD = TemporaryDirectory(prefix="lapilli-patch-")


def of(tuned, **more):
    return tuning({BASE: base(), TUNED: tuned, **more}, questions(), COUNT, 0)


def patched(folder, settings, progress=lambda *_: None):
    run = opened(folder, settings)
    study(settings, run, Placement(), progress)
    return run


@cache
def planted():
    """The run of a model whose layer PLANTED is changed, with a copy of it as the second tuning.

    The control is changed in the layer behind it.
    """
    more = {FLOOR: changed(None, 7, start=changed(PLANTED)), CONTROL: changed(PLANTED + 1)}
    return patched(Path(_HOLD.name) / "planted", of(changed(PLANTED), **more))


@cache
def identical():
    """The run of a model beside a copy of itself."""
    return patched(Path(_HOLD.name) / "identical", of(changed(None)))
