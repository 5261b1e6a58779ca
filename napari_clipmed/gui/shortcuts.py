"""Keys that work wherever the focus is in the window, also while their dock is closed or covered."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QKeySequence
from qtpy.QtWidgets import QDockWidget, QShortcut, QWidget


class DockShortcuts(QObject):
    """Binds keys to the main window as soon as a dock has been put into one; follows it to another.

    A `QShortcut` that belongs to the dock itself would be dead while the dock is closed.

    Parameters
    ----------
    dock : QWidget
        Owner; the keys go when it goes.
    actions : mapping of str to callable
        Key sequence ("Alt+A") and what it does.
    """

    def __init__(self, dock: QWidget, actions: Mapping[str, Callable[[], object]]) -> None:
        super().__init__(dock)
        self._dock = dock
        self._actions = dict(actions)
        self._shortcuts: list[QShortcut] = []
        dock.installEventFilter(self)
        dock.destroyed.connect(self._release)
        self._bind()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Look at the dock's window whenever it may have changed."""
        if event.type() in (QEvent.Type.ParentChange, QEvent.Type.Show):
            self._bind()
        return False

    def _bind(self) -> None:
        window = self._dock.window()
        while (owner := window.parentWidget()) is not None:  # a floating dock is a window of its own
            window = owner.window()
        if self._shortcuts and self._shortcuts[0].parent() is window:
            return
        self._release()
        for keys, action in self._actions.items():
            shortcut = QShortcut(QKeySequence(keys), window)
            shortcut.setContext(Qt.ShortcutContext.WindowShortcut)
            shortcut.activated.connect(action)
            shortcut.activatedAmbiguously.connect(action)  # two docks may share a key that does one thing
            self._shortcuts.append(shortcut)

    def _release(self) -> None:
        for shortcut in self._shortcuts:
            try:
                shortcut.setEnabled(False)
                shortcut.deleteLater()
            except RuntimeError:  # its window was destroyed before
                continue
        self._shortcuts = []


def dock_around(widget: QWidget) -> QDockWidget | None:
    """The dock that a widget was put into, if it was."""
    parent = widget.parentWidget()
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parentWidget()
    return parent


def bring_to_front(widget: QWidget) -> None:
    """Show the dock around a widget, in front of the tabs beside it."""
    dock = dock_around(widget)
    if dock is not None:
        dock.show()
        dock.raise_()


def keyed(text: str, keys: str) -> str:
    """Text of a button with its key: "Accept (Alt+A)"."""
    return f"{text} ({keys})"
