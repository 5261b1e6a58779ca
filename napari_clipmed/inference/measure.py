"""Lengths, vessel diameters and stenosis on a frame, in millimetres where the file tells what a pixel is.

A round vessel's shadow in a log-subtracted frame follows the chord of each ray, widened by the blur:
its full width at half maximum is √3/2 of the diameter where the vessel is wide, that of the blur where it is
thin. `diameter_of` goes back from the one to the other. The length of the line drawn by hand is kept beside
it: the person decides.

Stenosis is WASID's, (1 − Ds/Dn)·100, with the normal diameter taken proximal to the stenosis; where that is
diseased, distal; else from the feeding artery (Samuels et al., AJNR 2000, 21:643). Where the narrowest lumen
is about a pixel wide its edges cannot be told; the iodine in the two cross-sections still tells the ratio of
their areas (videodensitometry; `Stenosis.by_density`), for round lumina filled alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from math import hypot, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d, map_coordinates

from napari_clipmed.errors import ClipmedError
from napari_clipmed.study import PixelSpacing

BLUR_PX = 0.7
"""Standard deviation of the blur that is assumed, in pixels: detector, and interpolation along the line. It
matters for vessels of less than four pixels only."""

RESOLVED_PX = 2.5
"""Diameter from which the edges of a lumen can be told; a thinner one looks as wide as the blur."""

SAMPLES_PER_PX = 8
SIDE_LINES = (-1.0, -0.5, 0.0, 0.5, 1.0)
"""Parallel lines, in pixels beside the drawn one, over which a profile is averaged."""

LEAST_SIGMAS = 3.5
"""A vessel must rise so many standard deviations above the ground beside it."""

LEAST_CONTRAST = 0.25
"""A vessel must rise this share of the profile's whole range above the ground on both sides of it."""


@dataclass(frozen=True)
class Line:
    """A line on a frame, ends at (row, column) in pixels; whole numbers are centres of pixels."""

    start: tuple[float, float]
    end: tuple[float, float]

    @property
    def pixels(self) -> float:
        """Length on the pixel grid."""
        return hypot(self.end[0] - self.start[0], self.end[1] - self.start[1])

    @property
    def middle(self) -> tuple[float, float]:
        """Half way."""
        return (self.start[0] + self.end[0]) / 2, (self.start[1] + self.end[1]) / 2


@dataclass(frozen=True)
class Length:
    """A length with its unit and what that unit means.

    Parameters
    ----------
    value : float
    unit : str
        `mm`, or `px` where the file tells no pixel size.
    calibration : str
        What a millimetre refers to; empty for pixels.
    """

    value: float
    unit: str
    calibration: str = ""

    def __str__(self) -> str:
        digits = 1 if self.value >= 100 else 2
        return f"{self.value:.{digits}f} {self.unit}"


@dataclass(frozen=True)
class Width:
    """A vessel's width from the profile across it.

    Parameters
    ----------
    diameter : Length
        Of a round vessel that gives this profile, the blur taken off.
    half_maximum : Length
        The full width at half maximum itself.
    start, end : (row, column)
        Where the profile crosses half its maximum.
    area : float
        Opacity × pixels under the profile: the iodine in the cross-section.
    pixels : float
        The diameter in pixels along the line.
    """

    diameter: Length
    half_maximum: Length
    start: tuple[float, float]
    end: tuple[float, float]
    area: float
    pixels: float


class Segment(StrEnum):
    """Where a diameter for WASID was taken, in the order in which the normal one is chosen."""

    STENOSIS = "stenosis"
    PROXIMAL = "proximal"
    DISTAL = "distal"
    FEEDER = "feeder"


NORMAL_ORDER = (Segment.PROXIMAL, Segment.DISTAL, Segment.FEEDER)


@dataclass(frozen=True)
class Caliper:
    """One diameter: the line drawn across a vessel, and what its profile says.

    Parameters
    ----------
    line : Line
    by_hand : Length
        Length of the line.
    width : Width or None
        From the profile; None where the line crosses nothing that can be told from the ground.
    why_not : str
        Why there is none.
    """

    line: Line
    by_hand: Length
    width: Width | None = None
    why_not: str = ""


