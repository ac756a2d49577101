"""The study of colour questions as one result, which its page shows."""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lapilli.core.environment import versions
from lapilli.core.names import shortest_ends
from lapilli.core.plain import plain
from lapilli.core.progress import Progress
from lapilli.core.run import RunDir
from lapilli.model.hub import recorded
from lapilli.model.llava import Llava
from lapilli.studies.color import interval_estimates
from lapilli.studies.color.conditions import CONDITIONS
from lapilli.studies.color.fact_routes import ROUTES
from lapilli.studies.color.key_positions import READOUTS
from lapilli.studies.color.overlap import PAPER, SHARES, sizes, verdict_size
from lapilli.studies.color.paper import beside_paper
from lapilli.studies.color.study import CHOSEN_BY, RESULT, Settings, Study
from lapilli.studies.color.top_head_ablation import CONTROLS, NULLS
from lapilli.studies.color.verdicts import COMMON, LEVEL, verdicts


def colour_result(of: Settings, run: RunDir, load: Callable[[Path], Llava], progress: Progress) -> dict[str, Any]:
    """Everything that is found, in plain values; saved in the run as results/colour.json.

    What an interrupted run has saved is not measured again. Raises LapilliError where `Study` does.
    """
    begun = time.perf_counter()
    study = Study(of, run, load, progress)
    for case in study.cases:
        study.heads(case)
    result = {"study": RESULT, **_described(study)}
    for name, figure in _FIGURES.items():
        result[name] = plain(figure(study))
    result["beside_paper"] = plain(beside_paper(result))
    result["verdicts"] = plain(verdicts(result))
    result["seconds"] = time.perf_counter() - begun
    run.save(RESULT, result)
    return result


_FIGURES: dict[str, Callable[[Study], list[dict[str, Any]]]] = {
    "accuracy": interval_estimates.accuracies,
    "tables": interval_estimates.tables,
    "overlaps": interval_estimates.overlaps,
    "differences": interval_estimates.differences,
    "keys": interval_estimates.keys,
    "decoding": interval_estimates.decoding,
    "knocked": interval_estimates.ablations,
    "growth": interval_estimates.growth,
    "ways": interval_estimates.routes,
    "halves": interval_estimates.halves,
}


def _described(study: Study) -> dict[str, Any]:
    example = next((one for one in study.asked if one.swapped is not None), study.asked[0])
    return {
        "data": study.of.data.name,
        "models": [
            {"label": label, "folder": name}
            for label, name in zip(study.of.models, _folders(study.of.models.values()), strict=True)
        ],
        "counts": {name: len(getattr(study, name)) for name in ("asked", "kept", "choosing", "measuring")},
        "example": {"question": example.question.question, "facts": example.facts, "answer": example.color},
        "settings": plain(_settings(study)),
    }


def _settings(study: Study) -> dict[str, Any]:
    layers, heads = study.heads(study.cases[0])["increase"].shape[1:]
    return {
        "seed": study.of.seed,
        "layers": layers,
        "heads": heads,
        "shares": SHARES,
        "sizes": sizes(layers * heads),
        "paper": PAPER,
        "verdict_size": verdict_size(layers * heads),
        "level": LEVEL,
        "chosen_by": CHOSEN_BY,
        "controls": CONTROLS,
        "conditions": {condition.name: condition.says for condition in CONDITIONS},
        "readouts": READOUTS,
        "ways": ROUTES,
        "nulls": NULLS,
        "rules": COMMON,
        "versions": versions(),
    }


def _folders(models: Iterable[Path]) -> list[str]:
    return shortest_ends([recorded(path) for path in models])
