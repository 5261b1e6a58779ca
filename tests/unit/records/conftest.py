"""A small study with an identity that must never reach the disk, and an open store."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from napari_clipmed.records import Store
from napari_clipmed.study import (
    DisplayWindow,
    FrameTiming,
    Kind,
    PatientIdentity,
    PixelSpacing,
    Projection,
    Source,
    Study,
    View,
)

sys.path.insert(0, str(Path(__file__).parents[2] / "fixtures"))

from postgres_server import database, postgres  # noqa: E402

__all__ = ["database", "postgres"]

StudyMaker = Callable[..., Study]


def make_study(seed: int = 0, patient: str = "PID-4711-SECRET", name: str = "Mustermann^Erika") -> Study:
    """A biplane run of four 12 × 10 frames a view."""
    rng = np.random.default_rng(seed)

    def view(projection: Projection, number: int) -> View:
        return View(
            projection=projection,
            pixels=rng.integers(0, 255, (4, 12, 10), dtype=np.uint8),
            timing=FrameTiming(np.arange(4) * 250.0, "Frame Time", True),
            spacing=PixelSpacing(),
            window=DisplayWindow(0, 255),
            source=Source(
                path=f"/data/{name}/run.dcm",
                sop_instance_uid=f"1.2.3.{seed}.{number}",
                study_instance_uid=f"1.2.3.{seed}",
            ),
        )

    return Study(
        views=(view(Projection.AP, 1), view(Projection.LA, 2)),
        kind=Kind.ANGIOGRAM,
        identity=PatientIdentity(name=name, patient_id=patient, birth_date="19500101"),
        title=f"{name} {patient}",
    )


@pytest.fixture(name="make_study")
def make_study_fixture() -> StudyMaker:
    return make_study


@pytest.fixture
def study() -> Study:
    return make_study()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "workspace") as opened:
        yield opened


@pytest.fixture(params=["sqlite", "postgresql"])
def either_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An open store on each of the two databases."""
    url = request.getfixturevalue("database") if request.param == "postgresql" else ""
    with Store.create(tmp_path / "workspace", url) as opened:
        yield opened
