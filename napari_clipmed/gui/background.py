"""Work in the background gives way to the person's own questions, at once and by itself."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer, Signal

if TYPE_CHECKING:
    from napari_clipmed.gui.jobs import Job, JobRunner

THUMBNAILS, READ_AHEAD, ANSWER_ALL = "thumbnails", "read-ahead", "answer-all"
WORKLIST, ORDER = "worklist", "worklist-order"
LIGHT = {"records", "recall settings", "finetune", WORKLIST, ORDER}
"""Short look-ups and writes, and what runs in a process of its own: nothing has to wait for them."""

BACKGROUND = {THUMBNAILS, READ_AHEAD, ANSWER_ALL}
SETTLED_MS = 400
"""The machine is called free this long after the last question ended; one often brings the next."""

LOW_PRIORITY = 10
"""Added to the niceness of a background thread, where threads have one of their own (Linux)."""


class PersonFirst(QObject):
    """Knows whether a job that a person waits for is at work.

    Attributes
    ----------
    busy, free : Signal()
        Such a job began; none has been at work for a moment.
    """

    busy = Signal()
    free = Signal()

    def __init__(self, jobs: JobRunner, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._jobs = jobs
        self._settling = QTimer(self)
        self._settling.setSingleShot(True)
        self._settling.setInterval(SETTLED_MS)
        self._settling.timeout.connect(self._settled)
        jobs.job_started.connect(self._on_started)
        jobs.job_ended.connect(self._on_ended)

    @property
    def is_busy(self) -> bool:
        """Whether a person waits for a job, or did a moment ago."""
        return self._settling.isActive() or any(map(waited_for, self._jobs.active))

    def _on_started(self, job: Job) -> None:
        if waited_for(job):
            self._settling.stop()
            self.busy.emit()

    def _on_ended(self, job: Job) -> None:
        if waited_for(job) and not any(map(waited_for, self._jobs.active)):
            self._settling.start()

    def _settled(self) -> None:
        self.free.emit()


def waited_for(job: Job) -> bool:
    """Whether a person waits for a job. Those without a key are short writes; lists of models are short."""
    known = job.key in LIGHT or job.key in BACKGROUND or job.key.startswith("models:")
    return bool(job.key) and not known


def lower_priority() -> None:
    """Let this thread run when nobody else wants to; a system without such threads ignores it."""
    if sys.platform.startswith("linux"):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), LOW_PRIORITY)
