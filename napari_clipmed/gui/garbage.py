"""Garbage collection that never stops the window: what lives until the end is not looked at again and again.

napari collects garbage after each removal of layers, and Python does so while it imports. With napari, scipy
and torch loaded that means a look at a million objects, nearly half a second during which nothing is drawn.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from qtpy.QtCore import QEvent, QObject

MANY = 50
"""So many modules imported since the last time are worth leaving out."""

_left_out = 0


def leave_out_libraries() -> bool:
    """Hide what is alive from the collector, if many modules were imported since; whether it was done.

    What is hidden is still freed with its last reference. Safe from any thread, and takes no time.
    """
    global _left_out
    if len(sys.modules) < _left_out + MANY:
        return False
    _left_out = len(sys.modules)
    gc.freeze()
    return True


@contextmanager
def importing_much() -> Iterator[None]:
    """Around large imports: nothing is collected meanwhile, and what they brought is left out afterwards."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
        leave_out_libraries()


class LookAgainOnClose(QObject):
    """Shows everything to the collector again when a window closes, so that the window can be collected.

    Parameters
    ----------
    window : QObject
        The main window.
    """

    def __init__(self, window: QObject) -> None:
        super().__init__(window)
        window.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Watch for the close; never takes an event away."""
        if event.type() == QEvent.Type.Close:
            gc.unfreeze()
        return False
