"""Fixtures that every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data sets, which are for local use only; the test is skipped where it is absent."""
    folder = Path(os.environ.get("CLIPMED_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data are not on this machine ({folder}; set CLIPMED_SHARED_DATA)")
    return folder


@pytest.fixture(autouse=True)
def clipmed_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the person's own settings, caches, models or workspaces."""
    home = tmp_path_factory.mktemp("clipmed_home")
    monkeypatch.setenv("CLIPMED_HOME", str(home))
    return home
