"""A model's answers to the questions of benchmarks, and what is kept of them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from lapilli.core.placement import Placement
from lapilli.core.plain import plain
from lapilli.core.progress import Progress
from lapilli.core.run import RunDir
from lapilli.evaluation.asking import Answerer, Result, evaluate
from lapilli.evaluation.benchmark import Benchmark
from lapilli.inference.answer import answerer


def evaluate_model(
    model: Path,
    benchmarks: Sequence[Benchmark[Any]],
    data: Path | None,
    count: int,
    *,
    seed: int,
    placement: Placement,
    progress: Progress,
) -> dict[str, Result]:
    """The result of every benchmark, by its name, of `count` questions of every type.

    Without `data` the questions are drawn, once for benchmarks that draw the same; `seed` is that of the drawing.
    """
    with TemporaryDirectory() as drawn:
        folders: dict[Any, Path] = {}
        for draw in dict.fromkeys(benchmark.draw for benchmark in benchmarks):
            folders[draw] = data or Path(drawn) / str(len(folders))
            if draw and not data:
                folders[draw].mkdir()
                draw(folders[draw], count, seed, progress)
        answer = answerer(model, placement=placement)
        return {one.name: _evaluated(one, folders[one.draw], count, answer, progress) for one in benchmarks}


def _evaluated(benchmark: Benchmark[Any], data: Path, count: int, answer: Answerer, progress: Progress) -> Result:
    step, total = f"{benchmark.name}: rounds of questions", len(benchmark.rounds)
    progress(step, 0, total)
    done = iter(range(1, total + 1))
    return evaluate(benchmark, data, count, answer, lambda: progress(step, next(done), total))


def rows(results: Mapping[str, Result], part: Callable[[Result], Sequence[Any]]) -> list[dict[str, Any]]:
    """One part of the results of all benchmarks, as plain rows with the benchmark's name."""
    return [{"benchmark": name, **plain(row)} for name, result in results.items() for row in part(result)]


def scored(results: Mapping[str, Result]) -> dict[str, list[dict[str, Any]]]:
    """The scores and constant answers of all benchmarks."""
    return {
        "scores": rows(results, lambda result: result.scores),
        "constants": rows(results, lambda result: result.constants),
    }


def keep(run: RunDir, benchmarks: Sequence[Benchmark[Any]], results: Mapping[str, Result]) -> None:
    """Save what was scored and every answer, as given and as it was read, and finish the run."""
    for name, value in scored(results).items():
        run.save(name, value)
    answers = []
    for benchmark in benchmarks:
        for response in results[benchmark.name].responses:
            read = {"given": response.answer, "normalised": benchmark.normalise(response.answer)}
            asked_under = {"question": plain(response.question), "condition": response.condition}
            answers.append({"benchmark": benchmark.name, **asked_under, **read})
    run.save("answers", answers)
    run.finish()
