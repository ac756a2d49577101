"""What docs/scoring.md says: its table has every benchmark, and its example is one."""

import json
import re
import sys
import types
from pathlib import Path

from lapilli.cli import run
from lapilli.evaluation.published.protocol import PUBLISHED

PAGE = (Path(__file__).parents[2] / "docs/scoring.md").read_text(encoding="utf-8")


def test_the_table_has_every_benchmark():
    table = PAGE.partition("## Benchmarks")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `([\w-]+)` \|", table, re.M) == list(PUBLISHED)


def test_the_example_is_a_benchmark(tmp_path, capsys, monkeypatch):
    (text,) = re.findall(r"```python\n(.*?)```", PAGE, re.S)
    assert len(text.splitlines()) <= 30
    module = types.ModuleType("mine")
    exec(text, module.__dict__)
    monkeypatch.setitem(sys.modules, "mine", module)
    monkeypatch.setitem(PUBLISHED, "mine", "mine")
    (tmp_path / "labels.json").write_text(json.dumps({"1": "red", "2": "The dog"}))
    rows = [{"question_id": 1, "text": "Blue"}, {"question_id": 2, "text": "dog."}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command = ["score", "mine", "--answers", tmp_path / "a.jsonl", "--references", tmp_path / "labels.json", "--json"]
    assert run([str(word) for word in command]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["accuracy"], result["n"], result["benchmark"]["version"]) == (0.5, 2, "1")
