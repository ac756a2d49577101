"""Killed outright at file events and at random, runs come to what they would have come to."""

import json
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).parents[2] / "benchmarks/kills.py"


def test_a_dozen_kills_change_nothing():
    options = ["--only", "constant", "scenes", "eval", "--every", "23", "--random", "1"]
    done = subprocess.run([sys.executable, str(BENCHMARK), *options], capture_output=True, text=True)
    found = json.loads(done.stdout)
    assert {kind: one["wrong"] for kind, one in found.items()} == {"constant": {}, "scenes": {}, "eval": {}}
    assert sum(one["right"] for one in found.values()) >= 12
    assert done.returncode == 0
