"""Jobs in napari's own activity dialog, where people look for what is going on."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import TYPE_CHECKING

from napari.utils import cancelable_progress
from qtpy.QtCore import QObject, QTimer

if TYPE_CHECKING:
    from napari_clipmed.gui.jobs import Job

DELAY_MS = 700
"""Jobs shorter than this leave no trace in the dialog."""

EVERY_MS = 100
"""How often a line is written anew at most."""


class ActivityLine(QObject):
    """A job's line in the activity dialog; lives and ends with the job."""

    def __init__(self, job: Job) -> None:
        super().__init__(job)
        self._job = job
        self._line: _CancellableLine | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._open)
        self._timer.start(DELAY_MS)
        # napari draws the whole window while it writes a line: never in the middle of what changed the job
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(EVERY_MS)
        self._soon.timeout.connect(self._update)
        job.changed.connect(self._update_soon)
        job.ended.connect(self._close)

    def _open(self) -> None:
        if self._job.state.final:
            return
        # napari's bar writes to the terminal when no window shows it; it is handed a sink instead.
        line = _CancellableLine(desc=self._job.title, total=self._job.step.total or None, file=StringIO())
        line.on_cancel = self._job.cancel
        self._line = line
        self._update()

    def _update_soon(self) -> None:
        if not self._soon.isActive():
            self._soon.start()

    def _update(self) -> None:
        line, job = self._line, self._job
        if line is None or job.state.final:
            return
        self._line = None  # napari lets events run while it draws a bar; no second entry meanwhile
        try:
            line.set_description(job.sentence().rstrip("…. "))
            if job.step.total:
                if line.total != job.step.total:
                    line.total = job.step.total
                line.n = job.step.done
                line.events.value(value=line.n)
        finally:
            self._line = line
            self._close_if_over()

    def _close_if_over(self) -> None:
        if self._job.state.final:
            self._close()

    def _close(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.close()


class _CancellableLine(cancelable_progress):
    """napari's bar with a Cancel button that asks the job."""

    on_cancel: Callable[[], None] = staticmethod(lambda: None)

    def cancel(self) -> None:
        """Called by napari's Cancel button."""
        self.on_cancel()
