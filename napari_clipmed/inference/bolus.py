"""When contrast comes, peaks and goes in every pixel of a subtracted run.

Fit or moments? A gamma variate (Thompson 1964) describes one passage of one short bolus through one vessel.
In projection a pixel holds several vessels, the injection lasts as long as the passage, and angiograms are
often stopped before the wash-out: a fit over a million pixels then needs bounds, starting values and minutes,
and fails silently. So times are read from the samples, in closed form: time to peak is that of the highest
sample, refined by the parabola through it and its neighbours; arrival is where the rise crosses a tenth of
the peak; the transit time is the first moment of the curve after arrival. So does angiographic parametric
imaging (Shpilfoygel et al., Med Phys 2000, 27:2008, a review of videodensitometry; Strother et al., AJNR
2010, 31:919, colour-coded DSA). All include the injection: a transit time here is no tissue transit time,
which needs a deconvolution by the arterial curve.

Curves of single pixels are freed of their noise first (`curve_noise`).

What was not seen is not invented. A time to peak is given where contrast stands out from the noise
(`CLEAR`) and that noise leaves most of the chance within half a frame interval (`CERTAIN`); elsewhere it is
blank, although contrast was seen. Where a curve still
rises at the last frame its peak is marked as cut off; where it has not washed out the transit time is blank.
Frames in which the patient had moved are left out, and what the last frame before the bolus shows already is
no contrast and is taken off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_clipmed.errors import Cancelled, ClipmedError
from napari_clipmed.inference.curve_noise import DRAWS, Posterior, noise_map, without_noise
from napari_clipmed.inference.opacity import OpacityRun, clear_level, moved_frames, noise_of, opacity_of
from napari_clipmed.progress import Progress
from napari_clipmed.study import Study, View

Map = NDArray[np.float32]

SMOOTHING_PX = 0.7
"""Standard deviation of the smoothing within a frame: halves the noise and spares thin vessels."""

ARRIVED = 0.1
"""Share of its peak at which contrast has arrived in a pixel; the simulator's truth uses the same."""

WASHED_OUT = 0.25
"""Share of its peak below which a curve must fall for its first moment to be believed."""

NOISE_FACTOR, LEAST_SHARE = 5.0, 0.03
"""A pixel is shown when its peak exceeds so many standard deviations of the noise, and this share of the
strongest vessel's peak."""

STRONGEST_PER_CENT = 1.5
"""The darkest part of the field, taken to be arteries."""

QUIET, QUIET_FIELD = 0.05, 0.15
"""Below these shares of their largest values the darkness of the arteries, and the dark part of the field,
mean that no contrast has come."""

COMING = 0.3
"""Share of its later peak below which darkness in the last quiet frame is contrast that begins to come; above
it, the shadow was there before."""

CLEAR = 6.0
"""Standard deviations of its own noise that a pixel must peak above for its time to peak to be given."""

CERTAIN = 0.92
"""Share of the curves that a pixel's samples allow which must peak within half a frame interval of the
likeliest one. On simulated studies 95 % of the times given are then right to half an interval."""

ROWS_AT_ONCE = 64


@dataclass(frozen=True, eq=False)
class BolusMaps:
    """Maps of one view, each (H, W) float32, NaN where no contrast was seen.

    Parameters
    ----------
    arrival : array
        When the pixel reached a tenth of its peak. In `time_unit` from the first frame of the study (frame
        numbers from 1 where no times are known); NaN too where contrast was there from the start.
    time_to_peak : array
        When it was darkest, likewise; NaN too where noise leaves that open by more than half a frame.
    peak : array
        Opacity then, in the unit of `OpacityRun.frames`.
    area : array
        Area under the curve from arrival to the end of the run, opacity × `time_unit`.
    transit : array
        Mean transit time: first moment of the curve, from arrival, in `time_unit`. NaN too where the pixel
        had not washed out.
    cut_off : (H, W) bool array
        Where the curve still rose at the last frame: the true peak is later.
    time_unit : str
        `s`, or `frames` where no times are known.
    threshold : float
        Opacity from which a pixel is shown.
    notes : tuple of str
        What was left out, for the person.
    """

    arrival: Map
    time_to_peak: Map
    peak: Map
    area: Map
    transit: Map
    cut_off: NDArray[np.bool_]
    time_unit: str
    threshold: float
    notes: tuple[str, ...] = ()


def bolus_maps(view: View, progress: Progress | None = None) -> BolusMaps:
    """Maps of one subtracted run; two views of one injection are better asked for together (`study_maps`).

    Parameters
    ----------
    view : View
    progress : Progress, optional
        Told often; a cancelled job ends there.

    Raises
    ------
    ClipmedError
        When the view is no bolus time series: see `opacity.why_no_bolus`.
    """
    return maps_of(opacity_of(view, progress), progress=progress)


def study_maps(study: Study, progress: Progress | None = None) -> tuple[BolusMaps | ClipmedError, ...]:
    """Maps of all views, in view order, or the reason why there are none of a view."""
    return maps_of_runs(opacity_of_all(study.views, progress), progress)


