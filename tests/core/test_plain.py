"""Plain values: everything a result may hold becomes JSON, and nothing else does."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lapilli.core.layout import Role
from lapilli.core.plain import json_text, plain
from lapilli.core.statistics.proportion import wilson


@dataclass(frozen=True)
class Result:
    role: Role
    scores: tuple
    where: Path


def test_every_kind_of_result_becomes_plain():
    result = Result(Role.IMAGE, (np.float32(0.5), float("inf"), np.arange(2), True), Path("a/b"))
    assert plain({"result": result, 1: None}) == {
        "result": {"role": 3, "scores": [0.5, None, [0, 1], True], "where": "a/b"},
        "1": None,
    }
    assert type(plain(Role.IMAGE)) is int


def test_numbers_that_json_has_no_word_for_become_null():
    assert json_text({"share": wilson(0, 0), "array": np.array([1.0, np.nan])}) == (
        '{"share": {"correct": 0, "n": 0, "estimate": null, "low": 0.0, "high": 1.0}, "array": [1.0, null]}'
    )


def test_json_text_reads_back_and_keeps_letters():
    value = {"text": "lapillo é 🪨\n", "number": 0.1}
    assert json.loads(json_text(value)) == value
    assert "é 🪨" in json_text(value)
    assert "\n" not in json_text(value)


def test_a_torch_tensor_is_a_list():
    torch = pytest.importorskip("torch", reason="no torch, whose tensors these are")
    assert plain(torch.tensor([[1, 2]])) == [[1, 2]]


@pytest.mark.parametrize("value", [{1, 2}, object(), b"bytes", 1j])
def test_anything_else_is_an_error(value):
    with pytest.raises(TypeError, match="has no plain form"):
        plain(value)
