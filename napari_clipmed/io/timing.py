"""When each frame was taken (PS3.3 C.7.6.5 cine, C.7.6.16.2.2 frame content)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.valuerep import DT

from napari_clipmed.io.dicom_values import number, numbers, text, value
from napari_clipmed.io.enhanced import of_each_frame
from napari_clipmed.study import DISPLAY_RATE, FrameTiming, Guess, Topic

FRAME_TIME, FRAME_TIME_VECTOR = 0x00181063, 0x00181065

ROTATION = {0x00181520, 0x00181521}
"""Positioner primary and secondary angle increment."""

STEPPING = {0x00181135, 0x00181136, 0x00181137, 0x00181138}
"""Table vertical, lateral, longitudinal increment and table angle."""

MOMENTS = {
    "FrameReferenceDateTime": "Frame Reference DateTime",
    "FrameAcquisitionDateTime": "Frame Acquisition DateTime",
}
"""Times of the frames of an enhanced image, in order of trust."""

FALLBACKS = {
    "Frame Time": "Frame Increment Pointer does not name it",
    "Frame Time Vector": "Frame Increment Pointer does not name it",
    "Cine Rate": "the file gives no frame times, only the rate, in whole frames a second, of its player",
    DISPLAY_RATE: "the file gives no frame times, only a rate for display",
    "frame index": "the file gives no times at all; frames are counted",
}
"""Why a time base is a guess, where Frame Increment Pointer did not name it."""

MOVES = 5.0
"""Degrees or millimetres over a run from which it counts as rotational or stepping."""

DYNAMIC = (
    (
        "rotational",
        "PositionerMotion",
        ("PositionerPrimaryAngleIncrement", "PositionerSecondaryAngleIncrement"),
    ),
    (
        "stepping",
        "TableMotion",
        ("TableVerticalIncrement", "TableLateralIncrement", "TableLongitudinalIncrement"),
    ),
)
POSITIONS = (
    (
        "rotational",
        "PositionerPositionSequence",
        ("PositionerPrimaryAngle", "PositionerSecondaryAngle"),
    ),
    (
        "rotational",
        "IsocenterReferenceSystemSequence",
        ("PositionerIsocenterPrimaryAngle", "PositionerIsocenterSecondaryAngle"),
    ),
    (
        "stepping",
        "TablePositionSequence",
        ("TableTopVerticalPosition", "TableTopLongitudinalPosition", "TableTopLateralPosition"),
    ),
)

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
    for keyword, source in MOMENTS.items():
        moments = _moments(dataset, keyword, count)
        if moments is not None:
            return FrameTiming(moments, source, known=True), ()
    rules: dict[str, Callable[[], Times | None]] = {
        "Frame Time": lambda: _constant(number(dataset, "FrameTime"), count),
        "Frame Time Vector": lambda: _vector(dataset, count, name, notes),
        "Cine Rate": lambda: _rate(number(dataset, "CineRate"), count),
        DISPLAY_RATE: lambda: _rate(number(dataset, "RecommendedDisplayFrameRate"), count),
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


def timing_guess(dataset: Dataset, timing: FrameTiming) -> Guess | None:
    """What is guessed about a time base; None where Frame Increment Pointer or the frames name it."""
    named = {FRAME_TIME: "Frame Time", FRAME_TIME_VECTOR: "Frame Time Vector"}
    if timing.source in {named.get(tag) for tag in pointers(dataset, "FrameIncrementPointer")}:
        return None
    reason = FALLBACKS.get(timing.source)
    return None if reason is None else Guess(Topic.TIME_BASE, timing.source, reason)


def motion(dataset: Dataset) -> str:
    """Why the frames are not a bolus time series: "rotational", "stepping" or empty (PS3.3 C.7.6.6, C.8.7.5).

    The pointers may name the increments; else a dynamic positioner or table, or the positions of the frames
    of an enhanced image, tell.
    """
    named = {*pointers(dataset, "FrameDimensionPointer"), *pointers(dataset, "FrameIncrementPointer")}
    if named & ROTATION:
        return "rotational"
    if named & STEPPING:
        return "stepping"
    for word, keyword, increments in DYNAMIC:
        if text(dataset, keyword).upper() == "DYNAMIC" and any(
            _spread(numbers(dataset, increment)) >= MOVES for increment in increments
        ):
            return word
    for word, macro, positions in POSITIONS:
        frames = of_each_frame(dataset, macro, int(number(dataset, "NumberOfFrames") or 0)) or []
        for position in positions:
            if _spread([place for frame in frames for place in numbers(frame, position)[:1]]) >= MOVES:
                return word
    return ""


def _spread(places: Sequence[float]) -> float:
    """From the least to the greatest; 0 for none."""
    return max(places) - min(places) if places else 0.0


def pointers(dataset: Dataset, keyword: str) -> tuple[int, ...]:
    """An AT value as tag numbers."""
    found = value(dataset, keyword)
    several = isinstance(found, list | tuple) or hasattr(found, "append")
    try:
        return tuple(int(tag) for tag in (found if several else [found]))
    except (TypeError, ValueError):  # absent, or of another type than the standard says
        return ()


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


def _moments(dataset: Dataset, keyword: str, count: int) -> Times | None:
    """Times from the date and time of every frame of an enhanced image; None where they are no series."""
    contents = of_each_frame(dataset, "FrameContentSequence", count)
    try:
        moments = [DT(value(content, keyword)) for content in contents or ()]
        seconds = [(moment - moments[0]).total_seconds() for moment in moments]
    except (
        ValueError,
        TypeError,
        AttributeError,
        OverflowError,
    ):  # malformed, absent, or half of them with a zone
        return None
    times = np.array(seconds) * 1000
    return times if len(times) and (np.diff(times) >= 0).all() and times[-1] > 0 else None
