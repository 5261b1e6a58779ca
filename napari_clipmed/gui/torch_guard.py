"""Import torch beside a window: without a crash, and without the window standing still.

`import torch` imports triton where it is installed, whose library brings an LLVM of its own. When Mesa has
already loaded another LLVM to draw without a graphics card (a virtual machine, a remote desktop, a headless
server), the two mix up their symbols and the process dies with a segmentation fault. Triton only serves
`torch.compile` on a graphics card, so it is hidden from torch in exactly that case.

Torch's libraries are a gigabyte, and Python lets no other thread run while an import loads one. The system's
own loader, called as a foreign function, keeps nobody waiting; the import then finds them loaded.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import sys
from pathlib import Path

MAPS = Path("/proc/self/maps")
"""Libraries of this process (Linux only)."""

LIBRARY = "libtorch_python.so"
"""Of torch; the others are loaded because this one needs them."""


def software_renderer_loaded() -> bool:
    """Whether Mesa's LLVM is in this process."""
    try:
        return "libLLVM" in MAPS.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def guard_torch_import() -> bool:
    """Get ready for a torch that has yet to be imported; whether triton had to be hidden from it.

    Called before anything in the process of the window imports torch, on a thread that may wait.
    """
    if "torch" in sys.modules:
        return False
    load_libraries()
    if "triton" in sys.modules or not software_renderer_loaded():
        return False
    sys.modules["triton"] = None  # type: ignore[assignment]  # how Python marks a module as not importable
    return True


def load_libraries() -> bool:
    """Load torch's libraries while other threads run; whether that was done. The import works without."""
    if sys.platform != "linux":
        return False
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return False
    try:
        load = ctypes.CDLL(None).dlopen
    except AttributeError:  # a C library without it
        return False
    load.restype, load.argtypes = ctypes.c_void_p, (ctypes.c_char_p, ctypes.c_int)
    return bool(load(os.fsencode(Path(found.origin).parent / "lib" / LIBRARY), os.RTLD_NOW))
