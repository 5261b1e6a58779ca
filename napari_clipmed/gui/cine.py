"""Cine at acquisition time: the clock decides which frame is due; a slow screen drops frames, never time."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, QTimer, Signal

from napari_clipmed.gui.frame_clock import FrameClock, Order, Round, leading_view

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.study import Study

LONGEST_WAIT_MS = 200
"""How long the cine sleeps at most before it looks whether a person has moved the slider."""

REPORT_S = 0.5
MEASURED_S = 1.5
MEASURED_STEPS = 4
"""The rate is measured over the last 1.5 s, and over four steps at least."""


@dataclass(frozen=True)
class Playing:
    """What the screen really does.

    Parameters
    ----------
    shown, due : float
        Frames a second that were shown, and that should have been.
    """

    shown: float
    due: float

    @property
    def dropped(self) -> float:
        """Share of the frames that were due and never shown, 0 to 1."""
        return max(0.0, 1.0 - self.shown / self.due) if self.due > 0 else 0.0


class Cine(QObject):
    """Plays the open study of a session.

    Attributes
    ----------
    playing_changed : Signal(bool)
        Started or stopped.
    measured : Signal(Playing)
        What has really been shown, about twice a second.
    stepped : Signal(int)
        Steps due since the start of the round that plays, as each one is put on screen.
    """

    playing_changed = Signal(bool)
    measured = Signal(object)
    stepped = Signal(int)

    def __init__(self, session: ReviewSession, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._timer = QTimer(self)
        self._timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._tick)
        self._clock: FrameClock | None = None
        self._round: Round | None = None
        self._order = Order.LOOP
        self._speed = 1.0
        self._playing = False
        self._began = self._offset_ms = 0.0
        self._count = -1
        self._history: deque[tuple[float, int]] = deque(maxlen=512)
        self._reported = 0.0
        session.study_changed.connect(self._on_study)

    @property
    def playing(self) -> bool:
        """Whether the cine runs."""
        return self._playing

    @property
    def clock(self) -> FrameClock | None:
        """Slider positions and their times; None where nothing moves."""
        return self._clock

    @property
    def round(self) -> Round | None:
        """The round that plays, in the chosen order."""
        return self._round

    @property
    def leading(self) -> int:
        """Index of the view whose frames are told in words: the active one, if it moves."""
        study = self._session.study
        if study is None:
            return 0
        active = self._session.active_view
        return active if study.views[active].n_frames > 1 else leading_view(study)

    def play(self) -> None:
        """Play on from the frame on screen; from the start where a single round has ended."""
        if self._clock is None:
            return
        at_end = self._clock.nearest(self._session.time_position) == len(self._clock.positions) - 1
        if self._order is Order.ONCE and at_end:
            self._session.go_to_position(0.0)
        self._restart_from_screen()
        self._playing = True
        self._reported = time.monotonic()
        self._timer.start(0)
        self.playing_changed.emit(True)

    def stop(self) -> None:
        """Stop at the frame on screen."""
        if self._playing:
            self._playing = False
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
        self._speed = speed
        self._restart_from_screen()

    def set_order(self, order: Order) -> None:
        """Play round after round, to and fro, or once."""
        self._order = order
        self._restart_from_screen()

    def step(self, frames: int) -> None:
        """Stop, and go some frames of the active view on or back; round at the ends."""
        study = self._session.study
        if self._clock is None or study is None:
            return
        self.stop()
        view = self.leading
        here = self._session.frame_of(view)
        self._session.go_to_frame(view, (here + frames) % study.views[view].n_frames)

    def _on_study(self, study: Study | None) -> None:
        self.stop()
        self._clock = FrameClock.of(study) if study is not None else None
        self._round = None

    def _restart_from_screen(self) -> None:
        """Let time run on from the frame on screen."""
        self._round = self._clock.round(self._order) if self._clock is not None else None
        if self._clock is None or self._round is None:
            return
        self._count = self._clock.nearest(self._session.time_position)
        self._offset_ms = self._round.due_ms(self._count)
        self._began = time.monotonic()
        self._history.clear()
        self._history.append((self._began, self._count))

    def _elapsed_ms(self) -> float:
        return self._offset_ms + 1000.0 * self._speed * (time.monotonic() - self._began)

    def _tick(self) -> None:
        """Show what is due, then sleep until the next frame is."""
        if self._clock is None or self._round is None:
            return
        if self._clock.nearest(self._session.time_position) != self._round.step(self._count):
            self._restart_from_screen()  # a person has moved the slider
        elapsed = self._elapsed_ms()
        count = self._round.count_at(elapsed)
        if count != self._count:
            self._count = count
            self._session.go_to_position(float(self._clock.positions[self._round.step(count)]))
            self._history.append((time.monotonic(), count))
            self.stepped.emit(count)
        if self._round.over(elapsed):
            self.stop()
            return
        self._report()
        self._sleep()

    def _sleep(self) -> None:
        """Wake when the next step is due."""
        if self._playing and self._round is not None:
            ahead_ms = (self._round.due_ms(self._count + 1) - self._elapsed_ms()) / self._speed
            self._timer.start(int(min(max(ahead_ms + 0.5, 0), LONGEST_WAIT_MS)))

    def _report(self) -> None:
        now = time.monotonic()
        if now - self._reported <= REPORT_S:
            return
        times = [entry for entry in self._history if now - entry[0] <= MEASURED_S]
        if len(times) < MEASURED_STEPS:
            times = list(self._history)[-MEASURED_STEPS:]
        seconds = times[-1][0] - times[0][0]
        if len(times) > 1 and seconds > 0:
            self._reported = now
            due = (times[-1][1] - times[0][1]) / seconds
            self.measured.emit(Playing((len(times) - 1) / seconds, due))
