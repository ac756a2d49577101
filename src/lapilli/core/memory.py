"""The most memory that this process has held, as the system counts it."""

import sys
from importlib.util import find_spec


def peak_memory(children: bool = False) -> int | None:
    """Bytes: of this process, or with `children` of any ended one of its own if that was more. None on Windows."""
    if find_spec("resource") is None:
        return None
    import resource  # is not everywhere

    counted = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN) if children else (resource.RUSAGE_SELF,)
    peak = max(resource.getrusage(who).ru_maxrss for who in counted)
    return peak if sys.platform == "darwin" else peak * 1024
