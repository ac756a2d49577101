"""Lapilli: build a LLaVA, and see how it learned to see."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lapilli.api import Answer, Model, load

__version__ = "0.1.0"
__all__ = ["Answer", "Model", "load"]


def __getattr__(name: str) -> Any:
    """What `lapilli.api` offers, which is imported when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from lapilli import api

    return getattr(api, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
