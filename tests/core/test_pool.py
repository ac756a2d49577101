"""Where the processes of a pool look for modules."""

import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from lapilli.core.pool import importing_nothing_here


@pytest.mark.skipif(os.name != "posix", reason="no forkserver")
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
@pytest.mark.parametrize("before", [None, "", "1"])
def test_processes_of_a_pool_import_nothing_from_the_working_folder(method, before, tmp_path, monkeypatch):
    names = ("multiprocessing", "pickle", "socket", "signal", "random")
    for name in names:
        (tmp_path / f"{name}.py").write_text("open('run', 'w')")
    monkeypatch.chdir(tmp_path)
    if before is None:
        monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    else:
        monkeypatch.setenv("PYTHONSAFEPATH", before)
    with importing_nothing_here(), ProcessPoolExecutor(2, get_context(method)) as pool:
        assert list(pool.map(abs, [-1, -2])) == [1, 2]
    assert os.environ.get("PYTHONSAFEPATH") == before and not (tmp_path / "run").exists()
