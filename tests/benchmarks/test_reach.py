"""benchmarks/reach.py on a small package, and the files in which a stage's training is read."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))  # as for the script that lies there

from reach import reach

START = """
from toy import shapes
from toy.table import choose
from toy.unused import never
from toy.kinds import Base, Kind

def start(kind: Kind) -> never:
    from toy.inner.late import late
    late()
    return shapes.area(choose(0).size)
"""
FILES = {
    "__init__": "",
    "start": START,
    "shapes": "def area(size): return _square(size)\ndef _square(size): return size ** 2\ndef other(): return area(1)",
    "table": "from toy.kinds import Kind\nTABLE = {0: Kind}\ndef choose(key): return TABLE[key]()",
    "kinds": """
import threading
class Base:
    @property
    def size(self): return 1
    def unread(self): return 2
class Kind(Base):
    def __init__(self): super().__init__()
    def weight(self): return 3
class Worker(threading.Thread):
    def run(self): return 4
""",
    "unused": "def never(): pass",
    "inner/__init__": "",
    "inner/late": "from toy.kinds import Worker\ndef late(): return Worker()",
}


@pytest.fixture
def toy(tmp_path, monkeypatch):
    for name, text in FILES.items():
        file = tmp_path / "toy" / f"{name}.py"
        file.parent.mkdir(exist_ok=True, parents=True)
        file.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "toy"]:
        del sys.modules[name]


@pytest.mark.usefixtures("toy")
def test_names_attributes_tables_and_late_imports_are_followed():
    kinds = ("Base", "Base.size", "Kind", "Kind.__init__", "Worker", "Worker.run")
    others = {("toy.start", "start"), ("toy.shapes", "area"), ("toy.shapes", "_square"), ("toy.table", "choose")}
    assert reach(("toy.start", "start")) == others | {("toy.inner.late", "late")} | {("toy.kinds", n) for n in kinds}


@pytest.mark.usefixtures("toy")
def test_outside_a_room_nothing_is_followed():
    assert reach(("toy.start", "start"), "toy.start") == {
        ("toy.start", "start"), ("toy.shapes", "area"), ("toy.table", "choose"), ("toy.inner.late", "late"),
    }  # fmt: skip


def test_a_stage_is_read_in_as_many_files_as_its_room_has():
    modules = {module for module, _ in reach(("lapilli.training.loop", "train"), "lapilli.training")}
    assert len([module for module in modules if module.startswith("lapilli.training.")]) <= 18
    assert len(modules) <= 41
