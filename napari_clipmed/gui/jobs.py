"""Work off the GUI thread: started, watched, superseded, cancelled and joined in one place.

The work runs on a plain daemon thread; everything a person sees (state, progress, results) changes on the
GUI thread only, through queued Qt signals.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from threading import Thread
from typing import Any, TypeVar

from qtpy.QtCore import QCoreApplication, QObject, Qt, Signal

from napari_clipmed.errors import Cancelled, ClipmedError
from napari_clipmed.gui.activity import ActivityLine
from napari_clipmed.gui.failures import explain_failure
from napari_clipmed.gui.garbage import leave_out_libraries
from napari_clipmed.progress import Progress, Step

T = TypeVar("T")

SHUTDOWN_SECONDS = 5.0
"""How long closing the window waits for jobs that were asked to stop."""


class JobState(StrEnum):
    """Where a job is; the last three are final."""

    WAITING = "waiting"
    RUNNING = "running"
    CANCELLING = "cancelling"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing more will happen."""
        return self in (JobState.DONE, JobState.FAILED, JobState.CANCELLED)


class Job(QObject):
    """Something that takes time; base of threads and processes.

    Parameters
    ----------
    title : str
        What is being done, as a person says it ("Classify").
    key : str
        Jobs of one key supersede one another; empty for a job on its own.

    Attributes
    ----------
    changed, ended : Signal
        State or progress changed; the job is over. Emitted on the GUI thread.
    error : ClipmedError or None
        Why it failed.
    tells_errors : bool
        Whether the job's owner shows the error; otherwise `JobRunner.failed` does.
    """

    changed = Signal()
    ended = Signal()

    def __init__(self, title: str, key: str = "", parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.title = title
        self.key = key
        self.state = JobState.WAITING
        self.step = Step(title)
        self.error: ClipmedError | None = None
        self.tells_errors = False
        self._step_began = time.monotonic()

    def begin(self) -> None:
        """Start the work."""
        self.state = JobState.RUNNING
        self._step_began = time.monotonic()
        self.changed.emit()
        self._launch()

    def cancel(self) -> None:
        """Ask the job to stop; it reads "cancelling" until it really has."""
        if self.state is JobState.WAITING:
            self._finish(JobState.CANCELLED)
        elif self.state is JobState.RUNNING:
            self.state = JobState.CANCELLING
            self._ask_to_stop()
            self.changed.emit()

    def join(self, seconds: float) -> bool:
        """Wait until the work ended; whether it did in time."""
        raise TypeError(f"{type(self).__name__} does not say how it is joined")

    def seconds_left(self) -> float | None:
        """Time left by the pace so far; None while it cannot be said."""
        elapsed = time.monotonic() - self._step_began
        if self.state is not JobState.RUNNING or elapsed < 1.0 or not 0 < self.step.done < self.step.total:
            return None
        return elapsed / self.step.done * (self.step.total - self.step.done)

    def sentence(self) -> str:
        """What is happening, n of N and the time left."""
        if self.state is JobState.CANCELLING:
            return f"Cancelling: {self.title} …"
        if self.state is JobState.WAITING:
            return f"{self.title}: waiting for its turn …"
        counted = f" {self.step.done} of {self.step.total}" if self.step.total else ""
        left = self.seconds_left()
        return f"{self.step.what}{counted}" + (f" · {duration(left)} left" if left is not None else " …")

    def _launch(self) -> None:
        raise TypeError(f"{type(self).__name__} does not say how it is launched")

    def _ask_to_stop(self) -> None:
        raise TypeError(f"{type(self).__name__} does not say how it is stopped")

    def _advance(self, step: Step) -> None:
        if step.what != self.step.what or step.done < self.step.done:
            self._step_began = time.monotonic()
        self.step = step
        self.changed.emit()

    def _finish(self, state: JobState, error: ClipmedError | None = None) -> None:
        if self.state.final:
            return
        self.state, self.error = state, error
        self.changed.emit()
        self.ended.emit()


class ThreadJob(Job):
    """A Python function on a thread of its own."""

    _stepped = Signal()
    _returned = Signal(object, object)

    def __init__(
        self,
        work: Callable[[Progress], T],
        title: str,
        on_done: Callable[[T], None],
        on_error: Callable[[ClipmedError], None] | None = None,
        key: str = "",
        parent: QObject | None = None,
    ) -> None:
        super().__init__(title, key, parent)
        self.progress = Progress(self._report)
        self._work: Callable[[Progress], Any] = work
        self._on_done: Callable[[Any], Any] = on_done
        self._on_error = on_error
        self.tells_errors = on_error is not None
        self._latest = self.step
        self._step_announced = False
        self._thread = Thread(target=self._run, name=f"clipmed {title}", daemon=True)
        self._stepped.connect(self._show_latest, Qt.ConnectionType.QueuedConnection)
        self._returned.connect(self._settle, Qt.ConnectionType.QueuedConnection)

    def join(self, seconds: float) -> bool:
        """Wait for the thread; whether it ended in time."""
        if self._thread.is_alive():
            self._thread.join(seconds)
        return not self._thread.is_alive()

    def _launch(self) -> None:
        self._thread.start()

    def _ask_to_stop(self) -> None:
        self.progress.cancel()

    def _run(self) -> None:
        """On the thread of the job."""
        result: Any = None
        error: ClipmedError | None = None
        try:
            result = self._work(self.progress)
        except Exception as raised:  # noqa: BLE001 - boundary: the person must get a sentence, whatever broke
            error = explain_failure(raised, self.title)
        leave_out_libraries()  # the first job of its kind has imported them
        try:
            self._returned.emit(result, error)
        except RuntimeError:
            # The window, and this object's C++ half with it, is gone; nobody is left to tell.
            return

    def _report(self, step: Step) -> None:
        """On the thread of the job: many steps between two looks of the GUI thread become one signal."""
        self._latest = step
        if not self._step_announced:
            self._step_announced = True
            self._stepped.emit()

    def _show_latest(self) -> None:
        self._step_announced = False
        if not self.state.final:
            self._advance(self._latest)

    def _settle(self, result: Any, error: ClipmedError | None) -> None:
        on_done, on_error = self._on_done, self._on_error
        if self.state.final:
            return
        if self.progress.cancelled or isinstance(error, Cancelled):
            self._finish(JobState.CANCELLED)
        elif error is not None:
            self._finish(JobState.FAILED, error)
            if on_error is not None:
                on_error(error)
        else:
            self._finish(JobState.DONE)
            on_done(result)

    def _finish(self, state: JobState, error: ClipmedError | None = None) -> None:
        # Jobs are in circles that may not be collected; what they speak of is freed nevertheless.
        self._work = self._on_done = lambda _: None
        self._on_error = None
        super()._finish(state, error)


class JobRunner(QObject):
    """Starts jobs, keeps one per key at work, and stops them all when the window goes.

    Attributes
    ----------
    job_started, job_ended : Signal(Job)
        For bars and tests.
    failed : Signal(Job, ClipmedError)
        A job failed that had no `on_error` of its own.
    """

    job_started = Signal(object)
    job_ended = Signal(object)
    failed = Signal(object, object)

    def __init__(self, parent: QObject | None = None, *, show_activity: bool = True) -> None:
        super().__init__(parent)
        self._active: list[Job] = []
        self._closed = False
        self._show_activity = show_activity
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.shutdown)

    @property
    def active(self) -> tuple[Job, ...]:
        """Jobs that are waiting, running or being cancelled."""
        return tuple(self._active)

    def start(
        self,
        work: Callable[[Progress], T],
        *,
        title: str,
        on_done: Callable[[T], None],
        on_error: Callable[[ClipmedError], None] | None = None,
        key: str | None = None,
    ) -> ThreadJob:
        """Run `work` off the GUI thread.

        Parameters
        ----------
        work : callable
            Receives a `Progress`; calls its `step` often, which raises once the job is cancelled.
        title : str
            What is being done.
        on_done : callable
            Receives the result, on the GUI thread; not called after a cancel.
        on_error : callable, optional
            Receives the `ClipmedError`; without it `failed` is emitted.
        key : str, optional
            A newer job of the same key cancels the older one and starts when that has ended.
        """
        job = ThreadJob(work, title, on_done, on_error, key or "", parent=self)
        self.adopt(job)
        return job

    def adopt(self, job: Job) -> None:
        """Watch over a job made elsewhere (a process), and begin it when its turn comes."""
        if self._closed:
            job.cancel()
            return
        rivals = [other for other in self._active if job.key and other.key == job.key]
        self._active.append(job)
        job.ended.connect(self._on_ended)
        if self._show_activity:
            ActivityLine(job)
        self.job_started.emit(job)
        for rival in rivals:
            rival.cancel()
        self._begin_next(job.key)

    def running(self, key: str) -> Job | None:
        """The newest job of a key that is not over, or None."""
        unfinished = (job for job in reversed(self._active) if job.key == key and not job.state.final)
        return next(unfinished, None)

    def cancel(self, key: str) -> None:
        """Cancel all jobs of a key."""
        for job in self.active:
            if job.key == key:
                job.cancel()

    def shutdown(self) -> None:
        """Cancel everything and wait (a few seconds at most) until it has stopped."""
        self._closed = True
        jobs = self.active
        for job in jobs:
            job.cancel()
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        for job in jobs:
            job.join(max(0.0, deadline - time.monotonic()))

    def _begin_next(self, key: str) -> None:
        peers = [job for job in self._active if job.key == key]
        if key and any(job.state is not JobState.WAITING for job in peers):
            return
        for job in peers:
            if job.state is JobState.WAITING:
                job.begin()
                if key:
                    return

    def _on_ended(self) -> None:
        for job in [job for job in self._active if job.state.final]:
            self._active.remove(job)
            self.job_ended.emit(job)
            if job.error is not None and not job.tells_errors:
                self.failed.emit(job, job.error)
            job.deleteLater()
            if not self._closed:
                self._begin_next(job.key)


def duration(seconds: float) -> str:
    """Short words for a time span: "8 s", "3 min", "1 h 20 min"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
