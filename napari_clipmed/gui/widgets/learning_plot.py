"""Live curves of a round of fine-tuning: losses above, figure of merit on the validation cases below."""

from __future__ import annotations

import pyqtgraph as pg
from qtpy.QtWidgets import QVBoxLayout, QWidget

from napari_clipmed.gui.theme import OKABE_ITO
from napari_clipmed.gui.widgets.plots import QuietPlot


class LearningPlot(QWidget):
    """Two plots over epochs; the lower one appears with the first validation figure."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("learning_plot")
        self.loss = QuietPlot("loss", "epoch", height=130)
        self.merit = QuietPlot("validation", "epoch", height=110)
        legend = self.loss.getPlotItem().addLegend(offset=(-4, 4), labelTextSize="8pt")
        legend.setBrush(pg.mkBrush(0, 0, 0, 60))
        self._train = self.loss.plot(
            [], [], name="training", pen=pg.mkPen(OKABE_ITO["sky"], width=2), symbol="o", symbolSize=5
        )
        self._validation = self.loss.plot(
            [],
            [],
            name="validation",
            pen=pg.mkPen(OKABE_ITO["orange"], width=2),
            symbol="t",
            symbolSize=6,
        )
        self._merit = self.merit.plot(
            [], [], pen=pg.mkPen(OKABE_ITO["green"], width=2), symbol="s", symbolSize=5
        )
        for curve, name in ((self._train, "sky"), (self._validation, "orange"), (self._merit, "green")):
            curve.setSymbolBrush(OKABE_ITO[name])
            curve.setSymbolPen(None)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        column.addWidget(self.loss)
        column.addWidget(self.merit)
        self.start(1, "")

    def start(self, epochs: int, merit: str) -> None:
        """Empty the curves for a new round.

        Parameters
        ----------
        epochs : int
            At most; the width of the axis.
        merit : str
            Name of the figure of merit.
        """
        self._points: list[tuple[int, float, float | None, float | None]] = []
        for plot in (self.loss, self.merit):
            plot.getPlotItem().setXRange(1, max(2, epochs), padding=0.03)
            plot.dress()
        self.merit.getPlotItem().setLabel("left", merit or "validation")
        self.merit.setVisible(False)
        self._draw()

    def add(self, epoch: int, train: float, validation: float | None, merit: float | None) -> None:
        """Add a finished epoch."""
        self._points.append((epoch, train, validation, merit))
        if merit is not None:
            self.merit.setVisible(True)
        self._draw()

    @property
    def n_epochs(self) -> int:
        """How many epochs are drawn."""
        return len(self._points)

    def _draw(self) -> None:
        columns = ((self._train, 1), (self._validation, 2), (self._merit, 3))
        for curve, column in columns:
            known = [(point[0], point[column]) for point in self._points if point[column] is not None]
            curve.setData([x for x, _ in known], [y for _, y in known])
