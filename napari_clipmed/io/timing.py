"""When each frame was taken (PS3.3 C.7.6.5 cine, C.7.6.16.2.2 frame content)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.valuerep import DT

from napari_clipmed.io.dicom_headers import items, number, numbers, value
from napari_clipmed.study import FrameTiming

FRAME_TIME, FRAME_TIME_VECTOR = 0x00181063, 0x00181065

ROTATION = {0x00181520, 0x00181521}
"""Positioner primary and secondary angle increment."""

STEPPING = {0x00181135, 0x00181136, 0x00181137, 0x00181138}
"""Table vertical, lateral, longitudinal increment and table angle."""

Times = NDArray[np.float64]


def frame_index(count: int) -> FrameTiming:
    """The frame index standing in for a missing time base."""
    return FrameTiming(np.arange(count, dtype=np.float64), "frame index", known=False)


def frame_timing(dataset: Dataset, count: int, name: str = "The file") -> tuple[FrameTiming, tuple[str, ...]]:
    """Times of all frames, from the first frame, and what was wrong with the header.

    What Frame Increment Pointer names comes first, then Frame Time, Frame Time Vector, Cine Rate and
    Recommended Display Frame Rate. Frame Delay moves all frames alike and so cancels out.

    Parameters
    ----------
    dataset : Dataset
        A header, classic or enhanced.
    count : int
        Number of frames that are shown.
    """
    notes: list[str] = []
    if count == 1:
        return FrameTiming(np.zeros(1), "single frame", known=True), ()
    enhanced = _reference_times(dataset, count)
    if enhanced is not None:
        return FrameTiming(enhanced, "Frame Reference DateTime", known=True), ()
    rules: dict[str, Callable[[], Times | None]] = {
        "Frame Time": lambda: _constant(number(dataset, "FrameTime"), count),
        "Frame Time Vector": lambda: _vector(dataset, count, name, notes),
        "Cine Rate": lambda: _rate(number(dataset, "CineRate"), count),
        "Recommended Display Frame Rate": lambda: _rate(
            number(dataset, "RecommendedDisplayFrameRate"), count
        ),
    }
    order = list(rules)
    if FRAME_TIME_VECTOR in pointers(dataset, "FrameIncrementPointer"):
        order.insert(0, order.pop(1))
    for source in order:
        times = rules[source]()
        if times is not None:
            return FrameTiming(times, source, known=True), tuple(notes)
    notes.append(f"{name} has no frame times; frames are counted instead.")
    return frame_index(count), tuple(notes)


def motion(dataset: Dataset) -> str:
    """Why the frames are not a bolus time series: "rotational", "stepping" or empty (PS3.3 C.7.6.6)."""
    named = {*pointers(dataset, "FrameDimensionPointer"), *pointers(dataset, "FrameIncrementPointer")}
    if named & ROTATION:
        return "rotational"
    return "stepping" if named & STEPPING else ""


def pointers(dataset: Dataset, keyword: str) -> tuple[int, ...]:
    """An AT value as tag numbers."""
    found = value(dataset, keyword)
    if found is None:
        return ()
    return tuple(
        int(tag)
        for tag in (found if isinstance(found, list | tuple) or hasattr(found, "append") else [found])
    )


def _constant(step: float | None, count: int) -> Times | None:
    return np.arange(count, dtype=np.float64) * step if step and step > 0 else None


def _rate(rate: float | None, count: int) -> Times | None:
    return np.arange(count, dtype=np.float64) * (1000.0 / rate) if rate and rate > 0 else None


def _vector(dataset: Dataset, count: int, name: str, notes: list[str]) -> Times | None:
    """Cumulative times of the vector of steps; its first value counts from the start of the run."""
    steps = np.array(numbers(dataset, "FrameTimeVector"))
    if len(steps) < 2 or not steps[1:].any():
        return None
    if len(steps) != count:
        notes.append(
            f"{name} gives {len(steps)} frame times for {count} frames; the rest follow the usual step."
        )
        usual = float(np.median(steps[1:]))
        steps = np.concatenate([steps[:count], np.full(max(count - len(steps), 0), usual)])
    if (steps[1:] < 0).any():
        notes.append(f"{name} has frame times that run backwards; those steps count as zero.")
        steps = np.maximum(steps, 0)
    return np.concatenate([[0.0], np.cumsum(steps[1:])])


def _reference_times(dataset: Dataset, count: int) -> Times | None:
    """Times of an enhanced image from the date and time of every frame."""
    moments: list[datetime] = []
    for group in items(dataset, "PerFrameFunctionalGroupsSequence")[:count]:
        content = next(iter(items(group, "FrameContentSequence")), Dataset())
        raw = value(content, "FrameReferenceDateTime") or value(content, "FrameAcquisitionDateTime")
        try:
            moment = DT(raw) if raw is not None else None
        except ValueError:
            moment = None
        if moment is None:
            return None
        moments.append(moment)
    if len(moments) != count:
        return None
    times = np.array([(moment - moments[0]).total_seconds() * 1000 for moment in moments])
    return times if (np.diff(times) >= 0).all() and times[-1] > 0 else None
