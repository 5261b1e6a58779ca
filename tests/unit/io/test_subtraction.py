"""Subtraction against arrays worked out by hand, one test for each mistake that is made with it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from napari_clipmed.io.subtracted_frames import SubtractedFrames, shift_mask
from napari_clipmed.io.subtraction import flatness, looks_subtracted, resubtracted
from napari_clipmed.study import (
    DisplayWindow,
    FrameTiming,
    Intensity,
    MaskItem,
    MaskOperation,
    PixelSpacing,
    Projection,
    Source,
    Subtraction,
    View,
)

# Five frames of one row: 10, 20, 30, 40, 50 in the first column, a constant 7 in the second.
RUN = np.array([[[10, 7]], [[20, 7]], [[30, 7]], [[40, 7]], [[50, 7]]], dtype=np.uint16)


def subtract(*items: MaskItem, intensity: Intensity = Intensity.LOGARITHMIC, **how) -> SubtractedFrames:
    return SubtractedFrames(RUN, Subtraction(items, intensity, **how))


def first_column(*items: MaskItem, **how) -> list[float]:
    return np.asarray(subtract(*items, **how))[:, 0, 0].tolist()


def a_view(pixels: np.ndarray = RUN, **changes) -> View:
    timing = FrameTiming(np.arange(len(pixels)) * 100.0, "Frame Time", True)
    whole = DisplayWindow(0, 60)
    return View(
        Projection.AP, pixels, timing, PixelSpacing(), whole, Source("run.dcm"), windows=(whole,), **changes
    )


# -- AVG_SUB -----------------------------------------------------------------------------------------------


def test_average_of_several_masks() -> None:
    assert first_column(MaskItem(mask_frames=(1, 3))) == [-10, 0, 10, 20, 30]


def test_mask_frame_numbers_count_from_1() -> None:
    """Counted from 0, mask frame 2 would be the frame of 30."""
    assert first_column(MaskItem(mask_frames=(2,))) == [-10, 0, 10, 20, 30]


def test_constant_ground_becomes_zero() -> None:
    assert not np.asarray(subtract(MaskItem(mask_frames=(1,))))[:, 0, 1].any()


def test_contrast_averaging_starts_at_the_frame_and_ends_with_the_run() -> None:
    # (10+20)/2 − 10, (20+30)/2 − 10, …, 50 − 10
    assert first_column(MaskItem(mask_frames=(1,), averaging=2)) == [5, 15, 25, 35, 40]


def test_contrast_averaging_over_three_frames_at_the_end_takes_those_there_are() -> None:
    # (10+20+30)/3 − 10, (20+30+40)/3 − 10, (30+40+50)/3 − 10, (40+50)/2 − 10, 50 − 10
    assert first_column(MaskItem(mask_frames=(1,), averaging=3)) == [10, 20, 30, 35, 40]


def test_mask_frames_outside_the_run_are_left_out_of_the_average() -> None:
    assert first_column(MaskItem(mask_frames=(0, 2, 99))) == [-10, 0, 10, 20, 30]


# -- ranges and items --------------------------------------------------------------------------------------


def test_only_applicable_frames_are_subtracted_and_ranges_count_from_1() -> None:
    result = subtract(MaskItem(mask_frames=(1,), ranges=((2, 2), (4, 5))))
    assert result.is_subtracted.tolist() == [False, True, False, True, True]
    assert np.asarray(result)[:, 0, 0].tolist() == [10, 10, 30, 30, 40]


def test_every_one_of_several_ranges_counts_not_only_the_last() -> None:
    result = subtract(MaskItem(mask_frames=(1,), ranges=((1, 1), (3, 3), (5, 5))))
    assert result.is_subtracted.tolist() == [True, False, True, False, True]


def test_two_items_with_their_own_masks() -> None:
    first = MaskItem(mask_frames=(1,), ranges=((1, 2),))
    second = MaskItem(mask_frames=(5,), ranges=((3, 5),))
    assert first_column(first, second) == [0, 10, -20, -10, 0]


def test_the_first_of_two_items_for_a_frame_counts() -> None:
    first = MaskItem(mask_frames=(1,), ranges=((1, 3),))
    second = MaskItem(mask_frames=(5,))
    assert first_column(first, second) == [0, 10, 20, -10, 0]


def test_items_of_different_operations_in_one_run() -> None:
    average = MaskItem(mask_frames=(1,), ranges=((1, 2),))
    difference = MaskItem(MaskOperation.TID, ranges=((4, 4),), tid_offset=2)
    assert first_column(average, difference) == [0, 10, 30, 20, 50]


def test_operation_none_subtracts_nothing() -> None:
    assert not subtract(MaskItem(MaskOperation.NONE, mask_frames=(1,))).is_subtracted.any()


# -- TID and REV_TID ---------------------------------------------------------------------------------------


def test_time_difference_subtracts_an_earlier_frame() -> None:
    result = subtract(MaskItem(MaskOperation.TID, tid_offset=2))
    assert result[2:][:, 0, 0].tolist() == [20, 20, 20]
    assert result.is_subtracted.tolist() == [False, False, True, True, True]


def test_time_difference_with_negative_offset_subtracts_a_later_frame() -> None:
    result = subtract(MaskItem(MaskOperation.TID, tid_offset=-1))
    assert result[:4][:, 0, 0].tolist() == [-10, -10, -10, -10]
    assert not result.is_subtracted[4]


def test_time_difference_with_contrast_averaging() -> None:
    # (20+30)/2 − 10, (30+40)/2 − 20, (40+50)/2 − 30, 50 − 40
    assert first_column(MaskItem(MaskOperation.TID, averaging=2))[1:] == [15, 15, 15, 10]


def test_reversed_time_difference_walks_back() -> None:
    # First frame of the range 3, offset 1: masks of frames 3 and 4 are frames 2 and 1; frame 5 has none.
    item = MaskItem(MaskOperation.REV_TID, ranges=((3, 5),), tid_offset=1)
    result = subtract(item)
    assert result[2:4][:, 0, 0].tolist() == [10, 30]
    assert result.is_subtracted.tolist() == [False, False, True, True, False]


def test_reversed_time_difference_counts_from_the_first_range() -> None:
    # First frame of the first range 3; the mask of frame 4 is (3 − 1) − (4 − 3) = 1, not (4 − 1) = 3.
    item = MaskItem(MaskOperation.REV_TID, ranges=((3, 3), (4, 4)), tid_offset=1)
    assert subtract(item)[2:4][:, 0, 0].tolist() == [10, 30]


def test_reversed_time_difference_with_negative_offset_starts_behind_the_range() -> None:
    # First frame 1, offset −4: masks of frames 1 to 5 are frames 5, 4, 3, 2, 1.
    item = MaskItem(MaskOperation.REV_TID, ranges=((1, 5),), tid_offset=-4)
    assert first_column(item) == [-40, -20, 0, 20, 40]


# -- the space of the subtraction --------------------------------------------------------------------------


def test_linear_pixels_are_logged_first() -> None:
    got = first_column(MaskItem(mask_frames=(1,)), intensity=Intensity.LINEAR)
    np.testing.assert_allclose(got, np.log(np.array([11, 21, 31, 41, 51]) / 11), rtol=1e-6)


def test_averages_are_taken_in_logarithmic_space() -> None:
    got = first_column(MaskItem(mask_frames=(1, 2), averaging=2), intensity=Intensity.LINEAR)
    mask = (np.log(11) + np.log(21)) / 2
    assert got[0] == pytest.approx(0, abs=1e-6)
    assert got[2] == pytest.approx((np.log(31) + np.log(41)) / 2 - mask, rel=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_every_type_of_pixel_is_logged_alike(dtype) -> None:
    run = SubtractedFrames(RUN.astype(dtype), Subtraction((MaskItem(mask_frames=(1,)),), Intensity.LINEAR))
    np.testing.assert_allclose(run[:, 0, 0], np.log(np.array([11, 21, 31, 41, 51]) / 11), rtol=1e-6)


@pytest.mark.parametrize("intensity", [Intensity.LOGARITHMIC, Intensity.DISPLAY])
def test_other_pixels_are_subtracted_as_they_are(intensity: Intensity) -> None:
    assert first_column(MaskItem(mask_frames=(1,)), intensity=intensity) == [0, 10, 20, 30, 40]


def test_a_table_of_the_file_takes_the_place_of_the_logarithm() -> None:
    table = (np.arange(4096) ** 2).astype(np.float32)
    run = SubtractedFrames(RUN, Subtraction((MaskItem(mask_frames=(1,)),), Intensity.LINEAR), table)
    assert run[:, 0, 0].tolist() == [0, 300, 800, 1500, 2400]


def test_falling_grey_values_are_turned_so_that_iodine_is_dark() -> None:
    assert first_column(MaskItem(mask_frames=(1,)), falling=True) == [0, -10, -20, -30, -40]


# -- shift -------------------------------------------------------------------------------------------------


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
    assert shift_mask(mask, (0, -0.25)).tolist() == [[0, 0, 6, 2, 0]]
    assert shift_mask(mask.T, (0.25, 0)).ravel().tolist() == [0, 0, 6, 2, 0]
    assert shift_mask(mask.T, (-1.25, 0)).ravel().tolist() == [2, 6, 0, 0, 0]


def test_shift_repeats_the_edge() -> None:
    assert shift_mask(np.array([[1, 2, 3]], np.float32), (0, 1)).tolist() == [[2, 3, 3]]


def head_at(down: float, right: float, size: int = 64) -> np.ndarray:
    """A smooth skull whose place is known to a fraction of a pixel: what a patient who moved leaves."""
    rows, columns = np.mgrid[:size, :size].astype(float)
    y, x = rows - down, columns - right
    bone = 900 * np.exp(-((y - 25) ** 2 + (x - 36) ** 2) / 120) + 500 * np.exp(-((y - 40) ** 2) / 18)
    return 3000 - bone - 6 * x


@pytest.mark.parametrize(
    ("down", "right"),
    [(2, 0), (-2, 0), (0, 2), (0, -2), (0.6, 0), (0, 0.6), (-0.4, -1.3), (1.5, -0.5)],
)
def test_signs_and_fractions_of_the_shift_by_a_patient_who_moved(down, right) -> None:
    """The mask shows the head at rest, the contrast frame shows it `down` and `right`.

    C.7.6.10.1.2: a positive row offset moves the mask towards the lower row, a positive column offset towards
    the left; so the registered mask is the one shifted by (down, −right), and no other combination of signs.
    """
    run = np.stack([head_at(0, 0), head_at(down, right)]).astype(np.float32)
    inner = (slice(6, -6), slice(6, -6))

    def left_over(rows: float, columns: float) -> float:
        item = MaskItem(mask_frames=(1,), shift=(rows, columns))
        return float(np.abs(SubtractedFrames(run, Subtraction((item,)))[1][inner]).max())

    right_signs = left_over(down, -right)
    others = [left_over(-down, -right) if down else 1e9, left_over(down, right) if right else 1e9]
    truncated = left_over(np.trunc(down), -np.trunc(right))
    assert right_signs < 12  # linear interpolation of a curved edge, out of 900
    assert min(*others, left_over(0, 0)) > 4 * right_signs
    if (down, right) != (np.trunc(down), np.trunc(right)):
        assert truncated > 4 * right_signs


def test_a_frame_may_have_a_shift_of_its_own() -> None:
    run = np.zeros((3, 1, 5), np.uint16)
    run[0, 0, 2] = 8
    how = Subtraction((MaskItem(mask_frames=(1,), shift=(0, 1)),), frame_shifts=((3, 0.0, -0.5),))
    result = SubtractedFrames(run, how)
    assert result[1, 0].tolist() == [0, -8, 0, 0, 0]
    assert result[2, 0].tolist() == [0, 0, -4, -4, 0]


# -- landmark ----------------------------------------------------------------------------------------------


def test_landmark_brings_a_share_of_the_anatomy_back_and_keeps_the_ground_at_zero() -> None:
    mask = np.full((8, 8), 100, np.uint16)
    mask[:, 6:] = 60  # bone: 40 darker than the ground
    contrast = mask.copy()
    contrast[3, 1] -= 25
    run = np.stack([mask, contrast])
    result = SubtractedFrames(run, Subtraction((MaskItem(mask_frames=(1,)),), landmark=0.25))[1]
    assert result[3, 1] == -25 and result[0, 0] == 0 and result[0, 7] == -10
    whole = SubtractedFrames(run, Subtraction((MaskItem(mask_frames=(1,)),), landmark=1.0))[1]
    assert np.array_equal(whole, contrast.astype(np.float32) - 100)


# -- frames on demand --------------------------------------------------------------------------------------


def test_parts_of_a_run_are_those_of_the_whole() -> None:
    rng = np.random.default_rng(1)
    run = rng.integers(0, 4096, (6, 9, 7)).astype(np.uint16)
    item = MaskItem(mask_frames=(1, 2), ranges=((2, 5),), averaging=2, shift=(0.3, -0.7))
    frames = SubtractedFrames(run, Subtraction((item,), Intensity.LINEAR, landmark=0.2))
    whole = np.asarray(frames)
    assert whole.shape == frames.shape == (6, 9, 7) and whole.dtype == frames.dtype == np.float32
    for index in (3, -1, np.int64(2), slice(1, 5, 2), [4, 0], np.array([True] * 3 + [False] * 3), Ellipsis):
        assert np.array_equal(frames[index], whole[index])
    for index in (
        (2, slice(1, 8, 3), slice(None)),
        (slice(None), slice(None, None, 2), slice(1, 4)),
        (3, 4, 5),
        (slice(1, 3), 0),
        ([5, 1], slice(2, 4), slice(0, 7, 2)),
        (Ellipsis, slice(0, 3)),
    ):
        assert np.array_equal(frames[index], whole[index]), index
    with pytest.raises(IndexError):
        frames[6]


def test_frames_and_masks_are_kept_within_a_budget(monkeypatch) -> None:
    monkeypatch.setattr("napari_clipmed.io.subtracted_frames.FRAME_BUDGET", 3 * RUN[0].size * 4)
    frames = subtract(MaskItem(mask_frames=(1,)))
    np.asarray(frames)
    assert len(frames._frames._kept) == 3 and len(frames._masks._kept) == 1


def test_one_mask_serves_a_whole_range(monkeypatch) -> None:
    made = []
    original = SubtractedFrames._make_mask
    monkeypatch.setattr(SubtractedFrames, "_make_mask", lambda s, *a: made.append(a) or original(s, *a))
    np.asarray(subtract(MaskItem(mask_frames=(1, 2), shift=(0.5, 0.5))))
    assert len(made) == 1


def test_which_native_frames_a_frame_needs() -> None:
    run = subtract(MaskItem(mask_frames=(1, 2), ranges=((3, 5),), averaging=2))
    assert run.needs(0) == {0} and run.needs(2) == {0, 1, 2, 3} and run.needs(4) == {0, 1, 4}


# -- views -------------------------------------------------------------------------------------------------


def test_a_view_is_subtracted_anew_and_back_without_touching_its_identity() -> None:
    native = a_view()
    one = resubtracted(native, Subtraction((MaskItem(mask_frames=(1,)),)))
    other = resubtracted(one, Subtraction((MaskItem(mask_frames=(2,)),)))
    back = resubtracted(other, None)
    assert np.array_equal(other.pixels, RUN.astype(np.float32) - RUN[1])
    assert other.native is native.pixels and other.subtracted and other.window.name == "subtracted"
    assert back.pixels is native.pixels and back.native is None and not back.subtracted
    assert back.window == native.window and back.windows == native.windows
    assert len({view.source_hash for view in (native, one, other, back)}) == 1
    assert len({native.pixel_hash, one.pixel_hash, other.pixel_hash}) == 3
    assert back.pixel_hash == native.pixel_hash == native.source_hash
    assert [guess.value for guess in other.guesses if guess.what == "subtraction"] == ["AVG_SUB"]
    assert not [guess for guess in back.guesses if guess.what == "subtraction"]


@pytest.mark.parametrize(
    "change",
    [
        {"intensity": Intensity.LINEAR},
        {"falling": True},
        {"landmark": 0.1},
        {"frame_shifts": ((2, 0.0, 0.1),)},
        {"items": (MaskItem(mask_frames=(1,), shift=(0.1, 0.0)),)},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_the_picture_changes_its_hash(change) -> None:
    how = Subtraction((MaskItem(mask_frames=(1,)),))
    assert resubtracted(a_view(), how).pixel_hash != resubtracted(a_view(), replace(how, **change)).pixel_hash


def test_a_table_changes_the_hash() -> None:
    how = Subtraction((MaskItem(mask_frames=(1,)),))
    table = np.arange(4096, dtype=np.float32)
    assert resubtracted(a_view(log_table=table), how).pixel_hash != resubtracted(a_view(), how).pixel_hash


def test_items_that_apply_nowhere_leave_the_native_run_and_say_so() -> None:
    view = resubtracted(a_view(), Subtraction((MaskItem(mask_frames=(99,)),)))
    assert view.pixels is RUN and any("none of its frames" in note for note in view.warnings)


def test_settings_are_plain_data() -> None:
    how = Subtraction(
        (
            MaskItem(mask_frames=(1, 2), ranges=((1, 3), (5, 5)), averaging=2, shift=(0.5, -1.25)),
            MaskItem(MaskOperation.REV_TID, ranges=((4, 4),), tid_offset=-2),
        ),
        Intensity.LINEAR,
        falling=True,
        landmark=0.3,
        frame_shifts=((2, 0.1, -0.2),),
    )
    again = Subtraction.from_json(json.loads(json.dumps(how.to_json())))
    assert again == how and again.digest == how.digest
    for broken in ({}, {"items": 3}, {**how.to_json(), "intensity": "X"}, {**how.to_json(), "landmark": 7}):
        with pytest.raises(ValueError):
            Subtraction.from_json(broken)


def test_flat_runs_with_few_dark_vessels_look_subtracted() -> None:
    rng = np.random.default_rng(0)
    native = np.stack([np.add.outer(np.arange(64.0), np.arange(64.0)) * 10 + 300] * 4)
    native += rng.normal(0, 5, native.shape)
    subtracted = rng.normal(800, 5, native.shape)
    subtracted[:, :, 30:33] -= 500
    assert looks_subtracted(subtracted) and flatness(subtracted) > 0.8
    assert not looks_subtracted(native) and flatness(native) < 0.4
    assert not looks_subtracted(subtracted[:1])
