"""What reaches the detectors: geometry, stenosis in per cent, noise, motion."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clipmed.phantoms.dsa import simulate_study
from napari_clipmed.phantoms.dsa.acquisition import Motion, misregistration, moved, quantum_noise
from napari_clipmed.phantoms.dsa.anatomy import grow_anatomy
from napari_clipmed.phantoms.dsa.config import load_ambient
from napari_clipmed.phantoms.dsa.projection import enlarge, look, render, splat
from napari_clipmed.phantoms.dsa.stenosis import narrowed
from napari_clipmed.phantoms.dsa.tree import Tree


def straight_vessel(radius_mm: float, length_mm: float = 40.0, step: float = 0.25) -> Tree:
    """A vessel along z, in the plane of the isocentre."""
    z = np.arange(0, length_mm, step) - length_mm / 2
    position = np.stack([np.zeros_like(z), np.zeros_like(z), z], axis=1)
    parent = np.arange(len(z)) - 1
    return Tree(position, parent, np.full(len(z), radius_mm), np.full(len(z), "M1"))


def thickness(tree: Tree, radius: np.ndarray, field_mm: float = 60.0, size: int = 300) -> np.ndarray:
    camera = look("AP", (0.0, 0.0), 0.0, np.zeros(3), size, field_mm)
    mass = np.pi * radius**2 * np.maximum(tree.edge_mm, 0.01)
    matrix = splat(camera, tree.position - 0.5 * tree.edge, radius, mass, tree.edge)
    return render(matrix, np.ones((len(tree), 1), np.float32), size)[0]


@pytest.mark.parametrize("percent", [50, 65, 80, 92])
def test_wasid_measured_on_the_projection_is_the_one_that_was_drawn(percent: int) -> None:
    tree = straight_vessel(1.5)
    radius, _ = narrowed(tree, tree.radius, len(tree) // 2, percent, half_mm=3.0)
    picture = thickness(tree, radius)
    # Densitometry: the area of contrast across the vessel goes with the square of its diameter.
    area = picture[100:200].sum(1)
    normal = np.median(picture[60:90].sum(1))
    measured = 100 * (1 - np.sqrt(area.min() / normal))
    assert measured == pytest.approx(percent, abs=10)
    # And by the width at half height, where the lumen is wide enough to have one.
    if percent <= 65:
        width = (picture > 0.5 * picture.max(1, keepdims=True)).sum(1)
        assert 100 * (1 - width[100:200].min() / np.median(width[60:90])) == pytest.approx(percent, abs=10)


@pytest.mark.parametrize("radius_mm", [0.15, 0.4, 1.2, 2.5])
def test_contrast_is_conserved_and_as_thick_as_the_vessel(radius_mm: float) -> None:
    tree = straight_vessel(radius_mm)
    picture = thickness(tree, tree.radius)
    pixel = 60 / 300
    volume = picture.sum() * pixel**2
    assert volume == pytest.approx(np.pi * radius_mm**2 * 40, rel=0.03)
    if radius_mm > 1:
        assert np.median(picture[100:200, 149:151]) == pytest.approx(2 * radius_mm, rel=0.08)


def test_thin_vessels_do_not_bead() -> None:
    tree = straight_vessel(0.15, step=1.2)
    row = thickness(tree, tree.radius)[100:200].sum(1)
    assert row.std() / row.mean() < 0.15


def test_one_tree_explains_both_views(simulate, patient) -> None:
    """Height is seen by both planes: the dome's shadow lies at the same millimetre above the isocentre."""
    study = simulate("IA", 0.8, "MCA bifurcation")
    dome = study.circulation.lesion_points
    for view in study.views.values():
        rows, columns = np.nonzero(view.truth.lesion)
        where, _ = view.camera.project(dome)
        assert np.hypot(rows.mean() - where[0, 1], columns.mean() - where[0, 0]) < 1.0
        assert view.truth.artery is not None
        assert view.truth.artery[view.truth.lesion].mean() > 0.9


