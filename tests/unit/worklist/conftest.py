"""A folder of examinations as a department has them: pairs, a film, damaged files."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from napari_clipmed.records import Store

sys.path.insert(0, str(Path(__file__).parents[2] / "fixtures"))

from worklist_folder import make_folder  # noqa: E402


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "exams")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "workspace") as opened:
        yield opened
