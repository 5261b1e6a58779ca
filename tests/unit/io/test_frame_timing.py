"""Times of frames, with every fallback."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataset import Dataset

from napari_clipmed.io.timing import FRAME_TIME, FRAME_TIME_VECTOR, frame_timing, motion, timing_guess


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


def test_a_pointer_that_is_no_tag_points_nowhere() -> None:
    dataset = header(FrameTime=40)
    dataset.add_new("FrameIncrementPointer", "PN", "Nobody")
    assert frame_timing(dataset, 2)[0].source == "Frame Time" and motion(dataset) == ""


def test_a_single_frame_needs_no_time() -> None:
    timing, notes = frame_timing(header(), 1)
    assert timing.times_ms.tolist() == [0] and not notes


def enhanced(macro: str, *frames: dict) -> Dataset:
    """An enhanced header with one macro a frame."""
    groups = []
    for values in frames:
        group = Dataset()
        setattr(group, macro, [header(**values)])
        groups.append(group)
    return header(PerFrameFunctionalGroupsSequence=groups, NumberOfFrames=len(frames))


def test_acquisition_times_stand_in_for_reference_times() -> None:
    """One attribute for all frames: the two differ by half of an exposure."""
    contents = [
        {"FrameReferenceDateTime": "20240101120000", "FrameAcquisitionDateTime": "20240101120000.1"},
        {"FrameAcquisitionDateTime": "20240101120000.4"},
        {"FrameAcquisitionDateTime": "20240101120001.0"},
    ]
    timing, _ = frame_timing(enhanced("FrameContentSequence", *contents), 3)
    assert timing.source == "Frame Acquisition DateTime"
    np.testing.assert_allclose(timing.times_ms, [0, 300, 900])


@pytest.mark.parametrize(
    "times",
    [
        ["20240101120000", "20240101120001+0100"],
        ["20240101120001", "20240101120000"],
        ["20240101120000", "20240101120000"],
        ["yesterday", "20240101120000"],
    ],
    ids=["half of them with a zone", "backwards", "all the same", "malformed"],
)
def test_frame_times_without_sense_are_not_used(times) -> None:
    dataset = enhanced("FrameContentSequence", *({"FrameReferenceDateTime": time} for time in times))
    dataset.FrameTime = 40
    assert frame_timing(dataset, 2)[0].source == "Frame Time"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"FrameTime": 33, "FrameIncrementPointer": FRAME_TIME}, None),
        ({"FrameTimeVector": [0, 9, 9], "FrameIncrementPointer": FRAME_TIME_VECTOR}, None),
        ({"FrameTime": 33}, "does not name it"),
        ({"FrameTime": 33, "FrameIncrementPointer": FRAME_TIME_VECTOR}, "does not name it"),
        ({"CineRate": 15}, "rate"),
        ({"RecommendedDisplayFrameRate": 15}, "rate for display"),
        ({}, "frames are counted"),
    ],
)
def test_a_time_base_that_is_a_guess_says_so(values, reason) -> None:
    timing, _ = frame_timing(header(**values), 3)
    guess = timing_guess(header(**values), timing)
    assert (guess is None) if reason is None else (guess.what == "time base" and reason in guess.reason)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"PositionerMotion": "DYNAMIC", "PositionerPrimaryAngleIncrement": [0, 10, 20]}, "rotational"),
        ({"PositionerMotion": "DYNAMIC", "PositionerPrimaryAngleIncrement": [0, 0, 0]}, ""),
        ({"PositionerMotion": "STATIC", "PositionerPrimaryAngleIncrement": [0, 10, 20]}, ""),
        ({"TableMotion": "DYNAMIC", "TableLongitudinalIncrement": [0, 80, 160]}, "stepping"),
    ],
)
def test_a_moving_positioner_or_table_is_seen(values, expected) -> None:
    assert motion(header(**values)) == expected


@pytest.mark.parametrize(
    ("macro", "keyword", "places", "expected"),
    [
        ("PositionerPositionSequence", "PositionerPrimaryAngle", [0, 30, 60], "rotational"),
        ("PositionerPositionSequence", "PositionerPrimaryAngle", [0, 0.5, 0], ""),
        ("TablePositionSequence", "TableTopLongitudinalPosition", [0, 150, 300], "stepping"),
    ],
)
def test_the_frames_of_an_enhanced_run_tell_of_motion(macro, keyword, places, expected) -> None:
    assert motion(enhanced(macro, *({keyword: place} for place in places))) == expected
