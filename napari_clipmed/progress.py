"""How a long job tells where it is and learns that it should stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from napari_clipmed.errors import Cancelled


@dataclass(frozen=True)
class Step:
    """One message of a running job: `done` of `total` units of `what`."""

    what: str
    done: int = 0
    total: int = 0


@dataclass
class Progress:
    """Handed to every long job; the job calls `step` often, and `step` raises when it should stop.

    Parameters
    ----------
    report : callable
        Receives each `Step`, on the thread of the job.
    """

    report: Callable[[Step], None] = lambda step: None
    _cancelled: Event = field(default_factory=Event, repr=False)

    def cancel(self) -> None:
        """Ask the job to stop at its next step; safe from any thread."""
        self._cancelled.set()

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked the job to stop."""
        return self._cancelled.is_set()

    def step(self, what: str, done: int = 0, total: int = 0) -> None:
        """Report, and raise `Cancelled` when the job was asked to stop."""
        if self.cancelled:
            raise Cancelled
        self.report(Step(what, done, total))
