"""The tabs of our docks: short names, small enough that all of them can be read side by side."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QObject, Qt, QTimer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QTabBar, QWidget

PLUGIN_SUFFIX = " (napari-clipmed)"
"""What napari adds to the name of a plugin's dock."""

TAB_STYLE = "QTabBar::tab { font-size: 11px; padding: 5px 4px; margin: 0; border: 0; min-width: 0; }"
"""Six names fit into a dock of 340 pixels."""


class ReadableTabs(QObject):
    """Looks after the tabs of the window that a dock is put into.

    Parameters
    ----------
    dock : QWidget
        Owner.
    """

    def __init__(self, dock: QWidget) -> None:
        super().__init__(dock)
        self._dock = dock
        dock.installEventFilter(self)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        """Look at the window once it has been laid out with the dock in it: only then the tabs are there."""
        if event.type() == QEvent.Type.Show:
            QTimer.singleShot(0, self._tidy)
        return False

    def _tidy(self) -> None:
        window = self._dock.window()
        if not isinstance(window, QMainWindow):
            return
        for dock in window.findChildren(QDockWidget):
            if dock.windowTitle().endswith(PLUGIN_SUFFIX):
                dock.setWindowTitle(dock.windowTitle().removesuffix(PLUGIN_SUFFIX))
        for bar in window.findChildren(QTabBar, options=Qt.FindChildOption.FindDirectChildrenOnly):
            if bar.styleSheet() != TAB_STYLE:
                bar.setStyleSheet(TAB_STYLE)
                bar.setElideMode(Qt.TextElideMode.ElideNone)
