"""What holds for every test: no network, one thread, on which small networks are fastest, no process left behind."""

import os
from multiprocessing import active_children

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def no_process_is_left():
    """A copy of this process holds its open pipes: the browser's driver then never ends, nor do the tests."""
    yield
    assert active_children() == []
