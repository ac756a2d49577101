"""The most memory that a process has held."""

import sys

from lapilli.core.memory import peak_memory


def test_it_grows_by_what_is_held_and_does_not_fall_again():
    before = peak_memory()
    block = b"x" * (before + (64 << 20))
    during = peak_memory()
    del block
    assert during >= before + (64 << 20)
    assert peak_memory() >= during
    assert peak_memory(children=True) >= peak_memory()


def test_where_the_system_does_not_count_it_there_is_none(monkeypatch):
    monkeypatch.setitem(sys.modules, "resource", None)
    monkeypatch.setattr("lapilli.core.memory.find_spec", lambda name: None)
    assert peak_memory() is None