@dataclass(frozen=True)
class Stenosis:
    """WASID stenosis in per cent, negative where the "stenosis" is the wider place.

    Parameters
    ----------
    reference : Segment
        Where the normal diameter was taken.
    by_hand : float or None
        (1 − Ds/Dn)·100 from the drawn lines; None where a line has no length.
    by_profile : float or None
        From the diameters that the profiles give.
    by_density : float or None
        From the iodine in the two cross-sections, (1 − √(As/An))·100.
    resolved : bool
        Whether the narrowest lumen is wide enough for its edges to be told.
    """

    reference: Segment
    by_hand: float | None
    by_profile: float | None
    by_density: float | None
    resolved: bool

    @property
    def percent(self) -> float | None:
        """The figure to report: by profile where the lumen is resolved, else by density, else by hand."""
        measured = self.by_profile if self.resolved else self.by_density
        return self.by_hand if measured is None else measured

    @property
    def method(self) -> str:
        """How `percent` came about."""
        measured = self.by_profile if self.resolved else self.by_density
        if measured is None:
            return "by hand"
        return (
            "from the profiles" if self.resolved else "from the density, the lumen is too thin for its edges"
        )


def length_of(line: Line, spacing: PixelSpacing) -> Length:
    """How long a line is. Pixels that are not square are told apart, in pixels of a column's width too."""
    rows, columns = line.end[0] - line.start[0], line.end[1] - line.start[1]
    if spacing.known:
        value = hypot(rows * spacing.row_mm, columns * spacing.column_mm)
        return Length(value, "mm", spacing.calibration.value)
    return Length(hypot(rows * spacing.row_mm / spacing.column_mm, columns), "px")


def profile_along(opacity: NDArray[np.floating], line: Line) -> NDArray[np.float64]:
    """Opacity along a line, (N,), eight samples a pixel, averaged over lines within a pixel to either side.

    Raises
    ------
    ClipmedError
        When the line is shorter than two pixels or leaves the picture.
    """
    height, width = opacity.shape
    points = (line.start, line.end)
    if not all(-0.5 <= r <= height - 0.5 and -0.5 <= c <= width - 0.5 for r, c in points):
        raise ClipmedError("The line leaves the picture.", "Draw it within one view.")
    if line.pixels < 2:
        raise ClipmedError("The line is shorter than two pixels.", "Draw it across the whole vessel.")
    share = np.linspace(0, 1, round(line.pixels * SAMPLES_PER_PX) + 1)
    start, along = np.array(line.start), np.subtract(line.end, line.start)
    across = np.array([-along[1], along[0]]) / line.pixels
    beside = np.array(SIDE_LINES)[:, None, None] * across
    where = start + share[:, None] * along + beside
    sampled = map_coordinates(
        np.asarray(opacity, np.float64), np.moveaxis(where, -1, 0), order=1, mode="nearest"
    )
    return np.asarray(sampled.mean(axis=0))


def width_across(opacity: NDArray[np.floating], line: Line, spacing: PixelSpacing) -> Width:
    """Diameter of the vessel that a line crosses, the one nearest to its middle.

    Parameters
    ----------
    opacity : (H, W) array
        Of one frame, vessels high; see `opacity.opacity_of_frame`.
    line : Line
        Across the vessel, with some ground at both ends.

    Raises
    ------
    ClipmedError
        When the line crosses no vessel that rises above the ground on both sides.
    """
    profile = profile_along(opacity, line)
    left, right, area = _half_crossings(profile)
    length = length_of(line, spacing)
    per_px = length.value / line.pixels
    half = (right - left) * line.pixels / (len(profile) - 1)
    pixels = diameter_of(half)
    start, end = (
        tuple(s + place / (len(profile) - 1) * (e - s) for s, e in zip(line.start, line.end, strict=True))
        for place in (left, right)
    )
    unit = (length.unit, length.calibration)
    return Width(
        Length(pixels * per_px, *unit),
        Length(half * per_px, *unit),
        (start[0], start[1]),
        (end[0], end[1]),
        area * line.pixels / (len(profile) - 1),
        pixels,
    )


def diameter_of(half_maximum_px: float) -> float:
    """Diameter in pixels of the round vessel whose blurred shadow has this full width at half maximum."""
    diameters, widths = _widths_of_round_vessels()
    if half_maximum_px >= widths[-1]:
        return half_maximum_px * float(diameters[-1] / widths[-1])
    return float(np.interp(half_maximum_px, widths, diameters))


