"""The main job in a real window, by the clicks and keys of a person, with photographs.

Used by the demo and by the end-to-end tests. A tour waits for each answer as a person would, measures how
long that took, and raises the sentence that the window showed when a step fails.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from qtpy.QtCore import QEventLoop, Qt, QTimer
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QWidget

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.session import session_for
from napari_clipmed.gui.shortcuts import bring_to_front

if TYPE_CHECKING:
    import napari

    from napari_clipmed.gui.jobs import Job

W = TypeVar("W", bound=QWidget)


class Tour:
    """Drives one viewer.

    Parameters
    ----------
    viewer : napari.Viewer
    docks : dict of str to widget
        As `commands.add_docks` returns them.
    out : Path
        Where photographs go.

    Attributes
    ----------
    timings : dict of str to float
        Seconds that each step took.
    """

    def __init__(self, viewer: napari.Viewer, docks: dict[str, Any], out: Path) -> None:
        self.viewer, self.docks, self.out = viewer, docks, out
        self.session = session_for(viewer)
        self.timings: dict[str, float] = {}
        self._failure: ClipmedError | None = None
        self.session.jobs.job_ended.connect(self._remember_failure)

    def _remember_failure(self, job: Job) -> None:
        self._failure = self._failure or job.error

    def step(self, name: str, act: Callable[[], object], done: Callable[[], object], seconds: float) -> None:
        """Act, and wait until it is done; the time goes to `timings`.

        Raises
        ------
        ClipmedError
            What the window said when a job failed, or that nothing came in time.
        """
        self._failure = None
        began = time.perf_counter()
        act()
        while not done():
            if self._failure is not None:
                raise self._failure
            if time.perf_counter() - began > seconds:
                raise ClipmedError(f"The step {name!r} was not done after {seconds:.0f} s.")
            self.breathe(0.02)
        self.timings.setdefault(name, round(time.perf_counter() - began, 3))

    def breathe(self, seconds: float) -> None:
        """Let the window work for a while, in Qt's own event loop as in use."""
        loop = QEventLoop()
        QTimer.singleShot(round(1000 * seconds), loop.quit)
        loop.exec_() if hasattr(loop, "exec_") else loop.exec()

    def find(self, dock: str, kind: type[W], name: str) -> W:
        """The part of a dock with this object name."""
        part = self.docks[dock].findChild(kind, name)
        if part is None:
            raise LookupError(f"The {dock} dock has no {name!r}")
        return part

    def click(self, dock: str, kind: type[QWidget], name: str) -> None:
        """Press a button of a dock with the left mouse button."""
        self.front(dock)
        QTest.mouseClick(self.find(dock, kind, name), Qt.MouseButton.LeftButton)

    def front(self, dock: str) -> None:
        """Bring the tab of a dock to the front."""
        bring_to_front(self.docks[dock])
        self.breathe(0.05)

    def photograph(self, name: str, dock: str) -> Path:
        """Save the whole window with a dock in front."""
        self.front(dock)
        self.breathe(0.4)
        path = self.out / f"{name}.png"
        self.viewer.screenshot(str(path), canvas_only=False, flash=False)
        return path