def opacity_of_all(
    views: Sequence[View], progress: Progress | None = None
) -> tuple[OpacityRun | ClipmedError, ...]:
    """Opacity of each view, or the reason why there is none."""
    runs: list[OpacityRun | ClipmedError] = []
    for view in views:
        try:
            runs.append(opacity_of(view, progress))
        except Cancelled:
            raise
        except ClipmedError as refusal:
            runs.append(refusal)
    return tuple(runs)


def maps_of_runs(
    runs: Sequence[OpacityRun | ClipmedError], progress: Progress | None = None
) -> tuple[BolusMaps | ClipmedError, ...]:
    """Maps of the planes of one injection; what is no run is passed on."""
    readable = [run for run in runs if isinstance(run, OpacityRun)]
    quiet = common_quiet(readable)
    return tuple(maps_of(run, quiet, progress) if isinstance(run, OpacityRun) else run for run in runs)


def common_quiet(runs: Sequence[OpacityRun]) -> float | None:
    """Until when no plane shows contrast, where all planes have one clock; else None.

    Both planes see one injection. Motion makes a plane seem to darken too early only, so the later is right.
    """
    if len(runs) < 2 or not all(run.in_seconds for run in runs):
        return None
    calm = [steady(run)[0] for run in runs]
    return max(quiet_until(run.frames, run.times) for run in calm)


def maps_of(run: OpacityRun, quiet: float | None = None, progress: Progress | None = None) -> BolusMaps:
    """Maps of a run whose opacity is known.

    Parameters
    ----------
    run : OpacityRun
    quiet : float, optional
        Until when no contrast has come, in the run's time unit; found in the run itself when not given.
    """
    progress = progress or Progress()
    run, notes = steady(run)
    frames = np.empty_like(run.frames)
    for place, frame in enumerate(run.frames):
        progress.step("Clean the frames", place, len(frames))
        gaussian_filter(frame, SMOOTHING_PX, output=frames[place])
    noise, noise_here = noise_of(frames), noise_map(frames)
    quiet = quiet_until(frames, run.times) if quiet is None else quiet
    last_quiet = max(int(np.searchsorted(run.times, quiet, side="right")) - 1, 0)
    _without_shadows(frames, last_quiet, noise)
    strongest = float(np.percentile(frames.max(axis=0), 99.5))
    threshold = max(NOISE_FACTOR * noise, LEAST_SHARE * strongest)
    maps, cut_off = _follow(frames, run.times, noise_here, threshold, progress)
    arrival, when, peak, area, transit = (run.full_size(found) for found in maps)
    return BolusMaps(
        arrival, when, peak, area, transit, run.full_size(cut_off), run.time_unit, threshold, notes
    )


def steady(run: OpacityRun) -> tuple[OpacityRun, tuple[str, ...]]:
    """The run without the frames in which the patient had moved, and a sentence about those."""
    moved = moved_frames(run)
    if not moved.any():
        return run, ()
    kept = ~moved
    left = ", ".join(str(index + 1) for index in run.indices[moved])
    plural = "s" if moved.sum() > 1 else ""
    rest = replace(run, frames=run.frames[kept], times=run.times[kept], indices=run.indices[kept])
    return rest, (f"Frame{plural} {left} left out: the patient had moved.",)


def quiet_until(frames: NDArray[np.float32], times: NDArray[np.float64]) -> float:
    """Time of the last frame before contrast comes; that of the first frame where contrast is there at once.

    Two signs, of which the earlier counts: the darkest vessels darken, and more of the field is darker than
    the ground than is brighter. (Anatomy that moved is both.)

    Parameters
    ----------
    frames : (T, h, w) float32 array
        Opacity.
    times : (T,) array
    """
    top = frames.max(axis=0)
    arteries = np.median(frames[:, top >= np.percentile(top, 100 - STRONGEST_PER_CENT)], axis=1)
    level = clear_level(frames)
    field = (frames > level).mean(axis=(1, 2)) - (frames < -level).mean(axis=(1, 2))
    quiet = min(_last_below(arteries - arteries.min(), QUIET), _last_below(field - field.min(), QUIET_FIELD))
    return float(times[quiet])


def _last_below(curve: NDArray[np.floating], share: float) -> int:
    """Index of the last point before the maximum that is below that share of it; 0 where there is none."""
    rise = curve[: int(curve.argmax()) + 1]
    below = np.flatnonzero(rise < share * rise[-1])
    return int(below[-1]) if len(below) else 0


def _without_shadows(frames: NDArray[np.float32], last_quiet: int, noise: float) -> None:
    """Take off what the last quiet frame shows beyond its noise, and empty the frames before it; in place."""
    shadows = frames[last_quiet].copy()
    clear = np.abs(shadows) > NOISE_FACTOR * noise
    coming = (shadows > 3 * noise) & (shadows < COMING * frames[last_quiet:].max(axis=0))
    shadows[~clear | coming] = 0
    frames -= shadows
    frames[:last_quiet, ~coming] = 0


