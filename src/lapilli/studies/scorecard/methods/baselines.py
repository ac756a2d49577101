"""Baselines: maps without knowledge of the answer, which every other map has to beat."""

import numpy as np

from lapilli.studies.scorecard.case import Case, reshown
from lapilli.studies.scorecard.method import Map, Method
from lapilli.studies.scorecard.methods.building_blocks import all_paths_tokens, by_cell


def random(case: Case) -> Map:
    """Random numbers."""
    return case.random().standard_normal(len(case.patches))


def centre(case: Case) -> Map:
    """A Gaussian around the middle, of a quarter of the side: where photographers put things."""
    rows, columns = case.grid
    down, across = np.meshgrid(
        np.arange(rows) / max(rows - 1, 1) - 0.5, np.arange(columns) / max(columns - 1, 1) - 0.5, indexing="ij"
    )
    return np.exp(-(down**2 + across**2) / (2 * 0.25**2)).ravel()


def raster(case: Case) -> Map:
    """The order of the sequence, the last patch first: what a bias to late positions would give."""
    return np.arange(len(case.patches), dtype=np.float64)


def edges(case: Case) -> Map:
    """How much the picture's brightness changes within each patch: where there is something to see."""
    gray = np.asarray(case.view.convert("L"), np.float64)
    return by_cell(case, np.hypot(*np.gradient(gray)))


def other_picture(case: Case) -> Map:
    """The all-paths map of the same question and answer about another picture."""
    return all_paths_tokens(reshown(case, case.other))


METHODS = (
    Method("random", "floor", random),
    Method("centre", "floor", centre),
    Method("raster order", "floor", raster),
    Method("edges", "floor", edges),
    Method("another picture's map", "floor", other_picture),
)
