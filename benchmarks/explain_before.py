"""Whether `lapilli explain` has become slower: this checkout against an earlier commit, as commands that take turns.

    python benchmarks/explain_before.py COMMIT MODEL PICTURE QUESTION [--repetitions 5] [--threads N] [--json FILE]

COMMIT is checked out beside, and gone afterwards. Prints medians of seconds and of CPU seconds of either, and the ratio
of this checkout's to the earlier commit's. One turn of each is run before, to warm up.
"""

import argparse
import json
import subprocess
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from explain_large import run

from lapilli.core.files import write_atomically

HERE = Path(__file__).resolve().parent.parent


def main() -> None:
    """Parse, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("commit", "model", "picture", "question"):
        parser.add_argument(name)
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--threads", type=int, help="of each command; torch's default, if not given")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args()
    arguments = ["explain", options.model, options.picture, options.question, "--json"]
    with TemporaryDirectory() as folder:
        earlier = Path(folder) / "earlier"
        git = ["git", "-C", str(HERE), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(earlier), options.commit], check=True)
        try:
            found = compare(arguments, earlier / "src", options.repetitions, options.threads)
        finally:
            subprocess.run([*git, "remove", "--force", str(earlier)], check=True)
    print(json.dumps(found, indent=1))
    if options.json:
        write_atomically(options.json, json.dumps(found, indent=1) + "\n")


def compare(arguments: list[str], earlier: Path, repetitions: int, threads: int | None) -> dict[str, dict[str, float]]:
    """Medians of either source, by the figure's name, and their ratios."""
    sources = {"earlier": earlier, "this": HERE / "src"}
    taken = {name: [run(arguments, threads, source)] for name, source in sources.items()}
    for _ in range(repetitions):
        for name, source in sources.items():
            taken[name].append(run(arguments, threads, source))
    figures = ("seconds", "cpu_seconds", "peak_gb")
    found = {
        name: {figure: median(row[figure] for row in rows[1:]) for figure in figures} for name, rows in taken.items()
    }
    ratio = {figure: found["this"][figure] / found["earlier"][figure] for figure in figures}
    return {**found, "ratio": ratio}


if __name__ == "__main__":
    main()
