"""Are the measures of hidden states right about their errors, and how fast are they?

    python benchmarks/measures.py errors [--share 1] [--json FILE]
    python benchmarks/measures.py speed [--points 10000] [--dimensions 4096] [--dadapy PYTHON] [--json FILE]

errors   every measure on samples that are drawn again and again: how often its value ± 2 errors holds what it is on
         average; 95 in 100 are expected. docs/measures.md has the table
speed    Gride at all scales and the neighborhood overlap of two spaces, in seconds of one processor core and MiB; the
         same with DADApy where PYTHON is the python of an environment that has it (dadapy==0.3.4, numpy<2)
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lapilli.cli.console import messages
from lapilli.core.files import write_atomically
from lapilli.core.plain import json_text
from lapilli.core.statistics.proportion import wilson
from lapilli.inspection import measures
from lapilli.inspection.measures import Measured

Points = NDArray[np.float64]
Draw = Callable[[np.random.Generator], tuple[Points, ...]]


@dataclass(frozen=True)
class Case:
    """A measure, and how a sample for it is drawn; `known` is the share that ± 2 errors hold where it is less."""

    name: str
    of: str
    measure: Callable[..., Measured]
    draw: Draw
    known: float = 0.93


def alike(rng: np.random.Generator) -> tuple[Points, ...]:
    """Two spaces of eight dimensions that have most in common."""
    x = rng.standard_normal((300, 8))
    return x, x + 0.5 * rng.standard_normal(x.shape)


def independent(rng: np.random.Generator) -> tuple[Points, ...]:
    """Two spaces with nothing in common."""
    return rng.standard_normal((300, 8)), rng.standard_normal((300, 8))


def wide(rng: np.random.Generator) -> tuple[Points, ...]:
    """Two alike spaces of more dimensions than samples."""
    x = rng.standard_normal((120, 6)) @ np.random.default_rng(0).standard_normal((6, 400))
    return x + 0.5 * rng.standard_normal(x.shape), x + 0.5 * rng.standard_normal(x.shape)


def one(draw: Draw) -> Draw:
    """The first of two spaces."""
    return lambda rng: draw(rng)[:1]


def shifted(rng: np.random.Generator) -> tuple[Points, ...]:
    """Two modalities of the same samples, apart."""
    x, y = alike(rng)
    return x, y + 1


def _pairs() -> list[Case]:
    similarities = {
        "neighborhood overlap, k = 10": lambda x, y: measures.neighborhood_overlap(x, y, ks=(10,))[0],
        "information imbalance": lambda x, y: measures.information_imbalance(x, y)[0],
        "linear CKA": measures.linear_cka,
        "RBF CKA": measures.rbf_cka,
        "distance correlation": measures.distance_correlation,
    }
    kinds = {"alike": alike, "independent": independent, "more dimensions than samples": wide}
    return [Case(name, of, measure, draw) for name, measure in similarities.items() for of, draw in kinds.items()]


def _plain() -> list[Case]:
    return [
        Case("Procrustes", "alike", measures.procrustes, alike),
        Case("cosine", "alike", measures.cosine, alike),
        Case("relative L2", "alike", measures.relative_l2, alike),
        Case("TwoNN", "8 dimensions", measures.two_nn, one(alike)),
        Case("Gride, ranks 2 and 1", "8 dimensions", lambda x: measures.gride(x, 32)[0], one(alike)),
        Case("Gride, ranks 8 and 4", "8 dimensions", lambda x: measures.gride(x, 32)[2], one(alike)),
        Case("Gride, ranks 32 and 16", "8 dimensions", lambda x: measures.gride(x, 32)[4], one(alike), known=0.84),
        Case("MLE, k = 20", "8 dimensions", measures.mle_dimension, one(alike), known=0.83),
        Case("participation ratio", "8 dimensions", measures.participation_ratio, one(alike)),
        Case("participation ratio", "more dimensions than samples", measures.participation_ratio, one(wide)),
        Case("spectrum entropy", "8 dimensions", measures.spectrum_entropy, one(alike)),
        Case("mean cosine", "8 dimensions", lambda x: measures.mean_cosine(x + 1), one(alike)),
        Case("norm kurtosis", "8 dimensions", measures.norm_kurtosis, one(alike), known=0.87),
        Case("centroid distance", "apart by 1", measures.centroid_distance, shifted),
        Case("modality probe", "apart by 1", measures.modality_probe, shifted),
        Case("modality probe", "independent", measures.modality_probe, independent, known=0.68),
    ]


CASES = [*_pairs(), *_plain()]


def held(case: Case, times: int, seed: int = 0) -> dict[str, Any]:
    """How often the value ± 2 errors holds the mean of all values, of as many samples as stated."""
    results = [case.measure(*case.draw(np.random.default_rng((seed, trial)))) for trial in range(times)]
    values, errors = (np.array([getattr(result, name) for result in results]) for name in ("value", "error"))
    share = wilson(int(np.sum(np.abs(values - values.mean()) <= 2 * errors)), times)
    return {
        "measure": case.name,
        "of": case.of,
        "value": float(values.mean()),
        "sd": float(values.std(ddof=1)),
        "error": float(errors.mean()),
        "held": share.estimate,
        "low": share.low,
        "high": share.high,
    }


def _errors(share: float) -> list[dict[str, Any]]:
    rows = []
    for case in CASES:
        rows.append(held(case, max(20, int(400 * share))))
        row = rows[-1]
        messages.print(
            f"| {row['measure']} | {row['of']} | {row['value']:.3f} | {row['sd']:.4f} | {row['error']:.4f} "
            f"| {row['held']:.3f} [{row['low']:.3f}, {row['high']:.3f}] |",
            markup=False,
        )
    return rows


def spaces(points: int, dimensions: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Two spaces that are alike: 20 dimensions with noise in all the others. Needs numpy alone."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((points, 20)) @ rng.standard_normal((20, dimensions))
    x += 0.1 * rng.standard_normal(x.shape)
    return x.astype(np.float32), (x + 0.5 * rng.standard_normal(x.shape)).astype(np.float32)


_OURS = """
import torch
from lapilli.inspection import measures
torch.set_num_threads(1)
def both(x, y):
    first, second = measures.neighbors(x, 64), measures.neighbors(y, 30)
    (overlap,) = measures.neighborhood_overlap(first, second, ks=(30,))
    chance = 30 / (len(x) - 1)
    return [scale.value for scale in measures.gride(first)], overlap.value * (1 - chance) + chance
