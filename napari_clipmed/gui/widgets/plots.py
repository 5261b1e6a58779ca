"""pyqtgraph in the dress of the docks: dark or light with napari, no menus, no accidental panning."""

from __future__ import annotations

import pyqtgraph as pg
from qtpy.QtGui import QPalette
from qtpy.QtWidgets import QSizePolicy, QWidget

AXIS_WIDTH = 52
"""Same width of all left axes, so that stacked plots align."""


class QuietPlot(pg.PlotWidget):
    """A small plot that does nothing when it is dragged or right-clicked.

    Parameters
    ----------
    left, bottom : str
        Axis titles.
    height : int
        In pixels; pyqtgraph's own wish of 480 would push everything else out of the dock.
    """

    def __init__(self, left: str, bottom: str = "", height: int = 110, parent: QWidget | None = None) -> None:
        super().__init__(parent, background=None)
        item = self.getPlotItem()
        item.setMenuEnabled(False)
        item.hideButtons()
        item.setMouseEnabled(False, False)
        item.setLabel("left", left)
        if bottom:
            item.setLabel("bottom", bottom)
        item.getAxis("left").setWidth(AXIS_WIDTH)
        item.showGrid(x=False, y=True, alpha=0.15)
        item.getAxis("left").enableAutoSIPrefix(False)
        self.setFixedHeight(height)
        self.setMinimumWidth(120)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.dress()

    def dress(self) -> None:
        """Take the text colour of the window, so that axes read in light and dark themes."""
        colour = self.palette().color(QPalette.ColorRole.WindowText)
        for name in ("left", "bottom"):
            axis = self.getPlotItem().getAxis(name)
            axis.setPen(colour)
            axis.setTextPen(colour)

    def clear_curves(self) -> None:
        """Take all curves away; lines and regions stay."""
        item = self.getPlotItem()
        for curve in item.listDataItems():
            item.removeItem(curve)
