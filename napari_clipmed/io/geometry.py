"""From where the X-rays look, and what a millimetre means."""

from __future__ import annotations

import math

from pydicom import Dataset

from napari_clipmed.io.dicom_values import items, number, numbers, text
from napari_clipmed.io.timing import motion
from napari_clipmed.study import Calibration, Guess, PixelSpacing, Projection, Topic

FRONTAL_LIMIT, LATERAL_RANGE = 30.0, (60.0, 120.0)
"""Degrees of the primary angle from the frontal or rear beam that count as AP, and that count as lateral."""

VIEW_POSITIONS = {
    "AP": Projection.AP,
    "PA": Projection.PA,
    "LL": Projection.LA,
    "RL": Projection.LA,
    "LATERAL": Projection.LA,
    "LAT": Projection.LA,
}
VIEW_CODES = {
    "399348003": Projection.AP,
    "272479007": Projection.PA,
    "399173006": Projection.LA,
    "399198007": Projection.LA,
    "399067008": Projection.LA,
    "R-10206": Projection.AP,
    "R-10214": Projection.PA,
    "R-40888": Projection.PA,
    "R-102CD": Projection.LA,
    "R-10236": Projection.LA,
    "R-10232": Projection.LA,
}
"""CID 4010 in SNOMED CT and the older SRT codes: antero-posterior, postero-anterior and the laterals."""


def angles_of(dataset: Dataset) -> tuple[float, float] | None:
    """Positioner primary (0 frontal, +90 patient's left) and secondary (+ cranial) angle, or None.

    Enhanced images may give the same two angles for the isocentre only.
    """
    for words in ("Positioner{}Angle", "PositionerIsocenter{}Angle"):
        primary = number(dataset, words.format("Primary"))
        if primary is not None:
            return primary, number(dataset, words.format("Secondary")) or 0.0
    return None


def projection_of_angles(angles: tuple[float, float]) -> Projection:
    """AP within 30° of the frontal or rear beam, LA from 60° to 120° to either side, else OBLIQUE."""
    primary = abs((angles[0] + 180) % 360 - 180)
    if primary <= FRONTAL_LIMIT or primary >= 180 - FRONTAL_LIMIT:
        return Projection.AP
    low, high = LATERAL_RANGE
    return Projection.LA if low <= primary <= high else Projection.OBLIQUE


def angiogram_projection(dataset: Dataset) -> tuple[Projection, Guess | None]:
    """The projection of a run and the rule that gave it; unknown where the header has no angle."""
    moving = motion(dataset)
    if moving:
        return Projection.UNKNOWN, Guess(
            Topic.PROJECTION, Projection.UNKNOWN, f"{moving} run, not a bolus time series"
        )
    angles = angles_of(dataset)
    if angles is None:
        return Projection.UNKNOWN, Guess(
            Topic.PROJECTION, Projection.UNKNOWN, "the file has no positioner angles"
        )
    projection = projection_of_angles(angles)
    return projection, Guess(
        Topic.PROJECTION, projection, f"positioner primary angle {angles[0]:g}°, secondary {angles[1]:g}°"
    )


def film_projection(dataset: Dataset) -> tuple[Projection, Guess | None]:
    """The projection of a film from View Position, View Code Sequence, or the rows of Patient Orientation.

    Patient Orientation tells a lateral film from a frontal one, but not PA from AP.
    """
    position = text(dataset, "ViewPosition").upper()
    if position in VIEW_POSITIONS:
        return VIEW_POSITIONS[position], None
    for item in items(dataset, "ViewCodeSequence"):
        code = text(item, "CodeValue")
        if code in VIEW_CODES:
            return VIEW_CODES[code], None
    rows = text(dataset, "PatientOrientation").upper().partition("\\")[0][:1]
    if rows in ("A", "P"):
        reason = "by Patient Orientation its rows run from front to back"
        return Projection.LA, Guess(Topic.PROJECTION, Projection.LA, reason)
    known = (
        "the film is frontal by Patient Orientation, but not whether PA or AP" if rows in ("L", "R") else ""
    )
    reason = known or "the file gives no View Position, View Code or Patient Orientation"
    return Projection.UNKNOWN, Guess(Topic.PROJECTION, Projection.UNKNOWN, reason)


