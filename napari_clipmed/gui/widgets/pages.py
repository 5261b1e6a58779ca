"""Pages of a dock behind tabs, each as tall as itself, so that a short one leaves no gap."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtWidgets import QTabBar, QVBoxLayout, QWidget

from napari_clipmed.gui.theme import SPACING, named


class Pages(QWidget):
    """A row of tabs and the page of the chosen one.

    Parameters
    ----------
    pages : mapping of str to QWidget
        By title, in order.
    name : str
        Object name of the tabs.
    """

    def __init__(self, pages: Mapping[str, QWidget], name: str) -> None:
        super().__init__()
        self.tabs = named(QTabBar(), name)
        self.tabs.setExpanding(True)
        self._pages = tuple(pages.values())
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACING)
        column.addWidget(self.tabs)
        for title, page in pages.items():
            self.tabs.addTab(title)
            column.addWidget(page)
        self.tabs.currentChanged.connect(self._turn)
        self._turn(0)

    def turn_to(self, page: QWidget) -> None:
        """Show a page."""
        self.tabs.setCurrentIndex(self._pages.index(page))

    def _turn(self, index: int) -> None:
        for place, page in enumerate(self._pages):
            page.setVisible(place == index)
