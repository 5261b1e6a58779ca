"""Scatter, blur, shutters, catheter, breathing, the sixth stage: there where asked for, nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clipmed.phantoms.dsa.acquisition import Motion
from napari_clipmed.phantoms.dsa.anatomy import Anatomy
from napari_clipmed.phantoms.dsa.config import Ambient, load_ambient
from napari_clipmed.phantoms.dsa.extras import Extras, breathing, scattered
from napari_clipmed.phantoms.dsa.moyamoya import SIXTH
from napari_clipmed.phantoms.dsa.projection import look
from napari_clipmed.phantoms.dsa.study import SimulatedStudy, simulate_study

ON: dict[str, object] = {
    "scatter": (0.8, 0.8),
    "blur_mm": (0.4, 0.4),
    "shutter_share": 1.0,
    "catheter_share": 1.0,
    "late_moyamoya_share": 1.0,
}


def study_of(patient: Anatomy, label: str = "MMD", severity: float | None = 0.5, **changes: object):
    ambient = load_ambient("sample").model_copy(update={"frames": (8, 8)} | changes)
    return simulate_study(patient, label, 4, ambient, 72, severity=severity)


@pytest.fixture(scope="module")
def plain(patient: Anatomy) -> SimulatedStudy:
    return study_of(patient)


def test_presets_of_before_ask_for_nothing_and_complete_for_all() -> None:
    for name in ("training", "shifted", "sample"):
        ambient = load_ambient(name)
        off = Ambient.model_validate(
            {k: v for k, v in ambient.model_dump().items() if k not in {*ON, "breathing_mm"}}
        )
        assert off == ambient
    complete = load_ambient("complete").model_dump()
    assert all(np.max(complete[name]) > 0 for name in (*ON, "breathing_mm"))


def test_extras_have_a_stream_of_their_own(patient: Anatomy, plain: SimulatedStudy) -> None:
    """Everything else of a study stays as it was without them."""
    full = study_of(patient, **ON)
    assert plain.extras.shutter == "" and full.extras.shutter
    assert np.array_equal(plain.elements.concentration, full.elements.concentration)
    assert np.array_equal(plain.acquisition.times_s, full.acquisition.times_s)
    assert np.array_equal(plain.views["AP"].truth.motion_px, full.views["AP"].truth.motion_px)
    assert not np.array_equal(plain.views["AP"].log, full.views["AP"].log)


def test_without_extras_the_picture_passes_untouched() -> None:
    log, body = np.ones((2, 8, 8), np.float32), np.ones((8, 8), np.float32)
    same = Extras().add(look("AP", (0.0, 0.0), 0.0, np.zeros(3), 8, 200.0), log, body)
    assert same[0] is log and same[1] is body


def test_scatter_flattens_contrast_most_behind_bone() -> None:
    body = np.zeros((64, 64), np.float32)
    body[:, 32:] = 1.5
    log = np.full((1, 64, 64), 0.3, np.float32)
    seen, _ = scattered(log, body, 0.8)
    soft, bone = seen[0, 32, 8], seen[0, 32, 56]
    assert bone < soft < 0.3
    nothing, same = scattered(log, body, 0.0)
    assert np.allclose(nothing, log, atol=1e-5) and np.allclose(same, body, atol=1e-5)
    uniform, _ = scattered(log, np.zeros((64, 64), np.float32), 1.0)
    assert uniform[0, 32, 32] == pytest.approx(-np.log((np.exp(-0.3) + 1) / 2), abs=1e-4)


def test_blur_softens_without_losing_contrast(patient: Anatomy, plain: SimulatedStudy) -> None:
    camera = plain.views["LA"].camera
    log = np.zeros((1, 72, 72), np.float32)
    log[0, 36, 36] = 1.0
    soft, _ = Extras(blur_mm=1.5 * camera.pixel_mm).add(camera, log, np.zeros((72, 72), np.float32))
    assert soft.sum() == pytest.approx(1.0, rel=1e-4) and soft.max() < 0.1


@pytest.mark.parametrize("shape", ["frame", "disc"])
def test_nothing_is_seen_behind_the_shutters(plain: SimulatedStudy, shape: str) -> None:
    extras = Extras(shutter=shape, margins=np.array([0.12, 0.0, 0.1, 0.05]))
    log, body = extras.add(plain.views["AP"].camera, plain.views["AP"].log, plain.views["AP"].body)
    opening = extras.opening(72)
    hidden = opening < 0.01
    assert hidden[0].all() if shape == "frame" else hidden[0, 0]
    assert not hidden[36, 36] and opening[36, 36] == pytest.approx(1, abs=1e-3)
    assert np.abs(log[:, hidden]).max() < 0.01 * np.abs(plain.views["AP"].log).max()
    assert body[hidden].min() > np.median(plain.views["AP"].body)


def test_a_lesion_behind_the_shutters_is_not_in_the_truth(patient: Anatomy) -> None:
    study = study_of(patient, **ON)
    for view in study.views.values():
        assert view.truth.lesion.any()
        assert not (view.truth.lesion & (study.extras.opening(72) < 0.5)).any()


def test_the_catheter_is_in_the_mask_and_shows_by_its_recoil(plain: SimulatedStudy) -> None:
    line = np.linspace([0.0, 0.0, -60.0], [0.0, 0.0, 0.0], 60)
    recoil = np.zeros((3, 3))
    recoil[2] = [2 * plain.views["AP"].camera.pixel_mm, 0, 0]
    camera = look("AP", (0.0, 0.0), 0.0, np.zeros(3), 72, 200.0)
    log, body = Extras(catheter=line, recoil=recoil).add(
        camera, np.zeros((3, 72, 72), np.float32), np.zeros((72, 72), np.float32)
    )
    assert body.max() > 0.015 and body[:20].max() == 0, "below its tip only"
    assert np.abs(log[:2]).max() == 0
    assert log[2].max() > 0.01 and log[2].min() < -0.01
    assert log[2].sum() == pytest.approx(0, abs=1e-2)


def test_breathing_lifts_head_and_jaw_and_starts_at_the_mask() -> None:
    times = np.linspace(0, 10, 40)
    still = Motion(np.zeros((40, 3)), np.zeros((40, 3)), np.zeros(40))
    calm = load_ambient("training")
    assert breathing(still, 1, calm, times) is still
    moving = breathing(still, 1, calm.model_copy(update={"breathing_mm": (0.4, 0.4)}), times)
    assert moving.head[0] == pytest.approx(0) and np.ptp(moving.head[:, 2]) == pytest.approx(0.8, abs=0.1)
    assert np.abs(moving.jaw).max() > np.abs(moving.head).max() and np.ptp(moving.head[:, 0]) == 0


def test_the_sixth_stage_has_no_net_and_next_to_no_flow(patient: Anatomy, plain: SimulatedStudy) -> None:
    late = study_of(patient, severity=SIXTH)
    fifth = study_of(patient, severity=1.0)
    assert late.circulation.severity == {"stage": 6} and fifth.circulation.severity == {"stage": 5}
    assert not any(part.kind == "net" for part in late.circulation.parts)
    assert any(part.kind == "net" for part in plain.circulation.parts)
    m4 = patient.arteries.named("M4")
    assert late.circulation.gain[m4].mean() < 0.5 * fifth.circulation.gain[m4].mean()
    assert all(view.truth.lesion.any() for view in late.views.values())
    drawn = study_of(patient, severity=None, late_moyamoya_share=1.0)
    assert drawn.circulation.severity == {"stage": 6}