def orientation_warnings(dataset: Dataset, name: str) -> tuple[str, ...]:
    """What Patient Orientation (0020,0020) says against the usual hanging of a frontal picture."""
    rows, _, columns = text(dataset, "PatientOrientation").upper().partition("\\")
    notes = []
    if rows[:1] == "R":
        notes.append(f"{name} is stored mirrored: the patient's left is on the left of the picture.")
    if columns[:1] == "H":
        notes.append(f"{name} is stored upside down by its Patient Orientation.")
    return tuple(notes)


def angle_between(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Degrees between two beams given by primary and secondary angle."""
    beams = []
    for primary, secondary in (first, second):
        p, s = math.radians(primary), math.radians(secondary)
        beams.append((math.sin(p) * math.cos(s), math.cos(p) * math.cos(s), math.sin(s)))
    cosine = sum(a * b for a, b in zip(*beams, strict=True))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def spacing_of(dataset: Dataset) -> PixelSpacing:
    """Millimetres a pixel and what they refer to (PS3.3 10.7.1.3, C.8.7.5); see `calibration_of`."""
    return calibration_of(dataset)[0]


def calibration_of(dataset: Dataset) -> tuple[PixelSpacing, Guess]:
    """Pixel size, and the rule that gave it.

    Pixel Spacing unlike Imager Pixel Spacing was calibrated. Equal or missing, the detector spacing is
    divided by the magnification (ERMF, or source–detector over source–patient distance) where it is known.
    Enhanced images may give the pixel size in the centre of the beam.
    """
    spacing, reason = _spacing(dataset)
    return spacing, Guess(Topic.CALIBRATION, spacing.calibration, reason)


def _spacing(dataset: Dataset) -> tuple[PixelSpacing, str]:
    pixel, imager = _positive_pair(dataset, "PixelSpacing"), _positive_pair(dataset, "ImagerPixelSpacing")
    kind = text(dataset, "PixelSpacingCalibrationType").upper()
    if pixel and kind in ("GEOMETRY", "FIDUCIAL"):
        calibration = Calibration.GEOMETRY if kind == "GEOMETRY" else Calibration.PATIENT
        return PixelSpacing(*pixel, calibration), f"Pixel Spacing, calibrated by {kind.lower()}"
    if pixel and imager and any(abs(p - i) > 1e-4 * i for p, i in zip(pixel, imager, strict=True)):
        return PixelSpacing(*pixel, Calibration.PATIENT), "Pixel Spacing differs from Imager Pixel Spacing"
    if pixel and not imager and text(dataset, "Modality") not in ("XA", "RF", "CR", "DX", "OT", "SC"):
        return PixelSpacing(*pixel, Calibration.PATIENT), "Pixel Spacing of a slice"
    beam = _positive_pair(dataset, "ObjectPixelSpacingInCenterOfBeam")
    if beam:
        return PixelSpacing(*beam, Calibration.GEOMETRY), "Object Pixel Spacing in Center of Beam"
    detector = imager or pixel
    if detector is None:
        aspect = _positive_pair(dataset, "PixelAspectRatio") or (1.0, 1.0)
        return PixelSpacing(aspect[0] / aspect[1], 1.0, Calibration.NONE), "the file gives no pixel spacing"
    magnification, how = _magnification(dataset) if imager else (None, "")
    if magnification is None:
        which = "Imager Pixel Spacing" if imager else "Pixel Spacing"
        return PixelSpacing(*detector, Calibration.DETECTOR), f"{which}; the magnification is not known"
    spacing = PixelSpacing(detector[0] / magnification, detector[1] / magnification, Calibration.GEOMETRY)
    return spacing, f"Imager Pixel Spacing divided by {magnification:.3g} ({how})"


def _magnification(dataset: Dataset) -> tuple[float | None, str]:
    """Estimated Radiographic Magnification Factor, else SID / SOD; None where unknown or impossible."""
    factor = number(dataset, "EstimatedRadiographicMagnificationFactor")
    how = "Estimated Radiographic Magnification Factor"
    detector = number(dataset, "DistanceSourceToDetector")
    patient = number(dataset, "DistanceSourceToPatient") or number(dataset, "DistanceSourceToIsocenter")
    if factor is None and detector and patient and patient > 0:
        factor, how = detector / patient, f"distances to the source {detector:g} and {patient:g} mm"
    return (factor, how) if factor is not None and factor >= 1 else (None, "")


def _positive_pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    found = numbers(dataset, keyword)
    return (found[0], found[1]) if len(found) == 2 and min(found) > 0 else None
