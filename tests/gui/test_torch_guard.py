"""Triton is hidden from torch only where it would crash the window; libraries are loaded beside it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from napari_clipmed.gui import torch_guard


@pytest.fixture
def fresh(monkeypatch):
    """A process that has imported neither torch nor triton."""
    for name in ("torch", "triton"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    yield monkeypatch
    sys.modules.pop("triton", None)


def test_hidden_beside_the_software_renderer(fresh, tmp_path):
    maps = tmp_path / "maps"
    maps.write_text("7f00 r-xp /usr/lib/x86_64-linux-gnu/libLLVM.so.19.1\n")
    fresh.setattr(torch_guard, "MAPS", maps)
    assert torch_guard.guard_torch_import()
    with pytest.raises(ImportError):
        import triton  # noqa: F401
    assert not torch_guard.guard_torch_import()


def test_left_alone_with_a_graphics_card_or_elsewhere(fresh, tmp_path):
    fresh.setattr(torch_guard, "MAPS", tmp_path / "missing")
    assert not torch_guard.guard_torch_import()
    assert "triton" not in sys.modules


@pytest.mark.skipif(sys.platform != "linux", reason="loads the libraries of Linux")
def test_libraries_are_loaded_while_other_threads_run():
    code = """
import ctypes, sys
sys.path.insert(0, {path!r})
from napari_clipmed.gui.torch_guard import load_libraries
assert load_libraries() and "torch" not in sys.modules
loaded = open("/proc/self/maps").read()
assert "libtorch_cpu" in loaded and "libtorch_python" in loaded
import torch
assert float(torch.ones(2).sum()) == 2.0
"""
    root = str(Path(torch_guard.__file__).parents[2])
    subprocess.run([sys.executable, "-c", code.format(path=root)], check=True, timeout=120)
