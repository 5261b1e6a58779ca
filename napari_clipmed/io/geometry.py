"""From where the X-rays look, and what a millimetre means."""

from __future__ import annotations

import math

from pydicom import Dataset

from napari_clipmed.io.dicom_headers import items, number, numbers, text
from napari_clipmed.io.timing import motion
from napari_clipmed.study import Calibration, Guess, PixelSpacing, Projection

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
    """Positioner primary (0 frontal, +90 patient's left) and secondary (+ cranial) angle, or None."""
    primary = number(dataset, "PositionerPrimaryAngle")
    if primary is None:
        return None
    return primary, number(dataset, "PositionerSecondaryAngle") or 0.0


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
            "projection", Projection.UNKNOWN, f"{moving} run, not a bolus time series"
        )
    angles = angles_of(dataset)
    if angles is None:
        return Projection.UNKNOWN, Guess(
            "projection", Projection.UNKNOWN, "the file has no positioner angles"
        )
    projection = projection_of_angles(angles)
    return projection, Guess(
        "projection", projection, f"positioner primary angle {angles[0]:g}°, secondary {angles[1]:g}°"
    )


def film_projection(dataset: Dataset) -> tuple[Projection, Guess | None]:
    """The projection of a film from View Position, else from View Code Sequence."""
    position = text(dataset, "ViewPosition").upper()
    if position in VIEW_POSITIONS:
        return VIEW_POSITIONS[position], None
    for item in items(dataset, "ViewCodeSequence"):
        code = text(item, "CodeValue")
        if code in VIEW_CODES:
            return VIEW_CODES[code], None
    return Projection.UNKNOWN, None


def angle_between(first: tuple[float, float], second: tuple[float, float]) -> float:
    """Degrees between two beams given by primary and secondary angle."""
    beams = []
    for primary, secondary in (first, second):
        p, s = math.radians(primary), math.radians(secondary)
        beams.append((math.sin(p) * math.cos(s), math.cos(p) * math.cos(s), math.sin(s)))
    cosine = sum(a * b for a, b in zip(*beams, strict=True))
    return math.degrees(math.acos(max(-1.0, min(1.0, cosine))))


def spacing_of(dataset: Dataset) -> PixelSpacing:
    """Millimetres a pixel and what they refer to (PS3.3 10.7.1.3, C.8.7.5).

    Pixel Spacing unlike Imager Pixel Spacing was calibrated. Equal or missing, the detector spacing is
    divided by the magnification (ERMF, or source–detector over source–patient distance) where it is known.
    """
    pixel, imager = _positive_pair(dataset, "PixelSpacing"), _positive_pair(dataset, "ImagerPixelSpacing")
    kind = text(dataset, "PixelSpacingCalibrationType").upper()
    if pixel and kind in ("GEOMETRY", "FIDUCIAL"):
        return PixelSpacing(*pixel, Calibration.GEOMETRY if kind == "GEOMETRY" else Calibration.PATIENT)
    if pixel and imager and any(abs(p - i) > 1e-4 * i for p, i in zip(pixel, imager, strict=True)):
        return PixelSpacing(*pixel, Calibration.PATIENT)
    if pixel and not imager and text(dataset, "Modality") not in ("XA", "RF", "CR", "DX", "OT", "SC"):
        return PixelSpacing(*pixel, Calibration.PATIENT)  # slices: the spacing lies in the patient
    detector = imager or pixel
    if detector is None:
        aspect = _positive_pair(dataset, "PixelAspectRatio") or (1.0, 1.0)
        return PixelSpacing(aspect[0] / aspect[1], 1.0, Calibration.NONE)
    magnification = _magnification(dataset) if imager else None
    if magnification is None:
        return PixelSpacing(*detector, Calibration.DETECTOR)
    return PixelSpacing(detector[0] / magnification, detector[1] / magnification, Calibration.GEOMETRY)


def _magnification(dataset: Dataset) -> float | None:
    """Estimated Radiographic Magnification Factor, else SID / SOD; None where unknown or impossible."""
    factor = number(dataset, "EstimatedRadiographicMagnificationFactor")
    detector = number(dataset, "DistanceSourceToDetector")
    patient = number(dataset, "DistanceSourceToPatient")
    if factor is None and detector and patient and patient > 0:
        factor = detector / patient
    return factor if factor is not None and factor >= 1 else None


def _positive_pair(dataset: Dataset, keyword: str) -> tuple[float, float] | None:
    found = numbers(dataset, keyword)
    return (found[0], found[1]) if len(found) == 2 and min(found) > 0 else None
