"""Giving memory back to the machine, which freeing it alone does not."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Callable
from functools import cache


@cache
def _trimmer() -> Callable[[int], int] | None:
    """Glibc's malloc_trim; None where the C library has none."""
    if not sys.platform.startswith("linux"):
        return None
    return getattr(ctypes.CDLL(None), "malloc_trim", None)


def give_back_freed() -> None:
    """Hand pages that are free inside the process back to the machine; safe from any thread.

    glibc keeps freed blocks of up to 32 MiB for later, such as the compressed frames of a run.
    Takes some milliseconds; the lock of the interpreter is free meanwhile.
    """
    trim = _trimmer()
    if trim is not None:
        trim(0)
