"""A command of ours in a process of its own: it may use all memory or crash, and the window stays."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qtpy.QtCore import QObject, QProcess, QProcessEnvironment, QTimer

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.failures import UnexpectedError
from napari_clipmed.gui.jobs import Job, JobState
from napari_clipmed.progress import Step

GRACE_MS = 8000
"""Between the polite and the impolite request to stop."""

EXIT_CANCELLED = 130
TAIL = 8000
"""Characters of the error stream that are kept for the details."""

Event = Mapping[str, Any]


class ProcessJob(Job):
    """``python -m napari_clipmed.cli …`` that tells its progress as JSON lines.

    Each line is an object with a key ``event``. ``step`` moves the bar; ``error`` explains a failure; all
    events go to `on_event`.

    Parameters
    ----------
    arguments : sequence of str
        Of the command line, without the program.
    title : str
        What is being done.
    on_event : callable
        Receives each event, on the GUI thread.
    on_error : callable
        Receives the `ClipmedError` of a failure.
    key : str
        As for every job.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        title: str,
        on_event: Callable[[Event], None],
        on_error: Callable[[ClipmedError], None],
        key: str = "",
        parent: QObject | None = None,
        module: str = "napari_clipmed.cli",
    ) -> None:
        super().__init__(title, key, parent)
        self.tells_errors = True
        self._on_event, self._on_error = on_event, on_error
        self._half_line = b""
        self._errors = ""
        self._told: ClipmedError | None = None
        self._process = QProcess(self)
        self._process.setProgram(sys.executable)
        self._process.setArguments(["-m", module, *arguments])
        environment = QProcessEnvironment.systemEnvironment()
        environment.insert("PYTHONUNBUFFERED", "1")
        environment.insert("PYTHONIOENCODING", "utf-8")
        self._process.setProcessEnvironment(environment)
        self._process.readyReadStandardOutput.connect(self._read)
        self._process.readyReadStandardError.connect(self._read_errors)
        self._process.finished.connect(self._on_finished)
        self._process.errorOccurred.connect(self._on_process_error)
        self._patience = QTimer(self)
        self._patience.setSingleShot(True)
        self._patience.setInterval(GRACE_MS)
        self._patience.timeout.connect(self._process.kill)

    def join(self, seconds: float) -> bool:
        """Wait for the process; one that does not stop in time is killed."""
        if self._process.state() != QProcess.ProcessState.NotRunning and not self._process.waitForFinished(
            round(1000 * seconds)
        ):
            self._process.kill()
            return self._process.waitForFinished(1000)
        return True

    def _launch(self) -> None:
        self._process.start()

    def _ask_to_stop(self) -> None:
        self._process.terminate()
        self._patience.start()

    def _read(self) -> None:
        lines = (self._half_line + bytes(self._process.readAllStandardOutput().data())).split(b"\n")
        self._half_line = lines.pop()
        for line in lines:
            self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            event = json.loads(line)
        except ValueError:
            return  # a library wrote a line of its own
        if not isinstance(event, dict) or "event" not in event or self.state.final:
            return
        if event["event"] == "step":
            self._advance(Step(event.get("message", ""), event.get("done", 0), event.get("total", 0)))
        elif event["event"] == "error":
            self._told = ClipmedError(event.get("message", "It failed."), event.get("hint", ""))
        self._on_event(event)

    def _read_errors(self) -> None:
        text = bytes(self._process.readAllStandardError().data()).decode("utf-8", "replace")
        self._errors = (self._errors + text)[-TAIL:]

    def _on_finished(self, code: int, status: QProcess.ExitStatus) -> None:
        self._patience.stop()
        self._read()
        self._read_errors()
        if code == 0 and status == QProcess.ExitStatus.NormalExit:
            self._finish(JobState.DONE)  # also where the cancel came too late: it is done, and says so
        elif self.state is JobState.CANCELLING or code == EXIT_CANCELLED:
            self._finish(JobState.CANCELLED)
        else:
            self._fail(
                self._told
                or UnexpectedError(
                    f"{self.title} stopped unexpectedly (exit code {code}).",
                    "Nothing half-made was kept. Try again; if it happens again, report the details below.",
                    self._errors,
                )
            )

    def _on_process_error(self, error: QProcess.ProcessError) -> None:
        if error == QProcess.ProcessError.FailedToStart:
            self._fail(
                UnexpectedError(
                    f"{self.title}: the process could not be started.",
                    "Start napari from an environment in which napari-clipmed is installed.",
                    self._process.errorString(),
                )
            )

    def _fail(self, error: ClipmedError) -> None:
        self._finish(JobState.FAILED, error)
        self._on_error(error)
