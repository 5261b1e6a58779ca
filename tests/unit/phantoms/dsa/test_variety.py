"""Calibre, blush, bone, unrest, reflux, collaterals: there where asked for, and alike for every class."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clipmed.phantoms.dsa.acquisition import Motion
from napari_clipmed.phantoms.dsa.anatomy import LARGE_MM, Anatomy, draw_anatomy, grow_anatomy
from napari_clipmed.phantoms.dsa.circulation import Circulation
from napari_clipmed.phantoms.dsa.config import Ambient, load_ambient
from napari_clipmed.phantoms.dsa.external_carotid import EXTERNAL
from napari_clipmed.phantoms.dsa.study import SimulatedStudy, simulate_study
from napari_clipmed.phantoms.dsa.variety import Variety, draw_variety

CONSOLE = load_ambient("console")
RICH = load_ambient("console_rich")


def study_of(patient: Anatomy, label: str, **changes: object) -> SimulatedStudy:
    ambient = load_ambient("sample").model_copy(
        update={"frames": (10, 10), "interval_s": (0.6, 0.6)} | changes
    )
    return simulate_study(patient, label, 4, ambient, 72, severity=0.7)


@pytest.mark.parametrize("preset", ["training", "shifted", "complete", "sample"])
def test_the_presets_of_before_vary_in_nothing(preset: str) -> None:
    ambient = load_ambient(preset)
    assert all(draw_variety(seed, ambient) == Variety() for seed in range(20))
    assert ambient.small_vessels == (1, 1) and ambient.common_carotid_share == 0.12


def test_every_factor_is_drawn_within_its_range() -> None:
    drawn = [draw_variety(seed, RICH) for seed in range(300)]
    for name in ("unrest", "bone_texture", "blush", "blush_texture", "collaterals", "net"):
        low, high = getattr(RICH, name)
        values = np.array([getattr(one, name) for one in drawn])
        assert low <= values.min() < low + 0.1 * (high - low)
        assert high >= values.max() > high - 0.1 * (high - low)
    share = np.mean([one.reflux_delay_s > 0 for one in drawn])
    assert share == pytest.approx(RICH.reflux_share, abs=0.1)


def test_small_vessels_widen_and_trunks_keep_their_calibre() -> None:
    thin, wide = (grow_anatomy(np.random.default_rng(4), 60, calibre=calibre) for calibre in (1.0, 2.0))
    for before, after in ((thin.arteries, wide.arteries), (thin.veins, wide.veins)):
        trunk = before.radius >= LARGE_MM
        np.testing.assert_array_equal(before.radius[trunk], after.radius[trunk])
        np.testing.assert_array_equal(before.position, after.position)
        small = before.radius < LARGE_MM - 0.8
        np.testing.assert_allclose(after.radius[small], 2 * before.radius[small])


def test_a_patient_is_drawn_by_the_preset() -> None:
    patients = [draw_anatomy(np.random.default_rng(seed), CONSOLE) for seed in range(12)]
    plain = [draw_anatomy(np.random.default_rng(seed), load_ambient("training")) for seed in range(12)]
    assert sum(one.common_carotid for one in patients) > sum(one.common_carotid for one in plain)
    assert np.mean([one.arteries.radius.mean() for one in patients]) > 1.1 * np.mean(
        [one.arteries.radius.mean() for one in plain]
    )


def test_patients_of_the_older_presets_are_who_they_were() -> None:
    """None of their draws moves, that of a common carotid injection above all."""
    ambient, injected = load_ambient("sample").model_copy(update={"n_leaves": (40, 40)}), []
    for seed in range(25):
        now = draw_anatomy(np.random.default_rng(seed), ambient)
        rng = np.random.default_rng(seed)
        before = grow_anatomy(rng, int(rng.uniform(40, 40)))
        assert now.common_carotid == before.common_carotid
        np.testing.assert_array_equal(now.arteries.position, before.arteries.position)
        injected.append(now.common_carotid)
    assert any(injected) and not all(injected)


def test_unrest_scales_what_the_patient_does() -> None:
    still = Motion(np.ones((3, 3)), np.ones((3, 3)), np.ones(3))
    assert Variety().moved(still) is still
    restless = Variety(unrest=3.0).moved(still)
    assert (restless.head == 3).all() and (restless.jaw == 3).all() and (restless.turn == 3).all()


def test_reflux_reaches_the_external_carotid_late_and_thinly() -> None:
    tree = grow_anatomy(np.random.default_rng(4), 60, common_carotid_share=1.0).arteries
    before = Circulation(tree.radius, np.zeros(len(tree)), np.ones(len(tree)))
    after = Variety(reflux_delay_s=1.5, reflux_gain=0.3).refluxed(before, tree)
    external = np.isin(tree.segment, EXTERNAL)
    assert external.any() and (~external).any()
    assert (after.arrival[external] == 1.5).all() and (after.arrival[~external] == 0).all()
    assert (after.gain[external] == 0.3).all() and (after.gain[~external] == 1).all()
    assert Variety().refluxed(before, tree) is before


def test_blush_is_stronger_and_has_structure(patient: Anatomy) -> None:
    plain = study_of(patient, "Control")
    strong = study_of(patient, "Control", blush=(2.5, 2.5))
    assert strong.views["AP"].log.sum() > 1.2 * plain.views["AP"].log.sum()
    smooth = np.ones((2, 64, 64), np.float32)
    grained = Variety(blush_texture=0.4).structured(smooth, np.random.default_rng(0))
    assert np.array_equal(grained[0], grained[1]), "vessels do not move from frame to frame"
    assert grained.std() > 0.1 and grained.min() > 0
    assert Variety().structured(smooth, np.random.default_rng(0)) is smooth


def test_bone_is_uneven(patient: Anatomy) -> None:
    even, uneven = (
        study_of(patient, "Control", bone_texture=(factor, factor)).views["AP"].body for factor in (1.0, 3.0)
    )
    assert np.abs(np.diff(uneven)).mean() > 1.05 * np.abs(np.diff(even)).mean()


def test_collaterals_fill_what_lies_beyond_a_closed_fork(patient: Anatomy) -> None:
    beyond = patient.arteries.named("M4")
    poor, rich = (
        study_of(patient, "MMD", collaterals=(share, share)).circulation.gain[beyond].mean()
        for share in (0.0, 0.9)
    )
    assert poor < 0.5 < 0.8 < rich
    healthy = study_of(patient, "AS", collaterals=(0.9, 0.9)).circulation
    assert np.array_equal(healthy.gain, study_of(patient, "AS").circulation.gain), "of moyamoya disease alone"


def test_a_rich_net_has_more_and_wider_vessels_that_reach_further(patient: Anatomy) -> None:
    plain, rich = (
        [
            part
            for part in study_of(patient, "MMD", net=(factor, factor)).circulation.parts
            if part.kind == "net"
        ]
        for factor in (1.0, 2.5)
    )
    assert len(rich) > 2 * len(plain)
    assert np.mean([part.radius[0] for part in rich]) > 1.3 * np.mean([part.radius[0] for part in plain])
    height = [max(part.points[:, 2].max() for part in parts) for parts in (plain, rich)]
    assert height[1] > 1.15 * height[0]


def test_a_preset_builds_on_another() -> None:
    assert RICH.reflux_share == CONSOLE.reflux_share and RICH.net != CONSOLE.net


def test_all_classes_of_a_patient_are_alike_but_for_the_disease() -> None:
    ambient: Ambient = CONSOLE.model_copy(update={"frames": (6, 6)})
    patient = draw_anatomy(np.random.default_rng(5), ambient)
    studies = [simulate_study(patient, label, 9, ambient, 64) for label in ("Control", "MMD", "AM")]
    assert len({study.variety for study in studies}) == 1
    assert len({study.acquisition.grey_per_log for study in studies}) == 1
