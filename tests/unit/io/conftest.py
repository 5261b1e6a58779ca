"""Runs and films made on the spot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_runs import run_frames
from numpy.typing import NDArray
from pydicom import Dataset

from napari_clipmed.io.dicom_write import write_dx, write_xa


@pytest.fixture
def frames() -> NDArray[np.uint16]:
    return run_frames()


@pytest.fixture
def make_run(tmp_path: Path, frames: NDArray[np.uint16]) -> Callable[..., Path]:
    """Write a run, let the test change its header, and return its path."""

    def make(
        change: Callable[[Dataset], None] | None = None,
        name: str = "run.dcm",
        pixels: NDArray | None = None,
        **options,
    ) -> Path:
        path = tmp_path / name
        write_xa(
            path, frames if pixels is None else pixels, **{"timing_ms": 200.0, "angles": (0, 0), **options}
        )
        return _changed(path, change)

    return make


@pytest.fixture
def make_film(tmp_path: Path, frames: NDArray[np.uint16]) -> Callable[..., Path]:
    """The same for a film."""

    def make(
        change: Callable[[Dataset], None] | None = None,
        name: str = "film.dcm",
        pixels: NDArray | None = None,
        **options,
    ) -> Path:
        path = tmp_path / name
        write_dx(path, frames[0] if pixels is None else pixels, **options)
        return _changed(path, change)

    return make


def _changed(path: Path, change: Callable[[Dataset], None] | None) -> Path:
    if change is not None:
        dataset = pydicom.dcmread(path)
        change(dataset)
        dataset.save_as(path)
    return path
