"""Edits of a mask against shapes whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference import mask_edit as edit
from napari_clipmed.inference.mask_edit import PixelSize, Step

EMPTY, FULL = np.zeros((40, 60), bool), np.ones((40, 60), bool)
MASK_STEPS = (
    "smooth:2",
    "grow:3",
    "shrink:3",
    "keep-largest",
    "remove-small:9",
    "fill-holes",
    "fill-holes:9",
)


def square(side: int, row: int = 10, column: int = 20) -> np.ndarray:
    mask = EMPTY.copy()
    mask[row : row + side, column : column + side] = True
    return mask


@pytest.mark.parametrize("text", MASK_STEPS)
@pytest.mark.parametrize("mask", [EMPTY, FULL], ids=["empty", "full"])
def test_nothing_and_everything_stay_what_they_are_and_arguments_untouched(text, mask):
    before = mask.copy()
    after = edit.run_steps(mask, edit.read_steps(text))
    assert after.dtype == bool
    assert np.array_equal(after, before)
    assert np.array_equal(mask, before)
    assert not np.shares_memory(after, mask) or text.startswith("fill")


def test_growing_reaches_exactly_the_pixels_within_the_distance():
    mask = EMPTY.copy()
    mask[20, 30] = True
    y, x = np.mgrid[0:40, 0:60]
    assert np.array_equal(edit.grow(mask, 3), np.hypot(y - 20, x - 30) <= 3)
    wide = edit.grow(mask, 2.0, (1.0, 0.5))  # pixels half as wide as high: twice as many across
    assert np.array_equal(wide, np.hypot(y - 20, 0.5 * (x - 30)) <= 2)


def test_shrinking_takes_a_rim_and_leaves_what_touches_the_edge_of_the_picture():
    assert np.array_equal(edit.shrink(square(7), 2), square(3, 12, 22))
    half = EMPTY.copy()
    half[:, :30] = True
    assert np.array_equal(edit.shrink(half, 4), np.broadcast_to(np.arange(60) < 26, half.shape))
    assert not edit.shrink(square(4), 5).any()


def test_smoothing_rounds_corners_removes_specks_and_keeps_the_size():
    rough = square(20)
    rough[15, 41] = True
    smoothed = edit.smooth(rough, 2)
    assert not smoothed[15, 41]
    assert not smoothed[10, 20]
    assert smoothed[20, 30]
    assert abs(int(smoothed.sum()) - 400) < 40
    corner = square(20, 0, 0)  # at the edge of the picture nothing is eaten away
    assert edit.smooth(corner, 2)[:10, 0].all()


def test_pieces_touch_over_corners_and_count_from_the_largest():
    mask = square(3) | square(5, 25, 40)
    mask[13, 23] = True  # over the corner of the small square
    numbers, n = edit.pieces(mask)
    assert n == 2
    assert [int((numbers == k).sum()) for k in (1, 2)] == [25, 10]
    assert np.array_equal(edit.keep_largest(mask), square(5, 25, 40))
    assert np.array_equal(edit.keep_largest(mask, 5), mask)
    assert np.array_equal(edit.remove_small(mask, 11), square(5, 25, 40))
    assert np.array_equal(edit.remove_small(mask, 10), mask)
    assert np.array_equal(edit.piece_at(mask, (13, 23)), numbers == 2)
    assert not edit.piece_at(mask, (0, 0)).any()
    assert not edit.piece_at(mask, (40, -1)).any()


def test_holes_are_filled_up_to_a_size_and_bays_never():
    ring = square(11) & ~square(5, 13, 23)
    ring[11, 21] = False
    bay = ring.copy()
    bay[10:13, 25] = False  # a way out of the large hole
    assert np.array_equal(edit.fill_holes(ring), square(11))
    assert np.array_equal(edit.fill_holes(ring, 24), square(11) & ~square(5, 13, 23))
    assert edit.fill_holes(bay)[11, 21]
    assert not edit.fill_holes(bay)[15, 25]


def test_a_dropped_piece_follows_its_summit_through_thresholds():
    y, x = np.mgrid[0:40, 0:60]
    weak = 0.8 * np.exp(-((y - 20) ** 2 + (x - 15) ** 2) / 60)
    strong = np.exp(-((y - 20) ** 2 + (x - 40) ** 2) / 60)
    heights = np.maximum(weak, strong)
    dropped = [edit.summit(heights, edit.piece_at(heights >= 0.5, (20, 15)))]
    assert dropped == [(20, 15)]
    for level in (0.2, 0.5, 0.7):
        kept = edit.without_pieces(heights >= level, heights, dropped)
        assert kept[20, 40]
        assert not kept[:, :25].any()
    assert not edit.without_pieces(heights >= 0.9, heights, dropped)[20, 15]
    merged = heights >= 0.001  # run together: the stronger one's fate counts
    assert np.array_equal(edit.without_pieces(merged, heights, dropped), merged)


def test_other_classes_are_not_grown_over():
    labels = np.zeros((40, 60), np.uint8)
    labels[square(5)] = 2
    labels[square(5, 10, 25)] = 3
    after = edit.put(labels, 2, edit.grow(labels == 2, 4))
    assert np.array_equal(after == 3, labels == 3)
    assert (after == 2).sum() > 25
    assert not (edit.put(labels, 2, EMPTY) == 2).any()
    assert labels.dtype == after.dtype


def test_splitting_keeps_the_largest_and_numbers_the_others():
    labels = np.zeros((40, 60), np.uint8)
    for side, row in ((3, 2), (5, 10), (7, 25)):
        labels[square(side, row)] = 4
    labels[0, 0] = 9
    after = edit.split(labels, 4, [5, 6])
    assert [int((after == v).sum()) for v in (4, 5, 6, 9)] == [49, 25, 9, 1]
    short = edit.split(labels, 4, [5])
    assert [int((short == v).sum()) for v in (4, 5)] == [49, 34]
    assert np.array_equal(edit.split(labels, 7, [8]), labels)
    assert np.array_equal(edit.move(labels, labels == 9, 4) == 9, EMPTY)


def test_shades_follow_the_display_window():
    frame = np.array([[0, 100, 150, 250]], np.uint16)
    assert edit.shade(frame, 100, 200).tolist() == [[0, 0, 0.5, 1]]
    assert edit.passing(edit.shade(frame, 100, 200), 0.5, darker=True).tolist() == [[True, True, True, False]]
    assert edit.passing(edit.shade(frame, 100, 200), 0.5, darker=False).tolist() == [
        [False, False, True, True]
    ]
    assert np.isfinite(edit.shade(frame, 100, 100)).all()


def test_steps_are_read_and_written_alike():
    steps = edit.read_steps("smooth:2, grow:0.5mm,keep-largest,remove-small:3mm2,fill-holes")
    assert steps[:3] == (Step("smooth", 2.0), Step("grow", 0.5, "mm"), Step("keep-largest"))
    assert edit.read_steps(",".join(map(str, steps))) == steps


@pytest.mark.parametrize(
    "text",
    ["", "blur:2", "smooth", "smooth:0", "grow:2mm2", "keep-largest:1.5", "remove-small:3mm", "grow:9e9",
     "shrink:-1", "grow:99999999"],
)  # fmt: skip
def test_what_cannot_be_done_is_a_sentence(text):
    with pytest.raises(ClipmedError) as refused:
        edit.read_steps(text)
    assert refused.value.hint


def test_millimetres_need_a_spacing():
    size = PixelSize(0.5, 0.25)
    grown = edit.run_steps(square(1), edit.read_steps("grow:1mm"), size)
    assert (int(grown.any(axis=1).sum()), int(grown.any(axis=0).sum())) == (5, 9)
    mask = square(4)  # 2 square millimetres
    assert edit.run_steps(mask, edit.read_steps("remove-small:2mm2"), size).any()
    assert not edit.run_steps(mask, edit.read_steps("remove-small:2.1mm2"), size).any()
    with pytest.raises(ClipmedError, match="millimetres"):
        edit.run_steps(mask, edit.read_steps("grow:1mm"))
