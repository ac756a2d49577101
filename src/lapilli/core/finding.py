"""The result of a check."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """The result of one check: its name, whether it holds, and the figures that show it."""

    name: str
    holds: bool
    detail: str
