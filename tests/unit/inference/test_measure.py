"""Lengths, diameters and stenosis against vessels of known size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference.measure import (
    Caliper,
    Length,
    Line,
    Segment,
    caliper,
    diameter_of,
    length_of,
    wasid,
    width_across,
)
from napari_clipmed.phantoms.dsa.projection import IODINE_PER_MM, Camera, look, render, splat
from napari_clipmed.phantoms.dsa.stenosis import narrowed
from napari_clipmed.phantoms.dsa.tree import Tree
from napari_clipmed.study import Calibration, PixelSpacing

SQUARE = PixelSpacing(0.5, 0.5, Calibration.GEOMETRY)


@dataclass(frozen=True, eq=False)
class Phantom:
    """A straight vessel with a stenosis in its middle, 30° askew, with noise; 0.4 mm a pixel by default."""

    picture: np.ndarray
    camera: Camera
    tree: Tree
    radius: np.ndarray

    @property
    def spacing(self) -> PixelSpacing:
        return PixelSpacing(self.camera.pixel_mm, self.camera.pixel_mm, Calibration.GEOMETRY)

    def across(self, node: int) -> Line:
        """A line across the vessel at a node, with as much ground as vessel to either side."""
        (at, before), scale = self.camera.project(self.tree.position[[node, node - 1]])
        along = (at - before) / np.linalg.norm(at - before)
        half = max(2.5 * self.tree.radius[node] * scale[0], 6) * np.array([-along[1], along[0]])
        return Line(tuple((at - half)[::-1]), tuple((at + half)[::-1]))


def stenosed(radius_mm: float, percent: float, size: int = 150, noise: float = 0.005) -> Phantom:
    z = np.arange(0, 40, 0.25) - 20
    position = np.stack([z * np.sin(np.pi / 6), np.zeros_like(z), z * np.cos(np.pi / 6)], axis=1)
    tree = Tree(position, np.arange(len(z)) - 1, np.full(len(z), radius_mm), np.full(len(z), "M1"))
    radius, _ = narrowed(tree, tree.radius, len(z) // 2, percent, half_mm=3.0)
    camera = look("AP", (0.0, 0.0), 0.0, np.zeros(3), size, 60.0)
    mass = np.pi * radius**2 * np.maximum(tree.edge_mm, 0.01)
    matrix = splat(camera, tree.position - 0.5 * tree.edge, radius, mass, tree.edge)
    picture = IODINE_PER_MM * render(matrix, np.ones((len(z), 1), np.float32), size)[0]
    noisy = picture + np.random.default_rng(0).normal(0, noise, picture.shape)
    return Phantom(noisy, camera, tree, radius)


def test_lengths_are_millimetres_with_their_calibration_or_pixels() -> None:
    line = Line((10, 10), (13, 14))
    assert length_of(line, SQUARE) == Length(2.5, "mm", "from detector spacing and magnification")
    assert length_of(line, PixelSpacing()) == Length(5.0, "px", "")
    assert str(length_of(line, SQUARE)) == "2.50 mm"


def test_pixels_that_are_not_square_count_as_they_are() -> None:
    upright, flat = Line((0, 0), (10, 0)), Line((0, 0), (0, 10))
    oblong = PixelSpacing(0.6, 0.3, Calibration.PATIENT)
    assert length_of(upright, oblong).value == pytest.approx(6.0)
    assert length_of(flat, oblong).value == pytest.approx(3.0)
    unknown = PixelSpacing(2.0, 1.0, Calibration.NONE)  # only the aspect ratio is known
    assert length_of(upright, unknown).value == pytest.approx(20.0)
    assert length_of(upright, unknown).unit == "px"


def disc_profile(diameter: float, oblong: float = 1.0) -> np.ndarray:
    """An upright vessel whose rows are sampled `oblong` times as far apart as its columns; opacity."""
    column = np.arange(60) - 29.3
    chord = 2 * np.sqrt(np.maximum(diameter**2 / 4 - column**2, 0))
    return np.repeat(chord[None], round(60 / oblong), axis=0)


@pytest.mark.parametrize("angle", [0, 20, 45])
def test_the_angle_of_the_line_across_tells_in_both_spacings(angle: float) -> None:
    """A line askew by an angle crosses 1/cos of the diameter, in millimetres as in pixels."""
    picture = disc_profile(12.0)
    reach = 22 * np.array([np.sin(np.deg2rad(angle)), np.cos(np.deg2rad(angle))])
    line = Line((30 - reach[0], 29.3 - reach[1]), (30 + reach[0], 29.3 + reach[1]))
    for spacing in (SQUARE, PixelSpacing(1.0, 0.5, Calibration.PATIENT)):
        width = width_across(picture, line, spacing)
        rows, columns = np.subtract(width.end, width.start)
        expected = np.hypot(rows * spacing.row_mm, columns * spacing.column_mm)
        assert width.half_maximum.value == pytest.approx(expected, rel=0.01)
    assert width.pixels * np.cos(np.deg2rad(angle)) == pytest.approx(12.0, abs=0.8)


@pytest.mark.parametrize("radius_mm", [0.75, 1.5, 2.5])
@pytest.mark.parametrize("size", [150, 300], ids=["0.4 mm", "0.2 mm"])
def test_diameters_are_true_within_a_pixel(radius_mm: float, size: int) -> None:
    phantom = stenosed(radius_mm, 50, size)
    for node in (20, 80, 140):
        width = width_across(phantom.picture, phantom.across(node), phantom.spacing)
        assert width.diameter.value == pytest.approx(2 * phantom.radius[node], abs=phantom.camera.pixel_mm)
        assert width.diameter.calibration == Calibration.GEOMETRY.value


@pytest.mark.parametrize("percent", [50, 65, 80, 92])
@pytest.mark.parametrize("radius_mm", [1.5, 2.5])
@pytest.mark.parametrize("size", [150, 300], ids=["0.4 mm", "0.2 mm"])
def test_a_known_stenosis_is_found_within_ten_points(percent: int, radius_mm: float, size: int) -> None:
    phantom = stenosed(radius_mm, percent, size)
    found = wasid(
        {
            segment: caliper(phantom.picture, phantom.across(node), phantom.spacing)
            for segment, node in ((Segment.STENOSIS, 80), (Segment.PROXIMAL, 25), (Segment.DISTAL, 140))
        }
    )
    assert found.reference is Segment.PROXIMAL
    assert found.percent == pytest.approx(percent, abs=10)


def test_where_edges_cannot_be_told_the_density_counts_and_it_says_so() -> None:
    phantom = stenosed(1.5, 80)
    narrow, normal = (caliper(phantom.picture, phantom.across(node), phantom.spacing) for node in (80, 25))
    found = wasid({Segment.STENOSIS: narrow, Segment.PROXIMAL: normal})
    assert not found.resolved and found.percent == found.by_density and "density" in found.method
    wide = stenosed(2.5, 50)
    narrow, normal = (caliper(wide.picture, wide.across(node), wide.spacing) for node in (80, 25))
    found = wasid({Segment.STENOSIS: narrow, Segment.PROXIMAL: normal})
    assert found.resolved and found.percent == found.by_profile and found.method == "from the profiles"


def by_hand(value: float) -> Caliper:
    return Caliper(Line((0, 0), (0, value)), Length(value, "mm", "x"))


def test_the_normal_diameter_is_proximal_then_distal_then_of_the_feeder() -> None:
    lines = {Segment.STENOSIS: by_hand(1.0), Segment.FEEDER: by_hand(5.0), Segment.DISTAL: by_hand(2.0)}
    found = wasid(lines)
    assert (found.reference, found.percent, found.method) == (Segment.DISTAL, 50.0, "by hand")
    assert wasid(lines | {Segment.PROXIMAL: by_hand(4.0)}).percent == 75.0
    del lines[Segment.DISTAL]
    assert wasid(lines).percent == 80.0


@pytest.mark.parametrize("missing", [Segment.STENOSIS, Segment.PROXIMAL])
def test_a_stenosis_of_one_line_is_refused(missing: Segment) -> None:
    lines = {Segment.STENOSIS: by_hand(1.0), Segment.PROXIMAL: by_hand(2.0)}
    del lines[missing]
    with pytest.raises(ClipmedError, match="narrowest diameter and a normal one"):
        wasid(lines)


def test_the_vessel_nearest_to_the_middle_is_measured() -> None:
    columns = np.arange(80)
    two = sum(np.sqrt(np.maximum(r**2 - (columns - c) ** 2, 0)) for c, r in ((25, 4), (60, 4.5)))
    width = width_across(np.repeat(two[None], 10, axis=0), Line((5, 8), (5, 45)), PixelSpacing())
    assert width.start[1] < 25 < width.end[1]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (Line((5, 5), (5, 6)), "shorter than two pixels"),
        (Line((5, 5), (5, 99)), "leaves the picture"),
        (Line((2, 5), (2, 25)), "crosses no vessel"),
    ],
)
def test_lines_that_cannot_be_measured_say_why(line: Line, says: str) -> None:
    flat = np.zeros((30, 30))
    with pytest.raises(ClipmedError, match=says):
        width_across(flat, line, SQUARE)
    assert says in caliper(flat, line, SQUARE).why_not


def test_a_vessel_at_the_end_of_the_line_is_not_guessed() -> None:
    ramp = np.repeat(np.linspace(0, 1, 30)[None], 30, axis=0)
    with pytest.raises(ClipmedError, match="on both sides"):
        width_across(ramp, Line((15, 2), (15, 27)), SQUARE)


def test_width_at_half_maximum_goes_back_to_the_diameter() -> None:
    assert diameter_of(20 * np.sqrt(3) / 2) == pytest.approx(20, abs=0.4)
    assert diameter_of(200.0) == pytest.approx(200 / (np.sqrt(3) / 2), rel=0.02)
    assert diameter_of(1.0) < 0.5
