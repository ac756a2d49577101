"""The same explanation on a GPU as on the CPU."""

import numpy as np
import pytest
from tests.parts import joined, picture

from lapilli.core.placement import Placement
from lapilli.data.sample import Sample, Turn
from lapilli.inspection.recording import answered, traced
from lapilli.model.llava import load
from lapilli.studies.explain.explanation import explanation
from lapilli.studies.explain.findings import explain

pytestmark = pytest.mark.gpu


def explained(device, dtype):
    llava = load(joined("clip", "llama"), Placement(device, dtype))
    sample = Sample("q", ("noise",), (Turn("user", "<image>\nWhat color is the circle?"),))
    encoded = answered(llava, sample, "a small blue triangle")
    trace = traced(llava, encoded, llava.pixels([picture(7)]), whole=True)
    return explanation(explain(trace, picture(7), controls=4), picture(7))


def test_an_explanation_is_that_of_the_cpu():
    here, there = explained("cpu", "fp32"), explained("cuda", "fp32")
    for name, values in here.arrays.items():
        if name not in ("lens_ids", "lens_probs"):
            assert np.allclose(there.arrays[name], values, atol=1e-3), name
    assert all(check["passed"] for check in there.description["checks"])


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_precision_misses_no_more_than_is_said(dtype):
    assert all(check["passed"] for check in explained("cuda", dtype).description["checks"])