def _follow(
    frames: NDArray[np.float32],
    times: NDArray[np.float64],
    noise: NDArray[np.float32],
    threshold: float,
    progress: Progress,
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The five maps, (5, h, w), and where curves are cut off, (h, w); a band of rows at a time."""
    count, height, width = frames.shape
    maps = np.full((5, height * width), np.nan, np.float32)
    cut_off = np.zeros(height * width, bool)
    for top in range(0, height, ROWS_AT_ONCE):
        progress.step("Follow the bolus", top, height)
        band = slice(top * width, min(top + ROWS_AT_ONCE, height) * width)
        curves = frames.reshape(count, -1)[:, band]
        seen = np.flatnonzero(curves.max(axis=0) > threshold)
        if not len(seen):
            continue
        cleaned = without_noise(curves[:, seen], times, noise.ravel()[band][seen])
        found, cut = follow_curves(cleaned.mean, times, threshold)
        found[1, ~tells_its_peak(cleaned, times)] = np.nan
        maps[:, top * width + seen] = found
        cut_off[top * width + seen] = cut
    return maps.reshape(5, height, width), cut_off.reshape(height, width)


def tells_its_peak(cleaned: Posterior, times: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which curves give a time to peak that is right to half a frame interval, (N,)."""
    clear = cleaned.mean.max(axis=0) >= CLEAR * cleaned.noise
    clear[clear] = certainty(cleaned.only(clear), times) >= CERTAIN
    return clear


def certainty(cleaned: Posterior, times: NDArray[np.float64]) -> NDArray[np.float64]:
    """Share of the curves drawn for each pixel that peak within half a frame of its likeliest one, (N,)."""
    top = cleaned.mean.argmax(axis=0)
    when, _ = _summit(cleaned.mean, times, top)
    half = np.gradient(times)[top] / 2
    near = np.zeros(len(top))
    for curves in cleaned.draws():
        near += np.abs(_summit(curves, times, curves.argmax(axis=0))[0] - when) <= half
    return near / DRAWS


def follow_curves(
    curves: NDArray[np.float32], times: NDArray[np.float64], threshold: float
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Arrival, time to peak, peak, area and transit time of many curves at once.

    Parameters
    ----------
    curves : (T, N) float32 array
        Opacity.
    times : (T,) float64 array
        Not decreasing, not necessarily even.
    threshold : float
        Curves with a lower peak give NaN.

    Returns
    -------
    (5, N) float32 array, (N,) bool array
        The five values in that order, and which curves still rise at the end.
    """
    count = len(curves)
    top = curves.argmax(axis=0)
    when, peak = _summit(curves, times, top)
    seen = peak > threshold
    arrival, start = _arrival(curves, times, top, ARRIVED * peak)
    width = np.diff(times)[:, None]
    middle = (times[1:] + times[:-1])[:, None] / 2
    since = np.arange(count - 1)[:, None] >= start
    strips = (curves[1:] + curves[:-1]) / 2 * width * since
    area = strips.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        transit = (strips * middle).sum(axis=0) / area - arrival
    washed_out = curves[-1] < WASHED_OUT * peak
    found = np.stack([arrival, when, peak, area, np.where(washed_out & (transit > 0), transit, np.nan)])
    return np.where(seen, found, np.nan).astype(np.float32), seen & (top == count - 1)


def _summit(
    curves: NDArray[np.float32], times: NDArray[np.float64], top: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Time and height of the vertex of the parabola through the highest sample and its neighbours."""
    each = np.arange(curves.shape[1])
    inner = np.clip(top, 1, len(curves) - 2)
    before, here, after = (curves[inner + step, each].astype(np.float64) for step in (-1, 0, 1))
    left, right = times[inner] - times[inner - 1], times[inner + 1] - times[inner]
    with np.errstate(divide="ignore", invalid="ignore"):
        rise, fall = (here - before) / left, (after - here) / right
        bend = (fall - rise) / (left + right)
        slope = (rise * right + fall * left) / (left + right)
        shift = np.clip(-slope / (2 * bend), -left / 2, right / 2)
    sound = (inner == top) & np.isfinite(shift) & (bend < 0)
    shift = np.where(sound, shift, 0.0)
    height = np.where(sound, here + slope * shift + bend * shift**2, curves[top, each])
    return times[top] + shift, height


def _arrival(
    curves: NDArray[np.float32],
    times: NDArray[np.float64],
    top: NDArray[np.int64],
    level: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Where the rise to the peak crosses `level` for the last time, and the sample before that."""
    count, each = len(curves), np.arange(curves.shape[1])
    below = (curves < level) & (np.arange(count)[:, None] < top)
    begins = below.any(axis=0)
    before = np.where(begins, count - 1 - below[::-1].argmax(axis=0), 0)
    after = np.minimum(before + 1, count - 1)
    low, high = curves[before, each], curves[after, each]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.clip((level - low) / (high - low), 0, 1)
    crossed = times[before] + share * (times[after] - times[before])
    return np.where(begins, crossed, np.nan), before
