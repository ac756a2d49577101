"""From nothing to a LLaVA that answers: the steps of `lapilli quickstart`, one after the other."""

from lapilli.studies.quickstart.journey import Journey, quickstart
from lapilli.studies.quickstart.languages import LANGUAGES

__all__ = ["LANGUAGES", "Journey", "quickstart"]
