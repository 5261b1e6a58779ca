"""When the planes of one acquisition begin, so that one clock tells the frames of both (PS3.3 C.7.6.5).

Frame Delay counts from Content Time to the first frame of a plane. The planes' clocks are Frame Reference
DateTime (enhanced images), Acquisition DateTime, else Content Date and Time. Many files give clocks in whole
seconds, or the moment at which a file was written: a difference of clocks counts only where both tell parts
of a second and lie within `CLOCKS_APART` of each other. Else only the delays count.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from pydicom import Dataset
from pydicom.valuerep import DT

from napari_clipmed.io.dicom_values import number, text
from napari_clipmed.io.enhanced import of_each_frame
from napari_clipmed.io.timing import MOMENTS
from napari_clipmed.study import Guess, Topic, View

CLOCKS_APART = 1.0
"""Seconds; beyond that the runs are no planes of one acquisition, and begin together."""

NOT_WORTH_SAYING_MS = 0.5


def on_one_clock(views: Sequence[View], headers: Sequence[Dataset]) -> tuple[View, ...]:
    """The views with times from the first frame of the earliest of them.

    Parameters
    ----------
    views : sequence of View
        With times from their own first frames.
    headers : sequence of Dataset
        Theirs, as stored, not flattened.
    """
    runs = [view.n_frames > 1 and view.timing.measured for view in views]
    if len(views) < 2 or not all(runs):
        return tuple(views)
    begins, reasons = zip(*(_begin_ms(header, headers[0]) for header in headers), strict=True)
    first = min(begins)
    longest = max(float(view.timing.times_ms[-1]) for view in views)
    later = [begin - first for begin in begins]
    reason = next((reason for reason in reasons if reason), "")
    if max(later) < NOT_WORTH_SAYING_MS:
        return tuple(views)
    if max(later) > longest:
        note = f"{reason} would let one plane begin after the other has ended; both are shown from the start."
        return tuple(replace(view, warnings=(*view.warnings, note)) for view in views)
    return tuple(_from(view, delay, reason) for view, delay in zip(views, later, strict=True))


def _from(view: View, delay_ms: float, reason: str) -> View:
    """The view beginning so many milliseconds after the other one."""
    if delay_ms < NOT_WORTH_SAYING_MS:
        return view
    timing = replace(view.timing, times_ms=view.timing.times_ms + delay_ms)
    value = f"{delay_ms:g} ms after the other plane"
    return view.concluding(Guess(Topic.BEGIN, value, reason), timing=timing)


def _begin_ms(header: Dataset, other: Dataset) -> tuple[float, str]:
    """When a plane begins after the clock of another one, and what told it."""
    here, there = _clock(header), _clock(other)
    delay = number(header, "FrameDelay") or 0.0
    apart, reason = 0.0, "Frame Delay" if delay else ""
    if here is not None and there is not None and here[1] == there[1]:
        try:
            seconds = (here[0] - there[0]).total_seconds()
        except TypeError:  # one of them with a time zone
            seconds = 0.0
        if 0 < abs(seconds) <= CLOCKS_APART:
            apart, reason = 1000 * seconds, " and ".join(filter(None, (here[1], reason)))
    return apart + delay, reason


def _clock(header: Dataset) -> tuple[datetime, str] | None:
    """A moment told to a part of a second, and by which attribute; None where there is none."""
    for keyword, name in MOMENTS.items():
        frames = of_each_frame(header, "FrameContentSequence", int(number(header, "NumberOfFrames") or 0))
        found = _moment(text(frames[0], keyword)) if frames else None
        if found is not None:
            return found, name
    for value, name in (
        (text(header, "AcquisitionDateTime"), "Acquisition DateTime"),
        (text(header, "ContentDate") + text(header, "ContentTime"), "Content Time"),
    ):
        found = _moment(value)
        if found is not None:
            return found, name
    return None


def _moment(value: str) -> datetime | None:
    try:
        return DT(value) if "." in value else None
    except (ValueError, OverflowError):
        return None
