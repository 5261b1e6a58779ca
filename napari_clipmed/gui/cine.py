"""Cine at acquisition time: the clock decides which frame is due; a slow screen drops frames, never time."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Qt, QTimer, Signal

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.study import Study, View

ASSUMED_INTERVAL_MS = 250.0
"""Where a file tells no times: four frames a second, usual for cerebral DSA. The strip says "assumed"."""

TICK_MS = 10
RATE_WINDOW_S = 1.5


@dataclass(frozen=True, eq=False)
class FrameClock:
    """When each frame of a run is due.

    Parameters
    ----------
    starts_ms : (T,) float64 array
        Milliseconds from the first frame, not decreasing.
    known : bool
        False for assumed times.
    """

    starts_ms: NDArray[np.float64]
    known: bool

    @classmethod
    def of(cls, view: View) -> FrameClock:
        """Acquisition times of a view, or assumed ones."""
        if view.timing.known:
            return cls(np.asarray(view.timing.times_ms, dtype=np.float64), True)
        return cls(np.arange(view.n_frames, dtype=np.float64) * ASSUMED_INTERVAL_MS, False)

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.starts_ms)

    @property
    def duration_ms(self) -> float:
        """One round: the last frame stays for a median interval."""
        if self.n_frames < 2:
            return ASSUMED_INTERVAL_MS
        return float(self.starts_ms[-1] + max(np.median(np.diff(self.starts_ms)), 1.0))

    @property
    def rate(self) -> float:
        """Mean frames a second."""
        return 1000.0 * self.n_frames / self.duration_ms

    def frame_at(self, elapsed_ms: float) -> int:
        """Frame due after `elapsed_ms`, round after round."""
        here = elapsed_ms % self.duration_ms
        return max(0, int(np.searchsorted(self.starts_ms, here + 1e-6, side="right")) - 1)


def leading_view(study: Study) -> int:
    """The view whose frames the cine steps through: the one with most frames."""
    return max(range(len(study.views)), key=lambda index: study.views[index].n_frames)


class Cine(QObject):
    """Plays the open study of a session.

    Attributes
    ----------
    playing_changed : Signal(bool)
        Started or stopped.
    rate_measured : Signal(float)
        Frames a second that have really been shown, about twice a second.
    """

    playing_changed = Signal(bool)
    rate_measured = Signal(float)

    def __init__(self, session: ReviewSession, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._tick)
        self._clock: FrameClock | None = None
        self._view = 0
        self._speed = 1.0
        self._began = self._offset_ms = 0.0
        self._shown = -1
        self._shown_at: deque[float] = deque(maxlen=120)
        self._reported = 0.0
        session.study_changed.connect(self._on_study)

    @property
    def playing(self) -> bool:
        """Whether the cine runs."""
        return self._timer.isActive()

    @property
    def clock(self) -> FrameClock | None:
        """Times of the leading view; None where nothing moves."""
        return self._clock

    @property
    def leading(self) -> int:
        """Index of the view whose frames are stepped through."""
        return self._view

    def play(self) -> None:
        """Play on from the frame on screen."""
        if self._clock is None:
            return
        self._restart_from_screen()
        self._shown_at.clear()
        self._reported = time.monotonic()
        self._timer.start(TICK_MS)
        self.playing_changed.emit(True)

    def stop(self) -> None:
        """Stop at the frame on screen."""
        if self.playing:
            self._timer.stop()
            self.playing_changed.emit(False)

    def toggle(self) -> None:
        """Play or stop."""
        if self.playing:
            self.stop()
        else:
            self.play()

    def set_speed(self, speed: float) -> None:
        """1 is acquisition time."""
        if self._clock is not None and self.playing:
            self._restart_from_screen()
        self._speed = speed

    def step(self, frames: int) -> None:
        """Stop, and go some frames on or back; round at the ends."""
        if self._clock is None:
            return
        self.stop()
        here = self._session.frame_of(self._view)
        self._session.go_to_frame(self._view, (here + frames) % self._clock.n_frames)

    def _on_study(self, study: Study | None) -> None:
        self.stop()
        self._clock = None
        if study is not None:
            self._view = leading_view(study)
            if study.views[self._view].n_frames > 1:
                self._clock = FrameClock.of(study.views[self._view])

    def _restart_from_screen(self) -> None:
        if self._clock is not None:
            self._shown = self._session.frame_of(self._view)
            self._offset_ms = float(self._clock.starts_ms[self._shown])
        self._began = time.monotonic()

    def _tick(self) -> None:
        if self._clock is None:
            return
        now = time.monotonic()
        frame = self._clock.frame_at(self._offset_ms + 1000.0 * self._speed * (now - self._began))
        if frame != self._shown:
            moved_by_hand = self._session.frame_of(self._view) != self._shown
            if moved_by_hand:
                self._restart_from_screen()
                return
            self._shown = frame
            self._session.go_to_frame(self._view, frame)
            self._shown_at.append(time.monotonic())
        if now - self._reported > 0.5:
            self._reported = now
            self.rate_measured.emit(self._measured_rate(now))

    def _measured_rate(self, now: float) -> float:
        times = [at for at in self._shown_at if now - at <= RATE_WINDOW_S]
        if len(times) < 2:
            return 0.0
        return (len(times) - 1) / (times[-1] - times[0])
