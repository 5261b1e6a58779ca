"""When each frame is due, and in which order frames are played. Pure; the cine turns it into movement."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.gui.time_base import UNEVEN, slider_begin, time_in_ms, time_scale
from napari_clipmed.study import FrameTiming, Study, View

ASSUMED_INTERVAL_MS = 250.0
"""Where a file tells no times: four frames a second, usual for cerebral DSA. The strip says "assumed"."""

SHORTEST_MS = 1.0
"""Frames with the same time stamp follow one another this fast."""


class Order(StrEnum):
    """In which order the frames of a run are played."""

    LOOP = "loop"
    SWEEP = "sweep"
    ONCE = "once"


@dataclass(frozen=True, eq=False)
class Round:
    """One round of playing: which step is due when.

    Parameters
    ----------
    steps : (R,) int array
        Entries of `FrameClock.positions`, in the order in which they are shown.
    starts_ms : (R,) float64 array
        Milliseconds from the start of the round, increasing.
    duration_ms : float
        Length of the round.
    repeats : bool
        Whether it starts again; otherwise the last step stays.
    """

    steps: NDArray[np.int64]
    starts_ms: NDArray[np.float64]
    duration_ms: float
    repeats: bool

    def count_at(self, elapsed_ms: float) -> int:
        """How many steps lie before the one due after `elapsed_ms`, over all rounds so far."""
        rounds, here = divmod(elapsed_ms, self.duration_ms) if self.repeats else (0, elapsed_ms)
        within = max(0, int(np.searchsorted(self.starts_ms, here + 1e-6, side="right")) - 1)
        return int(rounds) * len(self.steps) + within

    def step(self, count: int) -> int:
        """Which entry of `FrameClock.positions` comes after `count` others."""
        return int(self.steps[count % len(self.steps)])

    def due_ms(self, count: int) -> float:
        """When the step after `count` others is due; infinite behind the end of a round that ends."""
        rounds, within = divmod(count, len(self.steps))
        if rounds and not self.repeats:
            return float("inf")
        return rounds * self.duration_ms + float(self.starts_ms[within])

    def over(self, elapsed_ms: float) -> bool:
        """Whether nothing more is to be shown."""
        return not self.repeats and elapsed_ms >= self.duration_ms


@dataclass(frozen=True, eq=False)
class FrameClock:
    """Where the slider stands while a study plays, and when.

    Parameters
    ----------
    positions : (S,) float64 array
        Positions of napari's time slider, increasing: milliseconds, or frame numbers.
    starts_ms : (S,) float64 array
        Milliseconds from the first frame, not decreasing.
    known : bool
        False for assumed times.
    """

    positions: NDArray[np.float64]
    starts_ms: NDArray[np.float64]
    known: bool

    @classmethod
    def of(cls, study: Study) -> FrameClock | None:
        """Acquisition times of a study, or assumed ones; None where nothing moves.

        With a slider in milliseconds every frame of every view gets its step. Otherwise the slider counts
        frames, and the view with most frames sets the pace.
        """
        leader = study.views[leading_view(study)]
        if leader.n_frames < 2:
            return None
        if time_in_ms(study):
            places = [
                slider_begin(study, view) + np.arange(view.n_frames) * time_scale(study, view)
                for view in study.views
            ]
            times = np.concatenate([_times_ms(view) for view in study.views])
            positions, first = np.unique(
                np.concatenate(places).round(3).astype(np.float64), return_index=True
            )
            return cls(positions, np.maximum.accumulate(times[first]), True)
        return cls(np.arange(leader.n_frames, dtype=np.float64), _times_ms(leader), leader.timing.known)

    @property
    def durations_ms(self) -> NDArray[np.float64]:
        """How long each step stays; the last one as long as the one before it."""
        lasting = np.maximum(np.diff(self.starts_ms), SHORTEST_MS)
        return np.append(lasting, lasting[-1] if len(lasting) else ASSUMED_INTERVAL_MS)

    def round(self, order: Order) -> Round:
        """One round in an order; a sweep shows its turning points once."""
        steps = np.arange(len(self.positions))
        if order is Order.SWEEP:
            steps = np.concatenate([steps, steps[-2:0:-1]])
        ends = np.cumsum(self.durations_ms[steps])
        return Round(steps, np.append(0.0, ends[:-1]), float(ends[-1]), order is not Order.ONCE)

    def nearest(self, position: float) -> int:
        """The step nearest to where the slider stands."""
        return int(np.argmin(np.abs(self.positions - position)))


def leading_view(study: Study) -> int:
    """The view with most frames."""
    return max(range(len(study.views)), key=lambda index: study.views[index].n_frames)


def rate_words(timing: FrameTiming) -> str:
    """Frames a second as acquired: "4.0 fps", "4.0 then 1.0 fps", or "1.0 to 4.0 fps"."""
    steps = np.maximum(np.diff(timing.times_ms), SHORTEST_MS) if timing.known else np.empty(0)
    if not len(steps):
        return f"{1000.0 / ASSUMED_INTERVAL_MS:.1f} fps assumed" if len(timing.times_ms) > 1 else ""
    changes = np.abs(np.diff(steps)) > UNEVEN * steps[:-1]
    starts = np.append(0, np.flatnonzero(changes) + 1)
    rates = [1000.0 / float(np.mean(part)) for part in np.split(steps, starts[1:])]
    if len(rates) <= 3:
        return " then ".join(f"{rate:.1f}" for rate in rates) + " fps"
    return f"{min(rates):.1f} to {max(rates):.1f} fps"


def _times_ms(view: View) -> NDArray[np.float64]:
    """When each frame of a view is due, known or assumed."""
    if view.timing.known:
        return np.asarray(view.timing.times_ms, dtype=np.float64)
    return np.arange(view.n_frames, dtype=np.float64) * ASSUMED_INTERVAL_MS
