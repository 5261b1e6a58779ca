"""How dark contrast makes each pixel of a subtracted run: what maps, curves and diameters are made from.

Iodine absorbs exponentially, so in a run that was subtracted in log space the darkening below the ground is
proportional to the iodine along the ray (DICOM PS3.4 N.2.5.1; the measure of videodensitometry). A run
subtracted by the scanner is taken as it is: its greys are logarithmic up to the console's windowing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from napari_clipmed.errors import ClipmedError
from napari_clipmed.progress import Progress
from napari_clipmed.study import Intensity, View

FEWEST_FRAMES = 4
"""A curve of fewer points has no rise, peak and fall."""

LARGEST_BYTES = 512 * 2**20
"""Runs that would take more memory as float32 are averaged over blocks of pixels first."""

BINS = 512
"""Of the histogram in which the ground is sought."""

SIGMAS = 4.0
"""From how many standard deviations of its noise a grey value counts as unlike the ground."""

ARTEFACT_SHARE, ARTEFACT_RATIO = 0.03, 1.8
"""The patient had moved in a frame of which this share is brighter than the ground, and so many times what is
usual in the run."""


@dataclass(frozen=True, eq=False)
class OpacityRun:
    """The opacity of every pixel over time.

    Parameters
    ----------
    frames : (T, h, w) float32 array
        Ground minus grey value, signed: above 0 where contrast is, noise around 0 elsewhere. In units of the
        natural logarithm where the run was subtracted here from linear pixels, else in grey values.
    times : (T,) float64 array
        Seconds from the first frame of the study; where no times are known, frame numbers from 1.
    indices : (T,) int array
        Which frames of the view these are (from 0); frames that no mask item subtracts are left out.
    in_seconds : bool
        Whether `times` are seconds.
    shape : (int, int)
        Height and width of the view.
    step : int
        Pixels of the view along each side of a pixel here; 1 unless the run was too large.
    """

    frames: NDArray[np.float32]
    times: NDArray[np.float64]
    indices: NDArray[np.int64]
    in_seconds: bool
    shape: tuple[int, int]
    step: int = 1

    @property
    def time_unit(self) -> str:
        """`s`, or `frames` where no times are known."""
        return "s" if self.in_seconds else "frames"

    def full_size(self, found: NDArray[Any]) -> NDArray[Any]:
        """A map (h, w) of this run on the grid of the view, (H, W)."""
        if self.step == 1:
            return found
        rows, columns = (
            np.minimum(np.arange(length) // self.step, short - 1)
            for length, short in zip(self.shape, found.shape, strict=True)
        )
        return found[np.ix_(rows, columns)]


def why_no_bolus(view: View) -> ClipmedError | None:
    """Why time maps and curves cannot be made of a view; None where they can."""
    name = view.projection.value
    if view.motion:
        return ClipmedError(
            f"The {name} run is {view.motion}: gantry or table moved, a pixel shows no one vessel over time.",
            "Choose a run taken from one direction.",
        )
    if view.n_frames > 1 and not view.subtracted:
        return ClipmedError(
            f"The {name} run is not subtracted, so its greys show bone as well as contrast.",
            "Choose mask frames for it in the Study dock, then ask again.",
        )
    if view.subtraction is not None and view.subtraction.landmark:
        return ClipmedError(
            f"The {name} run is shown with landmarks, which darken pixels that hold no contrast.",
            "Set the landmark share to 0 first.",
        )
    count = len(_subtracted_frames(view))
    if count < FEWEST_FRAMES:
        return ClipmedError(
            f"The {name} view has {count} subtracted frame{'s' * (count != 1)}; "
            f"a bolus is followed over {FEWEST_FRAMES} frames or more.",
            "Open a longer run.",
        )
    return None


def opacity_of(view: View, progress: Progress | None = None) -> OpacityRun:
    """Opacity of a subtracted run. The grey of the ground is found anew in every frame, since gain drifts.

    Parameters
    ----------
    view : View
        A run; its frames are read one by one.
    progress : Progress, optional
        Told after every frame.

    Raises
    ------
    ClipmedError
        When the view is no bolus time series: see `why_no_bolus`.
    """
    refusal = why_no_bolus(view)
    if refusal is not None:
        raise refusal
    progress = progress or Progress()
    indices = _subtracted_frames(view)
    _, height, width = view.pixels.shape
    step = max(1, int(np.ceil(np.sqrt(4 * len(indices) * height * width / LARGEST_BYTES))))
    frames = np.empty((len(indices), height // step, width // step), np.float32)
    for place, index in enumerate(indices):
        progress.step(f"Read the {view.projection.value} run", place, len(indices))
        frames[place] = _thinned(np.asarray(view.pixels[int(index)], dtype=np.float32), step)
    low, high = (float(value) for value in np.percentile(frames[:, ::4, ::4], (0.2, 99.8)))
    for frame in frames:
        np.subtract(ground_of(frame, low, high), frame, out=frame)
    if view.native is None and vessels_are_bright(frames):
        np.negative(frames, out=frames)
    measured = view.timing.measured
    times = view.timing.times_ms[indices] / 1000.0 if measured else indices + 1.0
    return OpacityRun(frames, np.asarray(times, dtype=np.float64), indices, measured, (height, width), step)


def darkness_of(view: View, frame: int) -> NDArray[np.float32]:
    """How dark each pixel of one frame is, (H, W) float32, proportional to what absorbs where that is known.

    Subtracted frames and frames logarithmic to the intensity are turned over; linear ones are logged first.
    Unlike opacity it has no ground of its own: a profile across a vessel finds that beside the vessel.
    """
    greys = np.asarray(view.pixels[frame], dtype=np.float32)
    said = view.file_subtraction
    if not view.subtracted and said is not None and said.intensity is Intensity.LINEAR:
        greys = np.log1p(np.maximum(greys, 0))
    return -greys


def ground_of(frame: NDArray[np.float32], low: float, high: float) -> float:
    """The grey where nothing changed: the top of a smoothed histogram between `low` and `high`.

    Blush and vessels spread over many greys, the ground is narrow; mean and median would follow the blush.
    """
    if high <= low:
        return low
    counts, edges = np.histogram(frame, bins=BINS, range=(low, high))
    smooth = gaussian_filter1d(counts.astype(np.float64), 2.0)
    top = int(smooth.argmax())
    near = slice(max(top - 4, 0), top + 5)
    weights = smooth[near]
    if not weights.any():
        return float(np.median(frame))
    return float(((edges[:-1] + edges[1:])[near] / 2 * weights).sum() / weights.sum())


def vessels_are_bright(opacity: NDArray[np.float32]) -> bool:
    """Whether a run subtracted elsewhere shows contrast bright: its greys reach further above the ground."""
    brightest, darkest = np.percentile(opacity[:, ::2, ::2], (0.5, 99.5))
    return bool(-brightest > 2 * darkest)


def noise_of(frames: NDArray[np.float32]) -> float:
    """Standard deviation of a pixel's noise, from the differences of successive frames (T, h, w)."""
    steps = np.diff(frames[:, ::2, ::2], axis=0)
    return float(1.4826 * np.median(np.abs(steps - np.median(steps))) / np.sqrt(2))


