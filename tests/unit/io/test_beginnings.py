"""When the two planes of a biplane run begin, on one clock."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid

from napari_clipmed.io import open_study
from napari_clipmed.io.overrule import Overrule, key_of, overruled, separated
from napari_clipmed.study import Study, Topic

INTERVAL, COUNT = 66.0, 8


@pytest.fixture
def open_pair(make_run):
    """Two planes of one acquisition, each with attributes of its own, opened together."""

    def opened(frontal: dict[str, object], lateral: dict[str, object], count: int = COUNT) -> Study:
        study = generate_uid()

        def plane(angle: float, own: dict[str, object]) -> Path:
            def change(dataset: Dataset) -> None:
                dataset.StudyInstanceUID, dataset.PatientID = study, "1"
                dataset.PositionerPrimaryAngle, dataset.PositionerSecondaryAngle = angle, 0
                dataset.FrameTime, dataset.FrameIncrementPointer = INTERVAL, 0x00181063
                for keyword in ("ContentDate", "ContentTime", "AcquisitionDateTime", "FrameDelay"):
                    if keyword in dataset:
                        del dataset[keyword]
                for keyword, value in own.items():
                    setattr(dataset, keyword, value)

            pixels = np.random.default_rng(int(angle)).integers(0, 200, (count, 20, 24), dtype=np.uint16)
            return Path(make_run(change, pixels=pixels, name=f"{angle:.0f}.dcm"))

        return open_study([plane(0, frontal), plane(90, lateral)])

    return opened


def begins(study: Study) -> list[float]:
    return [round(float(view.timing.times_ms[0]), 3) for view in study.views]


DAY = {"ContentDate": "20260101"}


@pytest.mark.parametrize(
    ("frontal", "lateral", "expected"),
    [
        ({}, {}, [0, 0]),
        ({"FrameDelay": 0}, {"FrameDelay": 33}, [0, 33]),
        ({"FrameDelay": 150}, {"FrameDelay": 117}, [33, 0]),
        ({"FrameDelay": 150}, {"FrameDelay": 150}, [0, 0]),
        ({**DAY, "ContentTime": "101500.250"}, {**DAY, "ContentTime": "101500.300"}, [0, 50]),
        (
            {**DAY, "ContentTime": "101500.25", "FrameDelay": 80},
            {**DAY, "ContentTime": "101500.30", "FrameDelay": 10},
            [20, 0],
        ),
        ({**DAY, "ContentTime": "101500"}, {**DAY, "ContentTime": "101501"}, [0, 0]),
        ({**DAY, "ContentTime": "101500.1"}, {**DAY, "ContentTime": "101540.3"}, [0, 0]),
        ({"AcquisitionDateTime": "20260101101500.5"}, {"AcquisitionDateTime": "20260101101500.4"}, [100, 0]),
        (
            {"AcquisitionDateTime": "20260101101500.5", **DAY, "ContentTime": "101509.9"},
            {"AcquisitionDateTime": "20260101101500.5", **DAY, "ContentTime": "101509.2"},
            [0, 0],
        ),
        (
            {"AcquisitionDateTime": "20260101101500.5+0100"},
            {"AcquisitionDateTime": "20260101101500.4"},
            [0, 0],
        ),
    ],
)
def test_planes_begin_when_their_files_say(open_pair, frontal, lateral, expected) -> None:
    study = open_pair(frontal, lateral)
    assert [str(view.projection) for view in study.views] == ["AP", "LA"]
    assert begins(study) == expected
    for view in study.views:
        np.testing.assert_allclose(np.diff(view.timing.times_ms), INTERVAL)
        said = [guess for guess in view.guesses if guess.what == Topic.BEGIN]
        assert len(said) == (view.timing.times_ms[0] > 0)


def test_the_reason_names_the_attribute(open_pair) -> None:
    study = open_pair({}, {"FrameDelay": 33})
    (said,) = (guess for guess in study.views[1].guesses if guess.what == Topic.BEGIN)
    assert said.reason == "Frame Delay" and said.value == "33 ms after the other plane"


def test_a_delay_longer_than_the_run_is_not_believed_and_said(open_pair) -> None:
    study = open_pair({}, {"FrameDelay": 90_000})
    assert begins(study) == [0, 0]
    assert any(
        "Frame Delay" in warning and "from the start" in warning for warning in study.views[1].warnings
    )


def test_a_delay_of_a_single_run_cancels_out(make_run) -> None:
    def change(dataset: Dataset) -> None:
        dataset.FrameTime, dataset.FrameDelay = INTERVAL, 500

    study = open_study(make_run(change, pixels=np.zeros((4, 8, 8), np.uint16)))
    assert begins(study) == [0]


def test_another_interval_keeps_the_beginning(open_pair) -> None:
    study = open_pair({}, {"FrameDelay": 33})
    changed = overruled(study, [Overrule(Topic.TIME_BASE, 100.0, view=key_of(study.views[1]))])
    np.testing.assert_allclose(changed.views[1].timing.times_ms, 33 + 100 * np.arange(COUNT))


def test_a_plane_taken_apart_begins_at_nothing(open_pair) -> None:
    for single in separated(open_pair({}, {"FrameDelay": 33})):
        assert begins(single) == [0]
        assert not any(guess.what == Topic.BEGIN for guess in single.views[0].guesses)
