"""Results and recipes as plain values, which JSON and YAML can hold."""

import json
import math
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import PurePath
from typing import Any


def plain(value: Any) -> Any:
    """Return `value` as dict, list, str, int, float, bool and None, all the way down.

    Dataclasses become dicts of their fields, arrays and tensors lists, paths text, enum members their value. A number
    that is not finite becomes None, for JSON has no word for it. Raises TypeError for anything else.
    """
    if isinstance(value, Enum):
        return plain(value.value)
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, PurePath):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(entry) for entry in value]
    if hasattr(value, "tolist"):  # numpy's and torch's arrays and numbers, without loading either here
        return plain(value.tolist())
    raise TypeError(f"a {type(value).__name__} has no plain form: {value!r}")


def json_text(value: Any, indent: int | None = None) -> str:
    """Return `value` as JSON, in its plain form; on one line unless indented."""
    return json.dumps(plain(value), ensure_ascii=False, allow_nan=False, indent=indent)
