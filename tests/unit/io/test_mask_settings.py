"""Choosing masks, shifts and operations: what changes, and what stays."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clipmed.errors import ClipmedError
from napari_clipmed.io import mask_settings as settings
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

TWO_ITEMS = Subtraction(
    (
        MaskItem(mask_frames=(1,), ranges=((1, 4),), averaging=2, shift=(0.5, 0.25)),
        MaskItem(mask_frames=(5,), ranges=((5, 9),), shift=(1.0, 0.0)),
    ),
    Intensity.LINEAR,
    landmark=0.2,
)


def view_of(pixels: np.ndarray, **changes) -> View:
    times = FrameTiming(np.arange(len(pixels)) * 250.0, "Frame Time", True)
    return View(
        Projection.AP, pixels, times, PixelSpacing(), DisplayWindow(0, 1), Source("run.dcm"), **changes
    )


def noisy_run(count: int = 12, settles_at: int = 0) -> np.ndarray:
    """A textured ground that stands still from frame index `settles_at` on; iodine from index 5 on."""
    rng = np.random.default_rng(3)
    ground = rng.normal(1000, 100, (40, 40))
    run = ground + rng.normal(0, 1, (count, 40, 40))
    for index in range(settles_at):
        run[index] = np.roll(ground, settles_at - index, axis=1)
    for index in range(5, count):
        run[index, :, 18:22] -= 60 * (index - 4)
    return run.astype(np.float32)


@pytest.mark.parametrize("settles_at", [0, 1, 2])
def test_the_first_mask_is_the_first_frame_that_stands_still(settles_at) -> None:
    view = view_of(noisy_run(settles_at=settles_at))
    assert settings.settled_frame(view) == settles_at + 1
    assert settings.default_subtraction(view).items == (MaskItem(mask_frames=(settles_at + 1,)),)


def test_what_is_in_force_or_in_the_file_comes_before_a_guess() -> None:
    run = noisy_run()
    assert settings.default_subtraction(view_of(run, file_subtraction=TWO_ITEMS)) is TWO_ITEMS
    mine = settings.with_mask(TWO_ITEMS, [2])
    assert settings.default_subtraction(view_of(run, file_subtraction=TWO_ITEMS, subtraction=mine)) is mine


def test_without_items_the_file_still_says_how_its_pixels_were_made() -> None:
    bare = Subtraction((), Intensity.LINEAR, falling=True)
    wanted = settings.default_subtraction(view_of(noisy_run(), file_subtraction=bare))
    assert (wanted.intensity, wanted.falling) == (Intensity.LINEAR, True)
    assert wanted.items == (MaskItem(mask_frames=(1,)),)


def test_items_whose_mask_does_not_exist_subtract_nothing() -> None:
    beyond = Subtraction((MaskItem(mask_frames=(40,)),))
    assert not settings.subtracts(beyond, 12)
    assert settings.default_subtraction(view_of(noisy_run(), file_subtraction=beyond)).items[
        0
    ].mask_frames == (1,)


def test_one_frame_and_scanner_subtracted_runs_say_why_not() -> None:
    assert "one frame only" in settings.why_fixed(view_of(noisy_run(1)))
    scanner = view_of(noisy_run(), subtracted=True)
    assert "subtracted by the scanner" in settings.why_fixed(scanner)
    with pytest.raises(ClipmedError, match="subtracted by the scanner"):
        settings.default_subtraction(scanner)
    assert settings.why_fixed(view_of(noisy_run())) == ""


def test_a_new_mask_serves_the_whole_run_and_keeps_the_rest() -> None:
    wanted = settings.with_mask(TWO_ITEMS, [3, 2, 3])
    (item,) = wanted.items
    assert item == MaskItem(mask_frames=(2, 3), ranges=((1, 4), (5, 9)), averaging=2, shift=(0.5, 0.25))
    assert (wanted.intensity, wanted.landmark) == (Intensity.LINEAR, 0.2)
    assert TWO_ITEMS.items[0].mask_frames == (1,)


def test_an_item_for_every_frame_stays_one() -> None:
    everywhere = Subtraction((MaskItem(mask_frames=(1,)), MaskItem(mask_frames=(2,), ranges=((3, 4),))))
    assert settings.with_mask(everywhere, [2]).items[0].ranges == ()


@pytest.mark.parametrize("frames", [[], [0], [-1, 3]])
def test_a_mask_needs_frames_counted_from_one(frames) -> None:
    with pytest.raises(ClipmedError, match="at least one frame"):
        settings.with_mask(TWO_ITEMS, frames)


def test_time_difference_and_back_keeps_the_masks() -> None:
    tid = settings.with_operation(settings.with_mask(TWO_ITEMS, [2, 3]), MaskOperation.TID, 2)
    assert (tid.items[0].operation, tid.items[0].tid_offset) == (MaskOperation.TID, 2)
    assert tid.items[0].masks_of(7) == (5,)
    back = settings.with_operation(tid, MaskOperation.AVG_SUB)
    assert back.items[0].masks_of(7) == (2, 3)
    with pytest.raises(ClipmedError, match="from itself"):
        settings.with_operation(tid, MaskOperation.TID, 0)


def test_shifts_of_the_run_and_of_one_frame() -> None:
    moved = settings.shifted(TWO_ITEMS, (-0.1, 0.1))
    assert [item.shift for item in moved.items] == [(0.4, 0.35), (0.9, 0.1)]
    one = settings.shifted(moved, (0.0, 0.1), frame=6)
    assert one.frame_shifts == ((6, 0.9, 0.2),)
    assert [item.shift for item in one.items] == [(0.4, 0.35), (0.9, 0.1)]
    assert settings.shift_of(one, 6) == (0.9, 0.2)
    assert settings.shift_of(one, 7) == (0.9, 0.1)
    assert settings.shift_of(one) == (0.4, 0.35)
    assert settings.shifted(one, (1.0, 1.0)).frame_shifts == ((6, 1.9, 1.2),)
    assert settings.with_shift(one, (0.0, 0.0)).frame_shifts == ()


def test_ten_steps_of_a_tenth_are_one_pixel() -> None:
    wanted = settings.with_mask(TWO_ITEMS, [1])
    for _ in range(10):
        wanted = settings.shifted(wanted, (0.1, -0.1))
    assert wanted.items[0].shift == (1.5, -0.75)


def test_a_slip_of_the_hand_does_not_move_the_mask_out_of_sight() -> None:
    assert settings.with_shift(TWO_ITEMS, (5000.0, -5000.0)).items[0].shift == (64.0, -64.0)


def test_the_landmark_stays_a_share() -> None:
    assert settings.with_landmark(TWO_ITEMS, 0.4).landmark == 0.4
    assert settings.with_landmark(TWO_ITEMS, 7).landmark == 1.0


def test_settings_survive_as_plain_data() -> None:
    wanted = settings.with_shift(settings.shifted(TWO_ITEMS, (0.1, 0.2), frame=3), (0.3, 0.4), frame=8)
    import json

    assert Subtraction.from_json(json.loads(json.dumps(wanted.to_json()))) == wanted


def test_greys_change_with_operation_and_landmark_only() -> None:
    one = settings.with_mask(TWO_ITEMS, [1])
    assert settings.same_greys(one, settings.shifted(settings.with_mask(one, [3]), (1, 1)))
    assert not settings.same_greys(one, settings.with_landmark(one, 0.5))
    assert not settings.same_greys(one, settings.with_operation(one, MaskOperation.TID))
    assert not settings.same_greys(one, None) and settings.same_greys(None, None)
