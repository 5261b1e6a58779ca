"""The tabs of the docks can be read at 1366 × 768."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QMainWindow, QTabBar

from napari_clipmed.gui.commands import DOCKS, add_docks


def test_the_names_of_all_docks_stand_side_by_side_uncut(make_napari_viewer, qtbot):
    viewer = make_napari_viewer(show=True)
    docks = add_docks(viewer)
    window = docks["Study"].window()
    assert isinstance(window, QMainWindow)
    window.resize(1366, 768)

    def of_all_docks() -> list[QTabBar]:
        direct = Qt.FindChildOption.FindDirectChildrenOnly
        bars = window.findChildren(QTabBar, options=direct)
        return [bar for bar in bars if {bar.tabText(index) for index in range(bar.count())} == set(DOCKS)]

    qtbot.waitUntil(lambda: [bar.elideMode() for bar in of_all_docks()] == [Qt.TextElideMode.ElideNone])
    (bar,) = of_all_docks()
    qtbot.waitUntil(lambda: bar.tabRect(bar.count() - 1).right() <= bar.width())
