"""The study of color questions as one result, which its page shows."""

import time
from collections.abc import Callable, Iterable
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from lapilli.core.environment import versions
from lapilli.core.names import shortest_ends
from lapilli.core.placement import Placement
from lapilli.core.plain import plain
from lapilli.core.progress import Progress
from lapilli.core.run import RunDir
from lapilli.model.hub import recorded
from lapilli.studies.color import interval_estimates
from lapilli.studies.color.conditions import CONDITIONS
from lapilli.studies.color.fact_routes import ROUTES
from lapilli.studies.color.key_positions import READOUTS
from lapilli.studies.color.overlap import PAPER, SHARES, sizes, verdict_size
from lapilli.studies.color.paper import beside_paper
from lapilli.studies.color.settings import RESULT, Settings, result_of
from lapilli.studies.color.study import CHOSEN_BY, Study
from lapilli.studies.color.top_head_ablation import CONTROLS, NULLS
from lapilli.studies.color.verdicts import COMMON, LEVEL, verdicts
from lapilli.studies.steps import Step, carry_out, result


def color_result(of: Settings, run: RunDir, placement: Placement, progress: Progress) -> dict[str, Any]:
    """Everything that is found, in plain values; saved in the run as results/color.json.

    What an interrupted run has saved is not measured again. Raises LapilliError where `Study` does.
    """
    study = Study(of, run, placement)
    last = Step("figures", [result(run, RESULT, partial(_result, study, time.perf_counter()))], counted=False)
    carry_out(chain(study.steps(progress), [last]), progress)
    return result_of(run)


def _result(study: Study, begun: float) -> dict[str, Any]:
    """What comes of what was measured; its seconds are those since `begun`."""
    made = {"study": RESULT, **_described(study)}
    for name, figure in _FIGURES.items():
        made[name] = plain(figure(study))
    made["beside_paper"] = plain(beside_paper(made))
    made["verdicts"] = plain(verdicts(made))
    made["seconds"] = time.perf_counter() - begun
    return made


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
    example = next((one for one in study.questions if one.swapped is not None), study.questions[0])
    return {
        "data": study.of.data.name,
        "models": [
            {"label": label, "folder": name}
            for label, name in zip(study.of.models, _folders(study.of.models.values()), strict=True)
        ],
        "counts": {
            "asked": len(study.questions),
            "kept": len(study.kept),
            "choosing": len(study.choosing),
            "measuring": len(study.measuring),
        },
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
