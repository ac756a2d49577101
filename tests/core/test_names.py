from pathlib import Path

import pytest

from lapilli.core.names import shortest_ends


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["/a/joined", "/a/model"], ["joined", "model"]),
        (["/a/x/model", "/a/y/model"], ["x/model", "y/model"]),
        (["/a/x/model", "/b/x/model", "/b/y"], ["a/x/model", "b/x/model", "/b/y"]),
        (["/a/model", "/a/model"], ["model", "model"]),
        ([], []),
    ],
)
def test_folders_are_called_by_the_shortest_ends_that_differ(paths, names):
    assert shortest_ends([Path(path) for path in paths]) == names
