"""Times of frames, with every fallback."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from napari_clipmed.io.timing import FRAME_TIME, FRAME_TIME_VECTOR, frame_timing, motion


def header(**values) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("values", "source", "expected"),
    [
        ({"FrameTime": 33, "CineRate": 10}, "Frame Time", [0, 33, 66]),
        ({"FrameTimeVector": [0, 100, 250], "CineRate": 10}, "Frame Time Vector", [0, 100, 350]),
        ({"CineRate": 10, "RecommendedDisplayFrameRate": 5}, "Cine Rate", [0, 100, 200]),
        ({"RecommendedDisplayFrameRate": 5}, "Recommended Display Frame Rate", [0, 200, 400]),
        ({"FrameTime": 0, "CineRate": 4}, "Cine Rate", [0, 250, 500]),
        ({"FrameTime": 50, "FrameDelay": 500}, "Frame Time", [0, 50, 100]),
        (
            {"FrameTime": 33, "FrameTimeVector": [0, 1, 2], "FrameIncrementPointer": FRAME_TIME_VECTOR},
            "Frame Time Vector",
            [0, 1, 3],
        ),
        (
            {"FrameTime": 33, "FrameTimeVector": [0, 1, 2], "FrameIncrementPointer": FRAME_TIME},
            "Frame Time",
            [0, 33, 66],
        ),
        ({"FrameIncrementPointer": FRAME_TIME_VECTOR, "FrameTime": 20}, "Frame Time", [0, 20, 40]),
        ({"FrameTimeVector": [70, 100, 100]}, "Frame Time Vector", [0, 100, 200]),
    ],
)
def test_rules_in_order(values, source, expected) -> None:
    timing, notes = frame_timing(header(**values), 3)
    assert timing.known and timing.source == source and not notes
    np.testing.assert_allclose(timing.times_ms, expected)


def test_without_any_time_the_index_stands_in() -> None:
    timing, notes = frame_timing(header(), 3, "x.dcm")
    assert not timing.known and timing.times_ms.tolist() == [0, 1, 2]
    assert "x.dcm has no frame times" in notes[0]


@pytest.mark.parametrize(("vector", "expected"), [([0, 10, 10, 10, 10], [0, 10, 20]), ([0, 10], [0, 10, 20])])
def test_a_vector_of_the_wrong_length_is_mended_with_a_warning(vector, expected) -> None:
    timing, notes = frame_timing(header(FrameTimeVector=vector), 3)
    assert timing.times_ms.tolist() == expected
    assert f"{len(vector)} frame times for 3 frames" in notes[0]


def test_steps_that_run_backwards_count_as_zero() -> None:
    timing, notes = frame_timing(header(FrameTimeVector=[0, 10, -5]), 3)
    assert timing.times_ms.tolist() == [0, 10, 10] and "backwards" in notes[0]


def test_enhanced_images_have_a_date_and_time_a_frame() -> None:
    groups = []
    for second in ("00.00", "00.25", "01.00"):
        content, group = Dataset(), Dataset()
        content.FrameReferenceDateTime = f"202401011200{second}"
        group.FrameContentSequence = [content]
        groups.append(group)
    timing, _ = frame_timing(header(PerFrameFunctionalGroupsSequence=groups, FrameTime=33), 3)
    assert timing.source == "Frame Reference DateTime" and timing.times_ms.tolist() == [0, 250, 1000]


@pytest.mark.parametrize(
    ("pointer", "expected"), [(0x00181520, "rotational"), (0x00181137, "stepping"), (FRAME_TIME, "")]
)
def test_rotation_and_stepping_are_seen(pointer, expected) -> None:
    assert motion(header(FrameDimensionPointer=pointer)) == expected


def test_a_single_frame_needs_no_time() -> None:
    timing, notes = frame_timing(header(), 1)
    assert timing.times_ms.tolist() == [0] and not notes
