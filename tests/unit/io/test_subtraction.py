"""Subtraction against arrays worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clipmed.io.subtraction import (
    Intensity,
    MaskItem,
    Operation,
    flatness,
    looks_subtracted,
    shift_mask,
    subtract,
)

# Five frames of one row: 10, 20, 30, 40, 50 in the first column, a constant 7 in the second.
RUN = np.array([[[10, 7]], [[20, 7]], [[30, 7]], [[40, 7]], [[50, 7]]], dtype=np.uint16)


def first_column(*items: MaskItem, intensity: Intensity = Intensity.LOGARITHMIC) -> list[float]:
    return subtract(RUN, items, intensity).frames[:, 0, 0].tolist()


def test_average_of_several_masks() -> None:
    assert first_column(MaskItem(mask_frames=(1, 3))) == [-10, 0, 10, 20, 30]


def test_constant_ground_becomes_zero() -> None:
    assert not subtract(RUN, [MaskItem(mask_frames=(1,))]).frames[:, 0, 1].any()


def test_contrast_averaging_starts_at_the_frame_and_ends_with_the_run() -> None:
    # (10+20)/2 − 10, (20+30)/2 − 10, …, 50 − 10
    assert first_column(MaskItem(mask_frames=(1,), averaging=2)) == [5, 15, 25, 35, 40]


def test_only_applicable_frames_are_subtracted() -> None:
    result = subtract(RUN, [MaskItem(mask_frames=(1,), ranges=((2, 2), (4, 5)))])
    assert result.is_subtracted.tolist() == [False, True, False, True, True]
    assert result.frames[:, 0, 0].tolist() == [10, 10, 30, 30, 40]


def test_two_items_with_their_own_masks() -> None:
    first = MaskItem(mask_frames=(1,), ranges=((1, 2),))
    second = MaskItem(mask_frames=(5,), ranges=((3, 5),))
    assert first_column(first, second) == [0, 10, -20, -10, 0]


def test_time_difference_subtracts_an_earlier_frame() -> None:
    result = subtract(RUN, [MaskItem(Operation.TIME_DIFFERENCE, tid_offset=2)])
    assert result.frames[2:, 0, 0].tolist() == [20, 20, 20]
    assert result.is_subtracted.tolist() == [False, False, True, True, True]


def test_time_difference_with_negative_offset_subtracts_a_later_frame() -> None:
    result = subtract(RUN, [MaskItem(Operation.TIME_DIFFERENCE, tid_offset=-1)])
    assert result.frames[:4, 0, 0].tolist() == [-10, -10, -10, -10]
    assert not result.is_subtracted[4]


def test_reversed_time_difference_walks_back() -> None:
    # First frame of the range 3, offset 1: masks of frames 3 and 4 are frames 2 and 1; frame 5 has none.
    item = MaskItem(Operation.REVERSED_TIME_DIFFERENCE, ranges=((3, 5),), tid_offset=1)
    result = subtract(RUN, [item])
    assert result.frames[2:4, 0, 0].tolist() == [10, 30]
    assert result.is_subtracted.tolist() == [False, False, True, True, False]


def test_operation_none_subtracts_nothing() -> None:
    assert not subtract(RUN, [MaskItem(Operation.NONE, mask_frames=(1,))]).is_subtracted.any()


def test_linear_pixels_are_logged_first() -> None:
    got = subtract(RUN, [MaskItem(mask_frames=(1,))], Intensity.LINEAR).frames[:, 0, 0]
    np.testing.assert_allclose(got, np.log(np.array([11, 21, 31, 41, 51]) / 11), rtol=1e-6)


@pytest.mark.parametrize("intensity", [Intensity.LOGARITHMIC, Intensity.DISPLAY])
def test_other_pixels_are_subtracted_as_they_are(intensity: Intensity) -> None:
    assert first_column(MaskItem(mask_frames=(1,)), intensity=intensity) == [0, 10, 20, 30, 40]


@pytest.mark.parametrize(
    ("shift", "where"),
    [((1, 0), (3, 2)), ((-1, 0), (1, 2)), ((0, 1), (2, 1)), ((0, -1), (2, 3)), ((1, -2), (3, 4))],
    ids=["down", "up", "left", "right", "down and right"],
)
def test_shift_moves_the_mask_down_and_left_for_positive_values(shift, where) -> None:
    mask = np.zeros((5, 5), np.float32)
    mask[2, 2] = 1
    moved = shift_mask(mask, shift)
    assert np.unravel_index(moved.argmax(), moved.shape) == where
    assert moved.sum() == pytest.approx(1)


def test_sub_pixel_shift_shares_a_point_between_neighbours() -> None:
    mask = np.zeros((1, 5), np.float32)
    mask[0, 2] = 8
    assert shift_mask(mask, (0, 0.25)).tolist() == [[0, 2, 6, 0, 0]]


def test_a_moved_patient_is_brought_back() -> None:
    """The ground of the contrast frame lies one row lower and two columns further right than the mask."""
    rows, columns = np.mgrid[:32, :32]
    ground = (1000 + 300 * np.sin(rows / 3) + 200 * np.cos(columns / 4)).astype(np.float32)
    contrast = shift_mask(ground, (1, -2))
    run = np.round(np.stack([ground, contrast])).astype(np.uint16)
    inner = (slice(4, -4), slice(4, -4))
    without = subtract(run, [MaskItem(mask_frames=(1,))]).frames[1][inner]
    registered = subtract(run, [MaskItem(mask_frames=(1,), shift=(1, -2))]).frames[1][inner]
    assert np.abs(without).max() > 50
    assert np.abs(registered).max() <= 1


def test_flat_runs_with_few_dark_vessels_look_subtracted() -> None:
    rng = np.random.default_rng(0)
    native = np.stack([np.add.outer(np.arange(64.0), np.arange(64.0)) * 10 + 300] * 4)
    native += rng.normal(0, 5, native.shape)
    subtracted = rng.normal(800, 5, native.shape)
    subtracted[:, :, 30:33] -= 500
    assert looks_subtracted(subtracted) and flatness(subtracted) > 0.8
    assert not looks_subtracted(native) and flatness(native) < 0.4
    assert not looks_subtracted(subtracted[:1])
