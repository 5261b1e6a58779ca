"""When the model looks: temporal attention and CAM peaks over the frames; a click jumps there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyqtgraph as pg
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, Qt, Signal
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_clipmed.gui.theme import view_colour
from napari_clipmed.gui.widgets.plots import QuietPlot

NEAR_PX = 6
"""Points this close to one another along the time axis compete by their height."""


@dataclass(frozen=True, eq=False)
class FrameCurve:
    """A value for some frames of a view.

    Parameters
    ----------
    view : str
        "AP", "LA", …
    frames : (t,) int array
        Original frame indices.
    times : (t,) float array
        When they were taken, in seconds; the frame number, from 1, where times are not known.
    values : (t,) float array
    """

    view: str
    frames: NDArray[np.int64]
    times: NDArray[np.float64]
    values: NDArray[np.float32]


class FramePlot(QuietPlot):
    """Curves over frames, with a line at the frame on screen.

    Attributes
    ----------
    picked : Signal(str, int)
        View and original frame index of the point nearest to a click.
    """

    picked = Signal(str, int)

    def __init__(self, left: str, bottom: str = "", height: int = 100, *, filled: bool = False) -> None:
        super().__init__(left, bottom, height)
        self._filled = filled
        self._curves: Sequence[FrameCurve] = ()
        self._now = pg.InfiniteLine(angle=90, movable=False, pen=pg.mkPen("#FFFFFF", width=1.5))
        self._now.setVisible(False)
        self.getPlotItem().addItem(self._now, ignoreBounds=True)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setToolTip("Click near a point to go to its frame")
        self.scene().sigMouseClicked.connect(self._on_click)

    def draw(self, curves: Sequence[FrameCurve]) -> None:
        """Replace the curves."""
        self.clear_curves()
        self.dress()
        self._curves = curves
        for curve in curves:
            colour = pg.mkColor(view_colour(curve.view))
            shade = pg.mkColor(colour)
            shade.setAlpha(40)
            self.plot(
                curve.times,
                curve.values,
                pen=pg.mkPen(colour, width=2),
                symbol="t" if curve.view.startswith("LA") else "o",
                symbolSize=6,
                symbolBrush=colour,
                symbolPen=None,
                fillLevel=0 if self._filled else None,
                brush=shade if self._filled else None,
                name=curve.view,
            )

    def show_now(self, time: float | None) -> None:
        """Move the line of the frame on screen; None hides it."""
        self._now.setVisible(time is not None)
        if time is not None:
            self._now.setValue(time)

    def position_of(self, view: str, frame: int) -> QPointF:
        """Where in this widget, in pixels, a sampled frame of a view is drawn."""
        curve = next(curve for curve in self._curves if curve.view == view)
        at = int(np.flatnonzero(curve.frames == frame)[0])
        point = QPointF(float(curve.times[at]), float(curve.values[at]))
        return QPointF(self.mapFromScene(self.getPlotItem().vb.mapViewToScene(point)))

    def _on_click(self, click: pg.GraphicsScene.mouseEvents.MouseClickEvent) -> None:
        box = self.getPlotItem().vb
        here = box.mapSceneToView(click.scenePos())
        near = NEAR_PX * box.viewPixelSize()[0]
        points = [
            (abs(float(time) - here.x()), abs(float(value) - here.y()), curve.view, int(frame))
            for curve in self._curves
            for time, value, frame in zip(curve.times, curve.values, curve.frames, strict=True)
        ]
        if points:
            soonest = min(point[0] for point in points)
            *_, view, frame = min((p for p in points if p[0] <= soonest + near), key=lambda p: p[1])
            self.picked.emit(view, frame)


class AttentionPlot(QWidget):
    """Two plots with one time axis: attention above, CAM peaks below.

    Attributes
    ----------
    jumped : Signal(str, int)
        View and original frame index that a click asked for.
    """

    jumped = Signal(str, int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("attention_plot")
        self._earliest = 0.0
        self.attention = FramePlot("attention", height=84)
        self.peaks = FramePlot("CAM peak", "seconds", height=112, filled=True)
        self.peaks.getPlotItem().setXLink(self.attention.getPlotItem())
        self.peaks.getPlotItem().setYRange(0, 1.05)
        self.attention.getPlotItem().getAxis("bottom").setStyle(showValues=False)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        for plot in (self.attention, self.peaks):
            plot.picked.connect(self.jumped)
            column.addWidget(plot)

    def set_time_unit(self, unit: str) -> None:
        """Title of the time axis: "seconds", from 0, or "frame", from 1."""
        self._earliest = 1.0 if unit == "frame" else 0.0
        self.peaks.getPlotItem().setLabel("bottom", unit)

    def show_attention(self, curves: Sequence[FrameCurve]) -> None:
        """Draw the temporal attention of each view (they sum to one over the sampled frames)."""
        self.attention.draw(curves)
        highest = max((float(curve.values.max()) for curve in curves if curve.values.size), default=0.0)
        self.attention.getPlotItem().setYRange(0, 1.1 * highest or 1.0)
        latest = max((float(curve.times[-1]) for curve in curves if curve.times.size), default=0.0)
        latest = latest if latest > self._earliest else self._earliest + 1.0
        self.attention.getPlotItem().setXRange(self._earliest, latest, padding=0.03)

    def show_peaks(self, curves: Sequence[FrameCurve]) -> None:
        """Draw the peak of each frame's class activation map (0 to 1, jointly over both views)."""
        self.peaks.draw(curves)

    def show_now(self, time: float | None) -> None:
        """Mark the frame on screen in both plots; None hides the mark."""
        self.attention.show_now(time)
        self.peaks.show_now(time)
