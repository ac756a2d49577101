"""Methods with the known faults of a released code, to compare with those as published, on request.

EAGLE's comparison (arXiv 2509.22496) runs LLaVA-CAM and TAM with settings of another model: the last 256 of LLaVA's 576
patches are taken for the whole picture, 16 by 16. Here the same share of the patches is taken: the last 4 of 9.
"""

import math

import numpy as np
import torch
from torch.nn.functional import interpolate

from lapilli.studies.scorecard.case import Case
from lapilli.studies.scorecard.method import Map, Method
from lapilli.studies.scorecard.methods.gradients import llava_cam
from lapilli.studies.scorecard.methods.readouts import tam

KEPT = 2 / 3
"""The side of the wrong grid, as a share of the right one's: 16 of 24."""


def wrong_grid(case: Case, values: Map) -> Map:
    """Treat the last patches of a map as the whole picture: lay them out in a smaller square, and enlarge it."""
    side = round(KEPT * math.sqrt(len(values)))
    last = torch.from_numpy(values[-side * side :].reshape(1, 1, side, side))
    enlarged: Map = interpolate(last, size=case.grid, mode="bilinear")[0, 0].numpy().ravel()
    return np.ascontiguousarray(enlarged)


def llava_cam_wrong(case: Case) -> Map:
    """LLaVA-CAM, the last 4 of 9 patches taken for the whole picture.

    Paper: the code of Chen et al. 2026, EAGLE (arXiv 2509.22496).
    """
    return wrong_grid(case, llava_cam(case))


def tam_wrong(case: Case) -> Map:
    """TAM, the last 4 of 9 patches taken for the whole picture.

    Paper: the code of Chen et al. 2026, EAGLE (arXiv 2509.22496).
    """
    return wrong_grid(case, tam(case))


METHODS = (
    Method("LLaVA-CAM, wrong grid", "one-backward", llava_cam_wrong, released=True),
    Method("TAM, wrong grid", "zero-pass", tam_wrong, released=True),
)
