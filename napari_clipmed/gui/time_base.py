"""What the time slider counts: milliseconds where every view is evenly timed on a known base, else frames."""

from __future__ import annotations

import numpy as np

from napari_clipmed.study import Study, View

UNEVEN = 0.1
"""Share of an interval by which a frame may lie beside an even grid for its run to count as evenly timed."""


def even_interval_ms(view: View) -> float:
    """The one interval that describes all frames of a view; 0 where none does.

    The mean is taken, not the median: whole milliseconds in a Frame Time Vector (33, 34, 33) must not add up
    to a frame over a long run.
    """
    times = view.timing.times_ms
    if not view.timing.known or len(times) < 2:
        return 0.0
    interval = float(times[-1] - times[0]) / (len(times) - 1)
    beside = np.abs(times - times[0] - np.arange(len(times)) * interval)
    return interval if interval > 0 and bool(np.all(beside <= UNEVEN * interval)) else 0.0


def time_in_ms(study: Study) -> bool:
    """Whether the slider may count milliseconds: every view evenly timed on a known base."""
    moving = [view for view in study.views if view.n_frames > 1]
    return bool(moving) and all(even_interval_ms(view) > 0 for view in moving)


def time_scale(study: Study, view: View) -> float:
    """World units from frame to frame: milliseconds where the slider counts them, else one per frame."""
    return even_interval_ms(view) if time_in_ms(study) and view.n_frames > 1 else 1.0


def slider_begin(study: Study, view: View) -> float:
    """Where a view begins on the slider, in whole steps of it: a plane may begin later than the other one."""
    moving = [other for other in study.views if other.n_frames > 1]
    if view not in moving or not time_in_ms(study):
        return 0.0
    step = min(even_interval_ms(other) for other in moving)
    first = min(float(other.timing.times_ms[0]) for other in moving)
    return float(np.round((view.timing.times_ms[0] - first) / step) * step)


def slider_note(study: Study) -> str:
    """Why the slider counts frames and not milliseconds; empty where it does not, or nothing moves."""
    moving = [view for view in study.views if view.n_frames > 1]
    if not moving or time_in_ms(study):
        return ""
    if not all(view.timing.known for view in moving):
        return "No frame times in the file: the slider counts frames."
    first = moving[0].timing.times_ms
    together = all(np.allclose(first[: view.n_frames], view.timing.times_ms[: len(first)]) for view in moving)
    note = "Uneven frame times: the slider counts frames, the cine keeps their times."
    return note if together else f"{note} Frames of one number were not taken at one time."
