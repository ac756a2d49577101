"""What docs/evaluating.md says of published benchmarks: its table has each, with its own files."""

import re
from pathlib import Path

from lapilli.evaluation.published.protocol import ASKED, published

PAGE = (Path(__file__).parents[2] / "docs/evaluating.md").read_text(encoding="utf-8")


def test_the_table_has_every_benchmark_that_is_asked_and_its_files():
    table = PAGE.partition("## Published benchmarks")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `([\w-]+)` \| `(.+?)` \| .* \| (.+?) \|$", table, re.M)
    assert [name for name, *_ in rows] == list(ASKED)
    for name, questions, images in rows:
        layout = published(ASKED[name]).layouts[name]
        assert questions == layout.questions
        assert (images == "in the same file") == bool(layout.picture)
        assert layout.picture or name == "seed" or images == f"`{layout.images}/`"  # of SEED-Bench in two folders
