"""Today's spelling of the names that earlier versions wrote into files as `colour`.

Scenes, questions, recipes and results hold such names: keys, types of questions, verdicts. The reader of such a file
respells those names and nothing else: what a person or a model has written stays as it is.
"""

from typing import Any

_NAMES = {"colour": "color", "overall colour": "overall color", "overall_colour": "overall_color"}


def name(value: Any) -> Any:
    """Return a name as it is spelled today, any other value as it is."""
    return _NAMES.get(value, value) if isinstance(value, str) else value


def keys(value: Any) -> Any:
    """Return an object of JSON with its own keys respelled, any other value as it is."""
    return {name(key): entry for key, entry in value.items()} if isinstance(value, dict) else value


def entry(value: Any, key: str) -> Any:
    """Return an object of JSON with the name under `key` respelled, any other value as it is."""
    return value | {key: name(value[key])} if isinstance(value, dict) and key in value else value
