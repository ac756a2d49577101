"""Bridges: known totals, counts and formulas held to real modules, and figures of the papers."""

import pytest
from tests.model.designs import DESIGNS, parameters

from lapilli.model.bridges import Widths, bridges, published

WIDTHS = [Widths(), Widths(1152, 2048, 24), Widths(24, 48, 2)]


def counted(widths):
    return {one.name: one.parameters for one in bridges(widths)}


def test_the_connectors_of_llava_at_seven_billion():
    found = counted(Widths(1024, 4096))
    assert (found["linear"], found["mlp2x_gelu"]) == (4_198_400, 20_979_712)


@pytest.mark.parity
@pytest.mark.parametrize(
    "one",
    [*(one for widths in WIDTHS for one in bridges(widths)), *published()],
    ids=lambda one: f"{one.name}, {one.widths.vision}",
)
def test_every_count_is_that_of_real_modules(one):
    assert one.parameters == parameters(DESIGNS[one.name], one.widths)


@pytest.mark.parametrize("widths", WIDTHS)
def test_every_formula_gives_the_count(widths):
    names = {"v": widths.vision, "d": widths.language, "L": widths.layers}
    for one in bridges(widths):
        assert eval(one.formula, {"__builtins__": {}}, names) == one.parameters, one.name


def test_whole_models_are_as_large_as_those_on_the_hub():
    """The totals that llava-hf/llava-1.5-7b-hf and -13b-hf have in their indices."""
    found = {one.name: one.parameters for one in published()}
    assert found["LLaVA-1.5 7B, all"] == 7_063_427_072
    assert found["LLaVA-1.5 13B, all"] == 13_351_494_656


@pytest.mark.parametrize("one", published(), ids=lambda one: one.name)
def test_a_published_figure_is_met_as_closely_as_is_said(one):
    """What is said not to differ agrees to the digits that the paper gives; the rest by the share that is named."""
    figure = float(one.published[:-1]) * {"M": 1e6, "B": 1e9}[one.published[-1]]
    share = one.parameters / figure - 1
    if one.difference.startswith("none"):
        digits = 10 ** -len(one.published[:-1].partition(".")[2]) * {"M": 1e6, "B": 1e9}[one.published[-1]]
        assert abs(one.parameters - figure) <= digits / 2
    else:
        named, _, rest = one.difference.partition(" % less")
        assert rest
        assert -100 * share == pytest.approx(float(named), abs=0.05 if "." in named else 0.5)


def test_what_the_resampler_would_be_with_wider_heads():
    """The two figures that the note on Flamingo's resampler gives."""
    width, inner = 1536, 16 * 128
    wider = next(one for one in published() if one.name == "Perceiver resampler").parameters
    wider += 6 * 4 * width * (inner - width)
    assert round(wider / 1e6) == 189
    assert round((wider + 3072 * width) / 1e6) == 194
