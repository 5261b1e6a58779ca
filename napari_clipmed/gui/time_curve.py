"""The curve under the image: where the model looked in time, where its heat map peaked. Click to jump."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, Qt, Signal
from qtpy.QtWidgets import QSizePolicy, QWidget

from napari_clipmed.gui.theme import view_colour
from napari_clipmed.gui.widgets.plots import QuietPlot


@dataclass(frozen=True, eq=False)
class TimeSeries:
    """Some value of one view over time, already between 0 and 1.

    Parameters
    ----------
    view : str
        View name; decides the colour.
    times : (t,) float array
        Seconds, or frame numbers from 1 where no times are known.
    values : (t,) float array
        Height.
    """

    view: str
    times: NDArray[np.float64]
    values: NDArray[np.float64]


def relative(values: NDArray[np.floating]) -> NDArray[np.float64]:
    """Values as fractions of the largest."""
    largest = float(values.max()) if values.size else 0.0
    return np.asarray(values, dtype=np.float64) / largest if largest > 0 else np.zeros(len(values))


class TimeCurve(QuietPlot):
    """Attention as lines, CAM peaks as filled areas, the present time as an upright line.

    Attributes
    ----------
    clicked : Signal(float)
        Time under a click, in the unit of the series.
    """

    clicked = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(left="", height=48, parent=parent)
        item = self.getPlotItem()
        item.hideAxis("left")
        item.showGrid(x=False, y=False)
        item.setYRange(0.0, 1.08, padding=0)
        item.getAxis("bottom").setHeight(20)
        item.getAxis("bottom").setStyle(tickLength=-4, tickTextOffset=2)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip("Click to go to this time. Line: attention over time. Area: peak of the heat map.")
        self._now = pg.InfiniteLine(angle=90, movable=False, pen=pg.mkPen("#FFFFFF", width=1.5))
        item.addItem(self._now, ignoreBounds=True)
        self.scene().sigMouseClicked.connect(self._on_click)

    def set_span(self, first: float, last: float) -> None:
        """Show the times from `first` to `last`."""
        self.getPlotItem().setXRange(first, max(last, first + 1e-3), padding=0.01)

    def set_running(self, running: bool) -> None:
        """Hide the time axis and the upright line while nothing moves."""
        self._now.setVisible(running)
        self.getPlotItem().showAxis("bottom", running)

    def draw(self, attention: Sequence[TimeSeries], peaks: Sequence[TimeSeries]) -> None:
        """Replace all curves."""
        self.clear_curves()
        self.dress()
        for series in peaks:
            shade = pg.mkColor(view_colour(series.view))
            shade.setAlpha(60)
            self.plot(series.times, series.values, pen=None, fillLevel=0.0, brush=shade)
        for series in attention:
            colour = pg.mkColor(view_colour(series.view))
            style = Qt.PenStyle.DashLine if series.view.startswith("LA") else Qt.PenStyle.SolidLine
            self.plot(series.times, series.values, pen=pg.mkPen(colour, width=2, style=style))

    def show_now(self, time: float) -> None:
        """Move the upright line."""
        self._now.setValue(time)

    @property
    def now(self) -> float:
        """Where the upright line stands."""
        return float(self._now.value())

    def position_of(self, time: float) -> QPointF:
        """Where in this widget, in pixels, a time lies."""
        return QPointF(self.mapFromScene(self.getPlotItem().vb.mapViewToScene(QPointF(time, 0.5))))

    def _on_click(self, click: pg.GraphicsScene.mouseEvents.MouseClickEvent) -> None:
        self.clicked.emit(float(self.getPlotItem().vb.mapSceneToView(click.scenePos()).x()))


def attention_series(
    attention: Mapping[str, object], seconds: Mapping[str, NDArray[np.float64]]
) -> list[TimeSeries]:
    """Temporal attention of each view, relative to its largest weight.

    Parameters
    ----------
    attention : mapping of str to ViewAttention
        As in `Diagnosis.attention`.
    seconds : mapping of str to (T,) float array
        Time of each frame of each view.
    """
    return [
        TimeSeries(view, seconds[view][given.frames], relative(given.weights))  # type: ignore[attr-defined]
        for view, given in attention.items()
        if view in seconds
    ]
