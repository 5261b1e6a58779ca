"""Projection from angles, and what a millimetre means."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from napari_clipmed.io.geometry import (
    angiogram_projection,
    angle_between,
    angles_of,
    calibration_of,
    film_projection,
    orientation_warnings,
    projection_of_angles,
    spacing_of,
)
from napari_clipmed.study import Calibration, Projection


def header(**values) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


@pytest.mark.parametrize(
    ("primary", "expected"),
    [
        (0, "AP"), (30, "AP"), (-30, "AP"), (150, "AP"), (180, "AP"), (-170, "AP"), (350, "AP"),
        (60, "LA"), (90, "LA"), (-90, "LA"), (120, "LA"), (270, "LA"),
        (31, "OBLIQUE"), (-45, "OBLIQUE"), (59, "OBLIQUE"), (121, "OBLIQUE"), (149, "OBLIQUE"),
    ],
)  # fmt: skip
def test_projection_follows_the_primary_angle(primary, expected) -> None:
    assert projection_of_angles((primary, 20)) == expected


def test_empty_angles_are_never_guessed_from_the_description() -> None:
    projection, why = angiogram_projection(header(SeriesDescription="LATERAL", PositionerPrimaryAngle=None))
    assert projection is Projection.UNKNOWN and "no positioner angles" in why.reason


def test_a_rotational_run_has_no_label() -> None:
    projection, why = angiogram_projection(header(PositionerPrimaryAngle=0, FrameDimensionPointer=0x00181520))
    assert projection is Projection.UNKNOWN and "rotational" in why.reason


@pytest.mark.parametrize(
    ("position", "expected"), [("PA", "PA"), ("AP", "AP"), ("LL", "LA"), ("", "UNKNOWN"), ("XX", "UNKNOWN")]
)
def test_films_follow_view_position(position, expected) -> None:
    assert film_projection(header(ViewPosition=position))[0] == expected


def test_films_follow_the_view_code_where_there_is_no_position() -> None:
    assert film_projection(header(ViewCodeSequence=[header(CodeValue="399348003")]))[0] == Projection.AP


@pytest.mark.parametrize(
    ("first", "second", "degrees"),
    [
        ((0, 0), (90, 0), 90),
        ((-30, 0), (60, 0), 90),
        ((0, 0), (0, 90), 90),
        ((10, 5), (10, 5), 0),
        ((0, 0), (180, 0), 180),
    ],
)
def test_angle_between_beams(first, second, degrees) -> None:
    assert angle_between(first, second) == pytest.approx(degrees, abs=1e-4)


@pytest.mark.parametrize(
    ("values", "calibration", "row"),
    [
        ({}, Calibration.NONE, 1.0),
        ({"PixelSpacing": [0, 0]}, Calibration.NONE, 1.0),
        ({"ImagerPixelSpacing": [0.2, 0.2]}, Calibration.DETECTOR, 0.2),
        ({"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.2, 0.2]}, Calibration.DETECTOR, 0.2),
        ({"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.15, 0.15]}, Calibration.PATIENT, 0.15),
        (
            {"ImagerPixelSpacing": [0.2, 0.2], "EstimatedRadiographicMagnificationFactor": 1.25},
            Calibration.GEOMETRY,
            0.16,
        ),
        (
            {"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.2, 0.2], "DistanceSourceToDetector": 1200,
             "DistanceSourceToPatient": 800},
            Calibration.GEOMETRY,
            0.2 / 1.5,
        ),
        (
            {"ImagerPixelSpacing": [0.2, 0.2], "DistanceSourceToDetector": 800,
             "DistanceSourceToPatient": 1200},
            Calibration.DETECTOR,
            0.2,
        ),
        (
            {"PixelSpacing": [0.1, 0.1], "PixelSpacingCalibrationType": "FIDUCIAL"},
            Calibration.PATIENT,
            0.1,
        ),
        ({"PixelSpacing": [0.1, 0.1], "Modality": "XA"}, Calibration.DETECTOR, 0.1),
        ({"PixelSpacing": [0.5, 0.5], "Modality": "CT"}, Calibration.PATIENT, 0.5),
    ],
)  # fmt: skip
def test_spacing_says_what_it_refers_to(values, calibration, row) -> None:
    spacing = spacing_of(header(**values))
    assert spacing.calibration is calibration
    assert spacing.row_mm == pytest.approx(row)


@pytest.mark.parametrize(
    ("orientation", "expected", "words"),
    [
        (["A", "F"], "LA", "front to back"),
        (["P", "F"], "LA", "front to back"),
        (["L", "F"], "UNKNOWN", "not whether PA or AP"),
        (None, "UNKNOWN", "no View Position"),
    ],
)
def test_patient_orientation_tells_lateral_from_frontal(orientation, expected, words) -> None:
    projection, why = film_projection(header(PatientOrientation=orientation))
    assert projection == expected and why.what == "projection" and words in why.reason


def test_a_mirrored_or_turned_film_is_said() -> None:
    assert "mirrored" in orientation_warnings(header(PatientOrientation=["R", "F"]), "x.dcm")[0]
    assert "upside down" in orientation_warnings(header(PatientOrientation=["L", "H"]), "x.dcm")[0]
    assert orientation_warnings(header(PatientOrientation=["L", "F"]), "x.dcm") == ()


def test_angles_of_the_isocentre_stand_in() -> None:
    dataset = header(PositionerIsocenterPrimaryAngle=88.0, PositionerIsocenterSecondaryAngle=-3.0)
    assert angles_of(dataset) == (88, -3)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "no pixel spacing"),
        ({"ImagerPixelSpacing": [0.2, 0.2]}, "magnification is not known"),
        (
            {"ImagerPixelSpacing": [0.2, 0.2], "EstimatedRadiographicMagnificationFactor": 1.25},
            "divided by 1.25",
        ),
        (
            {
                "ImagerPixelSpacing": [0.2, 0.2],
                "DistanceSourceToDetector": 1200,
                "DistanceSourceToPatient": 800,
            },
            "distances to the source 1200 and 800 mm",
        ),
        ({"ImagerPixelSpacing": [0.2, 0.2], "PixelSpacing": [0.15, 0.15]}, "differs from"),
        ({"ObjectPixelSpacingInCenterOfBeam": [0.15, 0.15]}, "Center of Beam"),
    ],
)
def test_every_calibration_has_its_reason(values, words) -> None:
    spacing, guess = calibration_of(header(**values))
    assert guess.what == "calibration" and guess.value == spacing.calibration and words in guess.reason


def test_millimetres_of_an_enhanced_run() -> None:
    spacing = spacing_of(header(ObjectPixelSpacingInCenterOfBeam=[0.15, 0.16]))
    assert (spacing.row_mm, spacing.column_mm) == (0.15, 0.16) and spacing.calibration is Calibration.GEOMETRY
