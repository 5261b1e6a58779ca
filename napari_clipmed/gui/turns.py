"""Work that only the GUI thread can do, in steps: between two of them the window draws and answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from types import GeneratorType

from qtpy.QtCore import QObject, Qt, QTimer, Signal

BREATH_MS = 10
"""Between two steps; with none at all Qt may take the next step before it has answered."""


class Turns(QObject):
    """Runs iterators, one step in each turn of the event loop and one iterator after the other.

    Parameters
    ----------
    parent : QObject, optional
    wanted : callable, optional
        Asked before each step: no more is done in a window that is being closed.
    """

    _due = Signal()

    def __init__(self, parent: QObject | None = None, wanted: Callable[[], bool] = lambda: True) -> None:
        super().__init__(parent)
        self._wanted = wanted
        self._waiting: deque[Iterator[None]] = deque()
        self._timer = QTimer(self)
        self._timer.setInterval(BREATH_MS)
        self._timer.timeout.connect(self._call)
        self._called = False
        # Qt serves a timer before what was posted meanwhile; a posted step queues behind what waits already.
        self._due.connect(self._step, Qt.ConnectionType.QueuedConnection)

    @property
    def busy(self) -> bool:
        """Whether something waits for its turn."""
        return bool(self._waiting)

    def run(self, steps: Iterator[None]) -> None:
        """Begin when what was given earlier is done."""
        self._waiting.append(steps)
        self._timer.start()

    def run_or_do(self, steps: Iterator[None]) -> None:
        """Run after what is being done in turns; all of it at once where nothing is."""
        if self.busy:
            self.run(steps)
        else:
            deque(steps, maxlen=0)

    def drop(self) -> None:
        """Leave what has not been done undone."""
        self._timer.stop()
        while self._waiting:
            steps = self._waiting.popleft()
            if isinstance(steps, GeneratorType) and not steps.gi_running:
                steps.close()  # it may have something to tidy up

    def _call(self) -> None:
        if not self._called:
            self._called = True
            self._due.emit()

    def _step(self) -> None:
        self._called = False
        if not self._waiting:  # dropped since it was called
            return
        if not self._wanted():
            self.drop()
            return
        steps = self._waiting[0]
        try:
            next(steps)
        except StopIteration:
            if steps in self._waiting:  # the last step may have dropped everything, itself too
                self._waiting.remove(steps)
        except BaseException:
            self.drop()
            raise
        if not self._waiting:
            self._timer.stop()
