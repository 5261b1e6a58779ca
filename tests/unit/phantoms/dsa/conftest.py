"""One patient, one calm acquisition, shared by the checks of the angiogram phantom."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from napari_clipmed.phantoms.dsa import SimulatedStudy, simulate_study
from napari_clipmed.phantoms.dsa.anatomy import Anatomy, grow_anatomy
from napari_clipmed.phantoms.dsa.config import Ambient, load_ambient

SEED = 7
SIZE = 160

Simulate = Callable[..., SimulatedStudy]


@pytest.fixture(scope="session")
def patient() -> Anatomy:
    return grow_anatomy(np.random.default_rng(3), 220)


@pytest.fixture(scope="session")
def calm() -> Ambient:
    """The sample's acquisition, run long enough to see the veins empty, at a fine frame rate."""
    return load_ambient("sample").model_copy(update={"frames": (48, 48), "interval_s": (0.2, 0.2)})


@pytest.fixture(scope="session")
def simulate(patient: Anatomy, calm: Ambient) -> Simulate:
    """Simulate the patient with a disease; each study is made once."""
    made: dict[tuple[object, ...], SimulatedStudy] = {}

    def make(label: str, severity: float | None = 0.6, site: str | None = None) -> SimulatedStudy:
        key = (label, severity, site)
        if key not in made:
            made[key] = simulate_study(
                patient, label, SEED, calm, SIZE, severity=severity, site=site, full_truth=True
            )
        return made[key]

    return make
