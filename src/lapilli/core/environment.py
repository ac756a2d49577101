"""The installed versions, read from the packages' metadata: importing torch would take seconds."""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

PACKAGES = ("lapilli", "torch", "transformers", "accelerate", "tokenizers", "safetensors", "numpy", "pillow")
"""The packages that results depend on."""


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str | None]:
    """Return the installed version of each package; None for a package that is not installed."""
    return {package: _version(package) for package in packages}


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
