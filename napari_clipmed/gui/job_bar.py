"""What a dock is doing right now: a sentence, a bar, the time left and Cancel."""

from __future__ import annotations

import time
from collections.abc import Iterable

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_clipmed.gui.jobs import Job, JobRunner, JobState
from napari_clipmed.gui.theme import wrapped_label

REFRESH_MS = 500
"""How often the time left is said anew."""

STILL_S = 1.0
"""So long a bar without a total stands still."""

EVERY_MS = 100
"""How often words and bar change at most. Each change draws the whole window anew, canvas and all; a computer
without a graphics card takes the time for that from the decoders."""


class JobBar(QWidget):
    """Shows the newest active job among some keys; hidden while there is none.

    Parameters
    ----------
    runner : JobRunner
        Whose jobs are watched.
    keys : iterable of str
        Keys of the jobs that belong to this dock.
    """

    def __init__(self, runner: JobRunner, keys: Iterable[str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("job_bar")
        self._runner = runner
        self._keys = frozenset(keys)
        self._job: Job | None = None
        self._since = 0.0

        self._sentence = wrapped_label(name="job_sentence")
        self._bar = QProgressBar()
        self._bar.setTextVisible(False)
        self._bar.setFixedHeight(8)
        self._cancel = QPushButton("Cancel")
        self._cancel.setObjectName("job_cancel")
        self._cancel.clicked.connect(self._ask_to_cancel)
        row = QHBoxLayout()
        row.addWidget(self._bar, 1)
        row.addWidget(self._cancel)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(2)
        column.addWidget(self._sentence)
        column.addLayout(row)

        self._timer = QTimer(self)
        self._timer.setInterval(REFRESH_MS)
        self._timer.timeout.connect(self._show)
        self._soon = QTimer(self)
        self._soon.setSingleShot(True)
        self._soon.setInterval(EVERY_MS)
        self._soon.timeout.connect(self._show)
        runner.job_started.connect(self._adopt)
        runner.job_ended.connect(self._release)
        self._choose()

    @property
    def job(self) -> Job | None:
        """The job that is shown."""
        return self._job

    def _adopt(self, job: Job) -> None:
        if job.key in self._keys:
            job.changed.connect(self._show_soon)
            self._choose()

    def _release(self, job: Job) -> None:
        if job.key in self._keys:
            self._choose()

    def _choose(self) -> None:
        ours = [job for job in self._runner.active if job.key in self._keys]
        at_work = [job for job in ours if job.state is not JobState.WAITING]
        candidates = at_work or ours
        before, self._job = self._job, candidates[-1] if candidates else None
        if self._job is not before:
            self._since = time.monotonic()
        self._show()

    def _show_soon(self) -> None:
        job = self._job
        if job is not None and job.state in (JobState.CANCELLING, JobState.WAITING):
            self._show()  # a click is answered at once
        elif not self._soon.isActive():
            self._soon.start()

    def _show(self) -> None:
        job = self._job
        if job is None or job.state.final:
            self._timer.stop()
            self.setVisible(False)
            return
        self._sentence.setText(job.sentence())
        still = time.monotonic() - self._since < STILL_S
        self._bar.setRange(0, job.step.total or int(still))
        self._bar.setValue(job.step.done)
        stopping = job.state is JobState.CANCELLING
        self._cancel.setEnabled(not stopping)
        self._cancel.setText("Cancelling …" if stopping else "Cancel")
        self._cancel.setToolTip(
            "The job ends at its next safe point; nothing half-made is kept." if stopping else "Stop this job"
        )
        self.setVisible(True)
        if not self._timer.isActive():
            self._timer.start()

    def _ask_to_cancel(self) -> None:
        if self._job is not None:
            self._job.cancel()
