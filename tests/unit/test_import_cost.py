"""Importing the package is cheap; torch is only loaded when something is asked of a model."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = ("torch", "open_clip", "napari", "lightning", "sqlalchemy")


def _modules_after(code: str) -> set[str]:
    script = f"import sys, json\n{code}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize("module", ["napari_clipmed", "napari_clipmed.study", "napari_clipmed.cli"])
def test_import_loads_nothing_heavy(module: str) -> None:
    assert not set(HEAVY) & _modules_after(f"import {module}")


def test_help_of_the_command_line_loads_no_torch() -> None:
    code = """
import contextlib, io
from napari_clipmed.cli import main
sys.argv = ["napari-clipmed", "--help"]
with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit):
    main()
"""
    assert "torch" not in _modules_after(code)
