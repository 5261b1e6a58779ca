"""Keep triton and Mesa's software renderer apart: together in one process they crash.

`import torch` imports triton where it is installed, whose library brings an LLVM of its own. When Mesa has
already loaded another LLVM to draw without a graphics card (a virtual machine, a remote desktop, a headless
server), the two mix up their symbols and the process dies with a segmentation fault. Triton only serves
`torch.compile` on a graphics card, so it is hidden from torch in exactly that case.
"""

from __future__ import annotations

import sys
from pathlib import Path

MAPS = Path("/proc/self/maps")
"""Libraries of this process (Linux only)."""


def software_renderer_loaded() -> bool:
    """Whether Mesa's LLVM is in this process."""
    try:
        return "libLLVM" in MAPS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def guard_torch_import() -> bool:
    """Hide triton from a torch that has yet to be imported; whether that was needed.

    Called before anything in the process of the window imports torch.
    """
    if "torch" in sys.modules or "triton" in sys.modules or not software_renderer_loaded():
        return False
    sys.modules["triton"] = None  # type: ignore[assignment]  # how Python marks a module as not importable
    return True
