"""A real archive with two studies of one simulated patient, and one of another."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
for folder in (FIXTURES, FIXTURES.parent / "unit" / "io"):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

from orthanc_server import Orthanc, _orthanc, orthanc, orthanc_tls  # noqa: E402
from small_archive import Archive, fill  # noqa: E402

__all__ = ["_orthanc", "orthanc", "orthanc_tls"]


@pytest.fixture
def archive(orthanc: Orthanc, tmp_path: Path) -> Archive:
    """`small_archive.fill` in an empty `orthanc`."""
    return fill(orthanc, tmp_path / "sources")
