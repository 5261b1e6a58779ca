"""The command line called in process, as a user types it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from napari_clipmed.cli import _app


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands write where they are called; a wide terminal keeps sentences on one line."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")  # for programs that are started
    for console in (_app.console, _app.errors):
        monkeypatch.setattr(console, "_width", 200)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command line as the console script does: (exit code, stdout, stderr)."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["napari-clipmed", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            _app.main()
            sys.exit(0)
        captured = capsys.readouterr()
        return int(stopped.value.code or 0), captured.out, captured.err

    return run