def test_vessels_lie_where_an_angiographer_expects_them(patient) -> None:
    tree, side = patient.arteries, patient.side
    m1, a1 = tree.position[tree.named("M1")], tree.position[tree.named("A1")]
    fork = tree.position[tree.named("supraclinoid ICA")[-1]]
    assert side * (m1[-1, 0] - fork[0]) > 10, "M1 runs laterally"
    assert side * (fork[0] - a1[-1, 0]) > 8, "A1 runs to the midline"
    assert np.abs(tree.position[tree.named("A2"), 0]).max() < 8, "the pericallosal stays in the midline"
    carotid = tree.radius[tree.named("cavernous ICA")].mean()
    assert 2 * carotid == pytest.approx(5.0, abs=1.5)
    assert carotid > tree.radius[tree.named("M1")].mean() > tree.radius[tree.named("M4")].mean()
    sinus = patient.veins.position[patient.veins.named("sagittal sinus")]
    assert np.abs(sinus[:, 0]).max() < 4 * patient.scale[0], "the sagittal sinus projects on the midline"


def test_children_follow_parents_and_radii_never_grow_downstream(patient) -> None:
    tree = patient.arteries
    assert (tree.parent < np.arange(len(tree))).all()
    grown = np.isin(tree.segment, ["M4", "A4"]) & (tree.parent >= 0)
    assert (tree.radius[grown] <= tree.radius[tree.parent[grown]] + 1e-9).all()


def test_common_carotid_injection_fills_the_external_carotid_in_any_class() -> None:
    common, internal = (
        grow_anatomy(np.random.default_rng(4), 60, common_carotid_share=share) for share in (1.0, 0.0)
    )
    assert common.common_carotid and not internal.common_carotid
    assert {"ECA", "ECA branch"} <= set(common.arteries.segment)
    assert "ECA" not in set(internal.arteries.segment)
    for name in ("M1", "A2", "cavernous ICA"):
        first, second = (
            one.arteries.position[one.arteries.named(name)] / one.scale for one in (common, internal)
        )
        np.testing.assert_allclose(first, second)


def test_lateral_view_faces_the_side_of_its_detector() -> None:
    front = np.array([[0.0, 50.0, 0.0]])
    for angle, half in ((90.0, "left"), (-90.0, "right")):
        camera = look("LA", (angle, 0.0), 0.0, np.zeros(3), 100, 200.0)
        column = camera.project(front)[0][0, 0]
        assert (column < 49.5) == (half == "left")
        assert camera.project(np.array([[0.0, 0.0, 50.0]]))[0][0, 1] < 49.5, "up is up"


def test_magnification_grows_towards_the_source() -> None:
    camera = look("AP", (0.0, 0.0), 0.0, np.zeros(3), 100, 200.0)
    _, scale = camera.project(np.array([[0.0, -60.0, 0.0], [0.0, 0.0, 0.0], [0.0, 60.0, 0.0]]))
    assert scale[0] > scale[1] > scale[2]
    assert scale[1] == pytest.approx(1 / camera.pixel_mm)


def test_noise_falls_with_the_square_root_of_the_dose() -> None:
    body = np.zeros((64, 64), np.float32)
    spread = [
        float(quantum_noise(np.random.default_rng(0), (4, 64, 64), body, photons).std())
        for photons in (10_000.0, 40_000.0)
    ]
    assert spread[0] / spread[1] == pytest.approx(2.0, rel=0.02)


def test_motion_leaves_edges_that_the_recorded_shift_removes(rng_image: np.ndarray) -> None:
    jaw = np.zeros_like(rng_image)
    motion = Motion(np.array([[0.0, 0, 0], [1.5, 0, -0.7]]), np.zeros((2, 3)), np.zeros(2))
    axes = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])
    left = misregistration(rng_image, jaw, motion, axes, pixel_mm=0.5)
    assert np.abs(left[0]).max() < 1e-6
    assert np.abs(left[1]).max() > 0.1
    corrected = rng_image + left[1] - moved(rng_image, 3.0, 1.4)
    assert np.abs(corrected[8:-8, 8:-8]).max() < 1e-5


@pytest.fixture
def rng_image() -> np.ndarray:
    return enlarge(np.random.default_rng(2).normal(size=(1, 12, 12)).astype(np.float32), 96)[0]


@pytest.mark.parametrize("preset", ["training", "shifted", "sample"])
def test_same_seed_gives_the_same_study_and_another_seed_another(preset: str) -> None:
    def run(tree_seed: int, seed: int) -> np.ndarray:
        anatomy = grow_anatomy(np.random.default_rng(tree_seed), 60)
        return simulate_study(anatomy, "MMD", seed, load_ambient(preset), 64).subtracted("AP")

    first = run(1, 5)
    np.testing.assert_array_equal(first, run(1, 5))
    other = run(1, 6)
    assert first.shape != other.shape or not np.allclose(first, other)
