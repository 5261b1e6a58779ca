"""Time–density curves of regions of interest, and their figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from skimage.draw import polygon2mask

from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference.bolus import follow_curves
from napari_clipmed.inference.opacity import OpacityRun


class Outline(StrEnum):
    """How the points of a region are meant."""

    ELLIPSE = "ellipse"
    RECTANGLE = "rectangle"
    POLYGON = "polygon"


@dataclass(frozen=True, eq=False)
class Region:
    """A region on a view.

    Parameters
    ----------
    outline : Outline
    points : (N, 2) array
        Rows and columns in pixels of the view: the four corners of a rectangle, of the box around an ellipse
        (which may stand askew), or the corners of a polygon.
    name : str
        As the person calls it.
    """

    outline: Outline
    points: NDArray[np.float64]
    name: str = "ROI"

    @classmethod
    def box(cls, outline: Outline, row0: float, column0: float, row1: float, column1: float) -> Region:
        """A region with upright sides, by two opposite corners."""
        corners = [(row0, column0), (row0, column1), (row1, column1), (row1, column0)]
        return cls(outline, np.array(corners, dtype=np.float64))

    def mask(self, shape: tuple[int, int], step: int = 1) -> NDArray[np.bool_]:
        """Pixels whose centres lie inside, (H, W) bool; `step` pixels of the view make one of the mask."""
        points = (self.points + 0.5) / step - 0.5
        if self.outline is not Outline.ELLIPSE:
            inside: NDArray[np.bool_] = polygon2mask(shape, points)
            return inside
        centre = points.mean(axis=0)
        axes = np.stack([points[1] - points[0], points[3] - points[0]]) / 2
        if abs(np.linalg.det(axes)) < 1e-9:
            return np.zeros(shape, bool)
        grid = np.moveaxis(np.indices(shape), 0, -1) - centre
        return np.asarray(((grid @ np.linalg.inv(axes)) ** 2).sum(axis=-1) <= 1)


@dataclass(frozen=True, eq=False)
class TimeDensityCurve:
    """Mean opacity of a region over time.

    Parameters
    ----------
    name, view : str
        Of the region, and of the view that it lies on.
    times : (T,) float64 array
        In `time_unit`; see `OpacityRun.times`.
    opacity : (T,) float64 array
        Mean of the region's pixels.
    time_unit : str
        `s` or `frames`.
    pixels : int
        How many pixels the region has.
    arrival, time_to_peak, peak, area, transit : float
        As in `BolusMaps`; NaN where they cannot be told.
    half_width : float
        Full width at half maximum in `time_unit`; NaN where the curve does not fall to half within the run.
    cut_off : bool
        Whether the curve still rises at the last frame.
    """

    name: str
    view: str
    times: NDArray[np.float64]
    opacity: NDArray[np.float64]
    time_unit: str
    pixels: int
    arrival: float
    time_to_peak: float
    peak: float
    area: float
    transit: float
    half_width: float
    cut_off: bool


def curve_of(run: OpacityRun, region: Region, view: str = "") -> TimeDensityCurve:
    """The curve of a region.

    Parameters
    ----------
    run : OpacityRun
    region : Region
    view : str
        Name of the view, for the table.

    Raises
    ------
    ClipmedError
        When the region holds no pixel of the view.
    """
    height, width = run.frames.shape[1:]
    inside = region.mask((height, width), run.step)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not len(rows):
        raise ClipmedError(f"{region.name} holds no pixel of the view.", "Draw it inside one view.")
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    opacity = run.frames[(slice(None), *box)][:, inside[box]].mean(axis=1, dtype=np.float64)
    found, cut_off = follow_curves(opacity.astype(np.float32)[:, None], run.times, threshold=0.0)
    arrival, peak_time, peak, area, transit = (float(value) for value in found[:, 0])
    return TimeDensityCurve(
        region.name,
        view,
        run.times,
        opacity,
        run.time_unit,
        int(inside.sum()) * run.step**2,
        arrival,
        peak_time,
        peak,
        area,
        transit,
        width_at_half(opacity, run.times),
        bool(cut_off[0]),
    )


def width_at_half(opacity: NDArray[np.floating], times: NDArray[np.floating]) -> float:
    """Full width at half maximum of a curve; NaN where rise or fall through half is not in the run."""
    top = int(opacity.argmax())
    half = opacity[top] / 2
    before, after = np.flatnonzero(opacity[:top] < half), np.flatnonzero(opacity[top:] < half)
    if not len(before) or not len(after):
        return float("nan")
    i, j = int(before[-1]), top + int(after[0])
    rise = np.interp(half, opacity[[i, i + 1]], times[[i, i + 1]])
    fall = np.interp(-half, -opacity[[j - 1, j]], times[[j - 1, j]])
    return float(fall - rise)


def curves_csv(curves: Iterable[TimeDensityCurve], study_hash: str, *, synthetic: bool = False) -> str:
    """Curves and their figures as CSV, without the patient; lines that begin with # say what the columns are.

    Parameters
    ----------
    study_hash : str
        `Study.image_hash`, by which the study is found again.
    synthetic : bool
        Whether the study is simulated, which is then said.
    """
    curves = list(curves)
    out = io.StringIO()
    if synthetic:
        out.write("# SIMULATED study, no patient\n")
    unit = curves[0].time_unit if curves else "s"
    clock = "seconds from the first frame" if unit == "s" else "frame number, the file tells no times"
    out.write(f"# study {study_hash}\n# time: {clock}; opacity: ground minus grey of the subtracted run\n")
    out.write("# Research use only, not for diagnosis\n")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["view", "roi", f"time ({unit})", "opacity", "pixels"])
    for curve in curves:
        for time, value in zip(curve.times, curve.opacity, strict=True):
            writer.writerow([curve.view, curve.name, f"{time:.4f}", f"{value:.6g}", curve.pixels])
    figures = ("arrival", "time_to_peak", "half_width", "transit", "peak", "area")
    for curve in curves:
        told = ", ".join(f"{name} {getattr(curve, name):.4g}" for name in figures)
        out.write(f"# {curve.view} {curve.name}: {told}{', cut off' if curve.cut_off else ''}\n")
    return out.getvalue()
