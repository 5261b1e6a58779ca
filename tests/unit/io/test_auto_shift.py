"""The automatic pixel shift, on a simulated head that was moved by known amounts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import shift as spline_shift

from napari_clipmed.errors import Cancelled, ClipmedError
from napari_clipmed.io.auto_shift import auto_shift, edge_strength, field_of, residual_edges
from napari_clipmed.io.mask_settings import in_log_space
from napari_clipmed.phantoms.dsa.anatomy import grow_anatomy
from napari_clipmed.phantoms.dsa.config import load_ambient
from napari_clipmed.phantoms.dsa.study import SimulatedView, simulate_study
from napari_clipmed.progress import Progress
from napari_clipmed.study import (
    DisplayWindow,
    FrameTiming,
    Intensity,
    MaskItem,
    PixelSpacing,
    Projection,
    Source,
    Subtraction,
    View,
)

MASKS = 2
ONE_MASK = Subtraction((MaskItem(mask_frames=(1, 2)),), Intensity.LINEAR)


@pytest.fixture(scope="module")
def planes() -> dict[str, SimulatedView]:
    """A biplane run of a head that lies perfectly still, with vessels that fill and empty."""
    ambient = load_ambient("sample").model_copy(update={"motion_scale": 0.0})
    rng = np.random.default_rng(6)
    return simulate_study(grow_anatomy(rng, 600), "Control", 6, ambient, size=256).views


def moved_run(plane: SimulatedView, path: NDArray[np.float64]) -> View:
    """Linear counts of a run whose head stands `path[t]` rows lower and columns further right in frame t."""
    frames = np.stack(
        [
            np.exp(-(spline_shift(plane.body, step, order=3, mode="nearest") + log))
            for step, log in zip(path, plane.log, strict=True)
        ]
    )
    pixels = np.rint(3900 * frames).clip(0, 4095).astype(np.uint16)
    times = FrameTiming(np.arange(len(pixels)) * 250.0, "Frame Time", True)
    return View(
        Projection.AP,
        pixels,
        times,
        PixelSpacing(),
        DisplayWindow(0, 4095),
        Source("run.dcm"),
        file_subtraction=ONE_MASK,
    )


def step_after_the_mask(plane: SimulatedView, down: float, right: float) -> NDArray[np.float64]:
    path = np.zeros((len(plane.log), 2))
    path[MASKS:] = down, right
    return path


@pytest.mark.parametrize("plane", ["AP", "LA"])
@pytest.mark.parametrize(
    ("down", "right"), [(0.3, -0.7), (-1.4, 0.5), (2.25, 3.6), (-0.1, 0.1), (-6.5, -4.2)]
)
def test_one_shift_for_the_run_is_found_to_a_tenth_of_a_pixel(planes, plane, down, right) -> None:
    view = moved_run(planes[plane], step_after_the_mask(planes[plane], down, right))
    found = auto_shift(view).items[0].shift
    assert found == pytest.approx((down, -right), abs=0.1)  # DICOM counts columns to the left


def test_a_shift_of_its_own_for_each_frame(planes) -> None:
    plane, rng = planes["AP"], np.random.default_rng(1)
    path = np.zeros((len(plane.log), 2))
    path[MASKS:] = np.cumsum(rng.normal(0, 0.8, (len(path) - MASKS, 2)), axis=0)
    found = auto_shift(moved_run(plane, path), per_frame=True)
    assert [number for number, *_ in found.frame_shifts] == list(range(MASKS + 1, len(path) + 1))
    shifts = np.array([shift for _, *shift in found.frame_shifts])
    np.testing.assert_allclose(shifts, path[MASKS:] * (1, -1), atol=0.1)


def test_it_lowers_the_edges_that_are_left(planes) -> None:
    view = moved_run(planes["AP"], step_after_the_mask(planes["AP"], 1.3, -0.8))
    shift = auto_shift(view).items[0].shift
    logs = in_log_space(view, view.pixels)
    before, after = residual_edges(logs[:MASKS].mean(axis=0), logs[9], shift, field_of(view.pixels[9]))
    assert after < 0.2 * before


def test_a_still_patient_is_left_alone(planes) -> None:
    view = moved_run(planes["LA"], step_after_the_mask(planes["LA"], 0.0, 0.0))
    assert np.abs(auto_shift(view).items[0].shift).max() <= 0.02


@pytest.mark.parametrize(("down", "right"), [(1.3, 2.4), (-8.0, 0.5)])
def test_collimators_that_stand_still_do_not_hold_it_back(planes, down, right) -> None:
    view = moved_run(planes["AP"], step_after_the_mask(planes["AP"], down, right))
    pixels = np.array(view.pixels)
    pixels[:, :40] = pixels[:, :, :36] = pixels[:, :, -44:] = 0
    view = replace(view, pixels=pixels, source_hash="")
    assert auto_shift(view).items[0].shift == pytest.approx((down, -right), abs=0.15)


def test_large_frames_are_binned_and_the_shift_is_in_their_own_pixels(planes) -> None:
    from napari_clipmed.io.auto_shift import FULL_SIZE

    view = moved_run(planes["AP"], step_after_the_mask(planes["AP"], 1.5, -0.5))
    few = view.pixels[[0, 1, 6, 9]].repeat(4, axis=1).repeat(4, axis=2)
    assert max(few.shape) > FULL_SIZE
    view = replace(
        view, pixels=few, timing=FrameTiming(np.arange(4) * 250.0, "Frame Time", True), source_hash=""
    )
    assert auto_shift(view).items[0].shift == pytest.approx((6.0, 2.0), abs=0.15)


def test_each_item_gets_the_shift_of_its_own_mask(planes) -> None:
    plane = planes["AP"]
    path = np.zeros((len(plane.log), 2))
    path[8:] = 2.0, 1.0
    path[2:8] = -1.0, 0.5
    items = (MaskItem(mask_frames=(1,), ranges=((1, 8),)), MaskItem(mask_frames=(9,), ranges=((9, 16),)))
    found = auto_shift(moved_run(plane, path), Subtraction(items, Intensity.LINEAR))
    assert found.items[0].shift == pytest.approx((-1.0, -0.5), abs=0.1)
    assert found.items[1].shift == pytest.approx((0.0, 0.0), abs=0.1)


def test_pixels_that_fall_with_the_intensity(planes) -> None:
    """Bright vessels in the file: iodine is still taken out, not bone."""
    view = moved_run(planes["AP"], step_after_the_mask(planes["AP"], 0.8, -1.2))
    dark = replace(
        view,
        pixels=np.round(1000 * (9 - np.log1p(view.pixels.astype(float)))).astype(np.uint16),
        file_subtraction=replace(ONE_MASK, intensity=Intensity.LOGARITHMIC, falling=True),
        source_hash="",
    )
    assert auto_shift(dark).items[0].shift == pytest.approx((0.8, 1.2), abs=0.1)


def test_it_can_be_cancelled_and_tells_where_it_is(planes) -> None:
    view = moved_run(planes["AP"], step_after_the_mask(planes["AP"], 1.0, 0.0))
    steps = []
    auto_shift(view, progress=Progress(steps.append))
    assert steps[0].total == len(steps) == 9
    assert [step.done for step in steps] == list(range(9))
    progress = Progress(lambda step: progress.cancel())
    with pytest.raises(Cancelled):
        auto_shift(view, progress=progress)


def test_a_run_that_the_scanner_subtracted_is_refused(planes) -> None:
    view = replace(moved_run(planes["AP"], np.zeros((16, 2))), subtracted=True)
    with pytest.raises(ClipmedError, match="subtracted by the scanner"):
        auto_shift(view)


def test_edges_are_those_of_a_step() -> None:
    step = np.zeros((20, 20), np.float32)
    step[:, 10:] = 4
    edges = edge_strength(step)
    assert edges[10].argmax() in (9, 10)
    assert not edges[:, :4].any()
