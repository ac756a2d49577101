"""Stated errors, by simulation, as benchmarks/measures.py has them: with fewer samples."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks/measures.py"
SPEC = importlib.util.spec_from_file_location("measures_by_simulation", SCRIPT)
simulation = importlib.util.module_from_spec(SPEC)
sys.modules[SPEC.name] = simulation  # which its dataclass looks itself up in
SPEC.loader.exec_module(simulation)

CASES = {
    f"{case.name}, {case.of}": case
    for case in simulation.CASES
    if not case.of.startswith("more") and case.known > 0.8  # the others' docstrings say how small their errors are
}
TIMES = 24


@pytest.mark.parametrize("name", CASES)
def test_the_error_is_what_values_vary_by(name):
    """Not less by more than so few values may show, and not over twice as much, as unrelated spaces have it."""
    result = simulation.held(CASES[name], TIMES, seed=1)
    assert 0.6 * result["sd"] < result["error"] < 2.2 * result["sd"]
    assert result["held"] >= CASES[name].known - 3 * np.sqrt(0.05 * 0.95 / TIMES)