"""
_DADAPY = """
import warnings
from dadapy import Data
warnings.simplefilter("ignore")
def both(x, y):
    data = Data(coordinates=x, maxk=64, n_jobs=1)
    return data.return_id_scaling_gride(range_max=64)[0].tolist(), float(data.return_data_overlap(coordinates=y, k=30))
"""
_TIMED = """
import json, re, sys, time
import numpy as np
def peak(): return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1])
x, y = np.load(sys.argv[1]), np.load(sys.argv[2])
before, start, cpu = peak(), time.perf_counter(), time.process_time()
gride, overlap = both(x, y)
print(json.dumps({"gride": gride, "overlap": overlap, "seconds": time.perf_counter() - start,
    "cpu_seconds": time.process_time() - cpu, "mebibytes_more": (peak() - before) / 1024}))
"""


def _timed(python: Path, program: str, files: Sequence[Path]) -> dict[str, Any]:
    """A program in a process of its own, on one core: its figures."""
    alone = os.environ | {"OMP_NUM_THREADS": "1"}
    printed = subprocess.check_output([python, "-c", program + _TIMED, *files], text=True, env=alone)
    result: dict[str, Any] = json.loads(printed.splitlines()[-1])
    return result


def _speed(points: int, dimensions: int, dadapy: Path | None) -> dict[str, Any]:
    result: dict[str, Any] = {"points": points, "dimensions": dimensions}
    with TemporaryDirectory() as folder:
        files = Path(folder) / "x.npy", Path(folder) / "y.npy"
        for file, array in zip(files, spaces(points, dimensions), strict=True):
            np.save(file, array)
        result["lapilli"] = _timed(Path(sys.executable), _OURS, files)
        if dadapy is not None:
            result["dadapy"] = _timed(dadapy, _DADAPY, files)
            result["times_faster"] = result["dadapy"]["cpu_seconds"] / result["lapilli"]["cpu_seconds"]
    messages.print_json(data=result)
    return result


def main(arguments: list[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["errors", "speed"])
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--dimensions", type=int, default=4_096)
    parser.add_argument("--dadapy", type=Path)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args(arguments)
    is_speed = chosen.what == "speed"
    result = _speed(chosen.points, chosen.dimensions, chosen.dadapy) if is_speed else _errors(chosen.share)
    if chosen.json:
        write_atomically(chosen.json, json_text(result, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
