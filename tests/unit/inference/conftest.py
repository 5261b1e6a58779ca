"""Studies and tiny models for the inference tests."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[2] / "fixtures"))

from small_models import add_diagnosis_model, add_segmentation_model  # noqa: E402
from small_studies import bolus, make_study, make_view  # noqa: E402

from napari_clipmed.models.registry import ModelEntry, Registry  # noqa: E402
from napari_clipmed.study import Projection, Study  # noqa: E402


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def biplane() -> Study:
    return make_study(make_view(bolus(seed=1)), make_view(bolus(seed=2), Projection.LA))


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry([tmp_path_factory.mktemp("models")])


@pytest.fixture(scope="session")
def diagnosis_model(registry: Registry) -> ModelEntry:
    return add_diagnosis_model(registry)


@pytest.fixture(scope="session")
def segmentation_model(registry: Registry) -> ModelEntry:
    return add_segmentation_model(registry)
