"""What everything that reads a folder through transformers needs: its errors in one line, and its silence."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from textwrap import shorten
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers.utils import logging

from lapilli.core.errors import LapilliError

LOCAL: Mapping[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""For every from_pretrained of an Auto class: no network, and no code from a folder, which it would else ask about."""

_SPEAKING = (OSError, ValueError, ImportError, SafetensorError)  # whose messages are sentences
_FOREIGN = (
    *_SPEAKING,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    AssertionError,
    StrictDataclassError,
)
_REASON_SHOWN = 240  # characters: transformers lists every model it knows


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what transformers raises on an unreadable folder into one line."""
    try:
        yield
    except LapilliError:
        raise
    except Exception as error:  # tokenizers raises bare ones; what is neither that nor foreign is a mistake of ours
        if type(error) is not Exception and not isinstance(error, _FOREIGN):
            raise
        message = str(error) if isinstance(error, _SPEAKING) else f"{type(error).__name__}: {error}"
        reason = shorten(message, width=_REASON_SHOWN, placeholder=" …").rstrip(".")
        remedy = "mend that, or fetch the folder again"
        raise LapilliError(f"{path}: cannot be read as a Hugging Face model: {reason}; {remedy}") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars, warnings and load reports: what they would say is checked, and raised."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
