"""Undo and redo of the subtraction of one view: values only, no widgets."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from napari_clipmed.study import Subtraction

MOST_STEPS = 200
ONE_GESTURE_S = 1.0
"""Changes of one control that follow each other within this time are one step back."""


@dataclass
class MaskHistory:
    """What a view was subtracted with, what it is, and what was taken back.

    Parameters
    ----------
    present : Subtraction or None
        None: shown as stored.
    """

    present: Subtraction | None
    _past: list[Subtraction | None] = field(default_factory=list)
    _future: list[Subtraction | None] = field(default_factory=list)
    _control: str = ""
    _changed_at: float = 0.0

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to take back."""
        return bool(self._past)

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to make again."""
        return bool(self._future)

    def push(self, wanted: Subtraction | None, control: str = "", now: float | None = None) -> None:
        """Make a step.

        Parameters
        ----------
        control : str
            What was moved ("landmark"); steps of one drag of the same control count as one. Empty: always a
            step of its own.
        now : float, optional
            Seconds of a clock that never goes back.
        """
        now = time.monotonic() if now is None else now
        if wanted == self.present:
            return
        goes_on = bool(control) and control == self._control and now - self._changed_at <= ONE_GESTURE_S
        if not (goes_on and self._past):
            self._past = [*self._past[-(MOST_STEPS - 1) :], self.present]
        self.present, self._future = wanted, []
        self._control, self._changed_at = control, now

    def undo(self) -> Subtraction | None:
        """Go a step back; the present where there is none."""
        if self._past:
            self._future.append(self.present)
            self.present = self._past.pop()
            self._control = ""
        return self.present

    def redo(self) -> Subtraction | None:
        """Make the step again that was taken back."""
        if self._future:
            self._past.append(self.present)
            self.present = self._future.pop()
            self._control = ""
        return self.present
