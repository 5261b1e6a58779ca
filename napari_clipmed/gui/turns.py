"""Work that only the GUI thread can do, in steps: between two of them the window draws and answers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from types import GeneratorType

from qtpy.QtCore import QObject, QTimer

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

    def __init__(self, parent: QObject | None = None, wanted: Callable[[], bool] = lambda: True) -> None:
        super().__init__(parent)
        self._wanted = wanted
        self._waiting: deque[Iterator[None]] = deque()
        self._timer = QTimer(self)
        self._timer.setInterval(BREATH_MS)
        self._timer.timeout.connect(self._step)

    @property
    def busy(self) -> bool:
        """Whether something waits for its turn."""
        return bool(self._waiting)

    def run(self, steps: Iterator[None]) -> None:
        """Begin when what was given earlier is done."""
        self._waiting.append(steps)
        self._timer.start()

    def drop(self) -> None:
        """Leave what has not been done undone."""
        self._timer.stop()
        while self._waiting:
            steps = self._waiting.popleft()
            if isinstance(steps, GeneratorType) and not steps.gi_running:
                steps.close()  # it may have something to tidy up

    def _step(self) -> None:
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
