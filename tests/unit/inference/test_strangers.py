"""The shipped diagnosis model before what it never learned: flagged, and never named."""

from __future__ import annotations

from pathlib import Path

import pytest
import skimage.data
from PIL import Image

from napari_clipmed.inference.engine import Engine
from napari_clipmed.inference.outofdistribution import strangeness
from napari_clipmed.io import open_study
from napari_clipmed.models.loading import load_tensors
from napari_clipmed.models.registry import default_registry
from napari_clipmed.phantoms import sample_study
from napari_clipmed.study import Study


@pytest.fixture(scope="module")
def judge() -> Engine:
    return Engine(default_registry().get("clip-dsa-compact"), threads=1)


def never_named(judge: Engine, study: Study) -> float:
    """Flagged and uncertain; how far its features lie away, in limits, whatever the file claims to be."""
    answer = judge.classify(study)
    assert answer.unlike_training
    assert answer.headline.startswith("Uncertain: ")
    card, tensors = judge.diagnosis.card, load_tensors(judge.diagnosis)
    return max(strangeness(tensors, card.calibration, d) or 0.0 for d in judge.describe(study).values())


@pytest.mark.parametrize("name", ["astronaut", "camera", "moon"])
def test_a_photograph_is_flagged_by_its_features_alone(judge: Engine, tmp_path: Path, name: str) -> None:
    Image.fromarray(getattr(skimage.data, name)()).convert("L").save(tmp_path / f"{name}.png")
    assert never_named(judge, open_study(tmp_path / f"{name}.png")) > 1


def test_a_real_coronary_run_is_flagged_by_its_features_alone(judge: Engine, shared_data: Path) -> None:
    run = open_study(shared_data / "xa" / "rubo_0002_coronary_96f_jpegbaseline.dcm")
    assert never_named(judge, run) > 1


def test_a_real_chest_film_is_flagged_by_its_features_alone(judge: Engine, shared_data: Path) -> None:
    film = open_study(shared_data / "cxr" / "dicom" / "pylibjpeg_DX_u16_j2k.dcm")
    assert never_named(judge, film) > 1


@pytest.mark.parametrize("name", ["MMD", "AS"])
def test_a_real_cerebral_run_is_not_named(judge: Engine, shared_data: Path, name: str) -> None:
    never_named(judge, open_study(shared_data / "dsa" / "sequences" / f"{name}-AP.dcm"))


def test_simulated_studies_are_usual_to_it(judge: Engine, tmp_path: Path) -> None:
    studies = [open_study(sample_study(label, tmp_path / label)) for label in ("MMD", "IA", "AM")]
    flagged = [judge.classify(study).unlike_training for study in studies]
    assert sum(flagged) <= 1  # 3 % of the test patients are