def clear_level(frames: NDArray[np.float32]) -> float:
    """Opacity from which a pixel of (T, h, w) frames is clearly no ground, by noise and by vessels."""
    strongest = float(np.percentile(frames[:, ::2, ::2].max(axis=0), 99.5))
    return max(SIGMAS * noise_of(frames), 0.05 * strongest)


def moved_frames(run: OpacityRun) -> NDArray[np.bool_]:
    """In which frames the patient lay otherwise than in the mask, (T,).

    Contrast only darkens. Anatomy that moved leaves bright edges beside the dark ones; how much of the field
    is bright tells how bad it is. Half the frames or more are never called moved: then the whole run is so.
    """
    sample = run.frames[:, ::2, ::2]
    bright = (sample < -clear_level(run.frames)).mean(axis=(1, 2))
    moved = (bright > ARTEFACT_SHARE) & (bright > ARTEFACT_RATIO * np.median(bright))
    too_few = (~moved).sum() < max(FEWEST_FRAMES, len(moved) / 2)
    return np.zeros_like(moved) if too_few else moved


def _subtracted_frames(view: View) -> NDArray[np.int64]:
    """Indices of the frames that some mask item subtracts; all frames where the scanner subtracted."""
    numbers = range(1, view.n_frames + 1)
    if view.subtraction is None:
        return np.arange(view.n_frames, dtype=np.int64)
    items = view.subtraction.items
    done = [any(i.applies_to(n) and set(i.masks_of(n)) & set(numbers) for i in items) for n in numbers]
    return np.flatnonzero(done).astype(np.int64)


def _thinned(frame: NDArray[np.float32], step: int) -> NDArray[np.float32]:
    """Mean over blocks of `step` × `step` pixels."""
    if step == 1:
        return frame
    height, width = frame.shape[0] // step, frame.shape[1] // step
    blocks = frame[: height * step, : width * step].reshape(height, step, width, step)
    return np.asarray(blocks.mean(axis=(1, 3)), dtype=np.float32)
