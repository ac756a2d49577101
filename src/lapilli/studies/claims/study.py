"""From the runs of three studies to verdicts on the claims.

compare/         the run of the comparison, with its page
patch/           the run of the patching study, with its page
flow/            the run of the flow study, which hides pictures in some layers
results/claims   what the page shows
"""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from lapilli.core.environment import versions
from lapilli.core.placement import AS_STORED, Placement
from lapilli.core.run import RunDir
from lapilli.studies.claims import flow, geometry, modality, patching
from lapilli.studies.claims.claim import LEVEL, Claim, finding_of
from lapilli.studies.claims.evidence import Evidence
from lapilli.studies.tuned_models import begun
from lapilli.studies.tuning import Tuning

RESULT = "claims"
"""The name of the study's result in its run folder."""

VERSION = 3
"""Of what is measured. A folder that was begun with another is not gone on with."""

CLAIMS: Sequence[Claim] = (*geometry.CLAIMS, *modality.CLAIMS, *patching.CLAIMS, *flow.CLAIMS)
"""Every claim that is tested."""

DRAWN = ("depth", "width", "hidden", "late", "scores", "between", "half")
"""What the page draws of the flow study."""

ELSEWHERE = {
    "G10": "whether neighbors see a relation that CKA does not: both measured again on permuted pairs",
    "T1 to T4": "which layers to train: trainings",
}
"""Claims of the same list that are not tested, and what they are about and would take."""


def opened(out: Path, of: Tuning, placement: Placement = AS_STORED) -> RunDir:
    """The run folder of the claims: new, interrupted, or finished. Raises LapilliError as `begun` does."""
    return begun(out, of, placement, RESULT, VERSION)


def study(of: Tuning, run: RunDir, comparison: RunDir, patching_run: RunDir, flow_run: RunDir) -> None:
    """Test every claim on finished runs, and save the findings."""
    evidence = Evidence.of(comparison, patching_run, flow_run, of.seed)
    findings = [finding_of(claim, evidence, LEVEL / len(CLAIMS)) for claim in CLAIMS]
    made: dict[str, Any] = {
        "models": {role: {"label": label} for role, label in of.labels.items()},
        "settings": {"samples": len(of.questions), "seed": of.seed, "data": of.data.name, "level": LEVEL,
                     "claims": len(CLAIMS), "depth": evidence.depth, "versions": versions()},
        "claims": [asdict(finding) for finding in findings],
        "elsewhere": ELSEWHERE,
        "flow": {name: evidence.flow[name] for name in DRAWN},
    }  # fmt: skip
    run.save(RESULT, made)
