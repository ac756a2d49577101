"""What a check came to."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One check: what has to hold, whether it does, and the figures that say so."""

    name: str
    holds: bool
    detail: str
