"""Time–density curves of regions."""

from __future__ import annotations

import numpy as np
import pytest
from test_bolus import ALPHA, BETA, EVEN, flowing_run

from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference.curves import Outline, Region, curve_of, curves_csv, width_at_half
from napari_clipmed.inference.opacity import OpacityRun, opacity_of


@pytest.fixture(scope="module")
def run() -> OpacityRun:
    return opacity_of(flowing_run())


def test_the_curve_of_a_vessel_is_its_bolus(run: OpacityRun) -> None:
    curve = curve_of(run, Region.box(Outline.RECTANGLE, 5, 3.6, 40, 6.4), "AP")
    assert curve.pixels == 36 * 3
    assert curve.time_to_peak == pytest.approx(1.0 + ALPHA * BETA, abs=0.1)
    assert curve.peak == pytest.approx(80, rel=0.05)
    assert curve.half_width == pytest.approx(2.1, abs=0.3)
    assert not curve.cut_off and curve.time_unit == "s"
    np.testing.assert_array_equal(curve.times, EVEN)


def test_regions_have_the_area_that_they_should() -> None:
    shape = (60, 80)
    ellipse = Region.box(Outline.ELLIPSE, 10, 20, 40, 60).mask(shape)
    assert ellipse.sum() == pytest.approx(np.pi * 15 * 20, rel=0.02)
    rows, columns = np.nonzero(ellipse)
    assert (rows.mean(), columns.mean()) == pytest.approx((25, 40), abs=0.1)
    triangle = Region(Outline.POLYGON, np.array([(0.0, 0.0), (0.0, 40.0), (40.0, 0.0)])).mask(shape)
    assert triangle.sum() == pytest.approx(800 + 60, rel=0.02)  # with half of the pixels on its rim


def test_an_ellipse_may_stand_askew() -> None:
    turn = np.array([[np.cos(0.7), -np.sin(0.7)], [np.sin(0.7), np.cos(0.7)]])
    box = np.array([(-5.0, -20.0), (-5.0, 20.0), (5.0, 20.0), (5.0, -20.0)]) @ turn.T + (30, 40)
    mask = Region(Outline.ELLIPSE, box).mask((60, 80))
    assert mask.sum() == pytest.approx(np.pi * 5 * 20, rel=0.03)
    tip = np.array((0.0, 18.0)) @ turn.T + (30, 40)
    assert mask[tuple(np.rint(tip).astype(int))]


def test_thinned_runs_give_the_same_region() -> None:
    region = Region.box(Outline.RECTANGLE, 9.5, 9.5, 29.5, 39.5)
    assert region.mask((60, 80)).sum() == 20 * 30
    assert region.mask((30, 40), step=2).sum() == 10 * 15


def test_a_region_outside_the_view_is_refused(run: OpacityRun) -> None:
    with pytest.raises(ClipmedError, match="no pixel"):
        curve_of(run, Region.box(Outline.ELLIPSE, 100, 100, 120, 120))


def test_a_curve_that_does_not_fall_has_no_width() -> None:
    times = np.arange(6.0)
    assert np.isnan(width_at_half(np.array([0.0, 1, 2, 3, 3, 2.9]), times))
    assert width_at_half(np.array([0.0, 0, 2, 2, 0, 0]), times) == pytest.approx(2.0)


def test_the_table_names_units_and_nobody(run: OpacityRun) -> None:
    curves = [curve_of(run, Region.box(Outline.RECTANGLE, 5, 4, 40, 7), "AP")]
    text = curves_csv(curves, "cafe" * 16, synthetic=True)
    head = text.splitlines()
    assert head[0].startswith("# SIMULATED")
    assert any("cafe" in line for line in head if line.startswith("#"))
    rows = [line for line in head if not line.startswith("#")]
    assert rows[0] == "view,roi,time (s),opacity,pixels"
    assert len(rows) == 1 + len(EVEN) and rows[1].startswith("AP,ROI,0.0000,")
    assert "SIMULATED" not in curves_csv(curves, "cafe")