@cache
def _widths_of_round_vessels() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Diameters up to where blur no longer counts, and the width at half maximum of each, in pixels."""
    diameters = np.linspace(0.2, 30 * BLUR_PX, 120)
    step = BLUR_PX / 40
    places = np.arange(0, diameters[-1], step)
    widths = []
    for diameter in diameters:
        chord = np.sqrt(np.maximum(diameter**2 / 4 - places**2, 0))
        whole = gaussian_filter1d(np.concatenate([chord[:0:-1], chord]), BLUR_PX / step, mode="constant")
        half = whole[len(places) - 1 :]
        widths.append(2 * step * float(np.interp(-half[0] / 2, -half, np.arange(len(half)))))
    return diameters, np.maximum.accumulate(widths)


def _half_crossings(profile: NDArray[np.float64]) -> tuple[float, float, float]:
    """Where a profile crosses half of its middle hill, left and right, and that hill's area (in samples).

    The ground is found twice: first between the lowest places to either side, then, less drawn down by noise,
    as the mean of what lies beyond the hill so found.
    """
    count = len(profile)
    places, calm = np.arange(count), gaussian_filter1d(profile, BLUR_PX * SAMPLES_PER_PX, mode="nearest")
    nearer = 1 - np.linspace(-1, 1, count) ** 2 / 2
    top = int(((calm - calm.min()) * nearer).argmax())
    feet = int(calm[: top + 1].argmin()), top + int(calm[top:].argmin())
    hill = profile - np.interp(places, feet, calm[list(feet)])
    if not feet[0] < top < feet[1] or hill[top] < LEAST_CONTRAST * np.ptp(profile):
        raise _no_vessel()
    left, right = _crossings(hill, top)
    middle, reach = (left + right) / 2, right - left
    outside = [
        places[(places >= feet[0]) & (places < middle - reach)],
        places[(places <= feet[1]) & (places > middle + reach)],
    ]
    if all(len(side) for side in outside):
        ground = np.interp(
            places, [side.mean() for side in outside], [profile[side].mean() for side in outside]
        )
        rest = (profile - ground)[np.concatenate(outside)]
        if (profile - ground)[top] < LEAST_SIGMAS * rest.std():
            raise _no_vessel()
        hill = profile - ground
        left, right = _crossings(hill, top)
    return left, right, float(hill[np.abs(places - middle) <= reach].sum())


def _no_vessel() -> ClipmedError:
    return ClipmedError(
        "The line crosses no vessel that is darker than the ground on both sides.",
        "Draw it across the vessel, with some ground at both ends, on a frame in which it is filled.",
    )


def _crossings(hill: NDArray[np.float64], top: int) -> tuple[float, float]:
    """Places to the left and right of the top where the hill first falls below half of it."""
    half = hill[top] / 2

    def crossing(step: int) -> float:
        slope = hill[top::step]
        below = np.flatnonzero(slope < half)
        at = int(below[0]) if len(below) else len(slope) - 1
        inside, outside = slope[at - 1], slope[at]
        part = (inside - half) / (inside - outside) if outside < half else 1.0
        return top + step * (at - 1 + part)

    return crossing(-1), crossing(1)


def caliper(opacity: NDArray[np.floating], line: Line, spacing: PixelSpacing) -> Caliper:
    """The drawn length, and the diameter from the profile where there is one."""
    by_hand = length_of(line, spacing)
    try:
        return Caliper(line, by_hand, width_across(opacity, line, spacing))
    except ClipmedError as refusal:
        return Caliper(line, by_hand, None, refusal.message)


def wasid(calipers: Mapping[Segment, Caliper]) -> Stenosis:
    """Stenosis from the narrowest diameter and one or more normal ones, drawn on one frame.

    Parameters
    ----------
    calipers : mapping of Segment to Caliper
        `STENOSIS` and at least one of the others; the first of `NORMAL_ORDER` that is there counts.

    Raises
    ------
    ClipmedError
        When one of the two is missing.
    """
    narrow = calipers.get(Segment.STENOSIS)
    reference = next((segment for segment in NORMAL_ORDER if segment in calipers), None)
    if narrow is None or reference is None:
        raise ClipmedError(
            "A stenosis needs its narrowest diameter and a normal one.",
            "Draw a line across the narrowest place, and one proximal to it (or distal, or in the feeder).",
        )
    normal = calipers[reference]
    by_hand = _percent(narrow.by_hand.value, normal.by_hand.value)
    if narrow.width is None or normal.width is None or normal.width.area <= 0:
        return Stenosis(reference, by_hand, None, None, resolved=False)
    by_profile = _percent(narrow.width.diameter.value, normal.width.diameter.value)
    left = sqrt(max(narrow.width.area, 0) / normal.width.area)
    resolved = min(narrow.width.pixels, left * normal.width.pixels) >= RESOLVED_PX
    return Stenosis(reference, by_hand, by_profile, (1 - left) * 100, resolved)


def _percent(narrowest: float, normal: float) -> float | None:
    return (1 - narrowest / normal) * 100 if normal > 0 else None
