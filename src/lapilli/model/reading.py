"""What everything that reads a folder through transformers needs: its errors in one line, and its silence."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten

from safetensors import SafetensorError
from transformers.utils import logging

from lapilli.core.errors import LapilliError

_REASON_SHOWN = 240  # characters: transformers lists every model it knows


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what transformers raises on an unreadable folder into one line."""
    try:
        yield
    except (OSError, ValueError, SafetensorError) as error:
        reason = shorten(str(error), width=_REASON_SHOWN, placeholder=" …")
        raise LapilliError(f"{path}: cannot be read as a Hugging Face model: {reason}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars and load reports: what they would say is checked here, and raised."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
