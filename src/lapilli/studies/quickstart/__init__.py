"""From nothing to a LLaVA that answers: the steps of `lapilli quickstart`, one after the other."""

from lapilli.studies.quickstart.journey import Journey, quickstart

__all__ = ["Journey", "quickstart"]
