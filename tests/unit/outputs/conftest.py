"""Reviewed studies for every format."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "fixtures"))

from reviewed_studies import Reviewed, reviewed_film, reviewed_run  # noqa: E402


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Reviewed]:
    found = reviewed_run(tmp_path / "biplane")
    yield found
    found.store.close()


@pytest.fixture
def film(tmp_path: Path) -> Iterator[Reviewed]:
    found = reviewed_film(tmp_path / "chest")
    yield found
    found.store.close()
