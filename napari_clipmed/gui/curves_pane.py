"""Time–density curves of regions that a person draws: tools, the plot with the present time, a table, CSV."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyqtgraph as pg
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.bolus_desk import Bolus, BolusDesk
from napari_clipmed.gui.drawings import Drawings, Drawn
from napari_clipmed.gui.layers import Role
from napari_clipmed.gui.save_text import ask_and_save
from napari_clipmed.gui.session import ReviewSession
from napari_clipmed.gui.theme import hint_label, named, say
from napari_clipmed.gui.widgets.plots import QuietPlot
from napari_clipmed.gui.widgets.small_table import small_table
from napari_clipmed.inference.curves import Outline, Region, TimeDensityCurve, curve_of, curves_csv
from napari_clipmed.inference.opacity import OpacityRun
from napari_clipmed.study import Study

TOOLS = {"Ellipse": "add_ellipse", "Rectangle": "add_rectangle", "Polygon": "add_polygon"}
HINT = "Choose a shape, then draw it over a vessel in AP or LA. Its curve follows as you move it."
COLUMNS = ("Region", "View", "Arrival", "Peak at", "Width")
TIPS = (
    "Double-click to give it another name",
    "",
    "When the curve reaches a tenth of its peak",
    "When the contrast is densest",
    "Full width at half maximum",
)


class CurvesPane(QWidget):
    """Regions of one session and their curves.

    Parameters
    ----------
    session : ReviewSession
    desk : BolusDesk
        Holds the opacity of the runs.
    """

    def __init__(self, session: ReviewSession, desk: BolusDesk) -> None:
        super().__init__()
        self.session, self.desk = session, desk
        self.names: dict[int, str] = {}
        self.curves: dict[int, TimeDensityCurve] = {}
        self.drawings = Drawings(session, Role.ROI, lambda drawn: self.name_of(drawn.key))
        self._build()
        self.drawings.changed.connect(self.redraw)
        desk.changed.connect(self.redraw)
        session.frame_changed.connect(self._on_frame)
        session.study_changed.connect(self._on_study)
        self._on_study(session.study)

    def _build(self) -> None:
        self.tools = [named(QPushButton(text), f"roi_{text.lower()}") for text in TOOLS]
        tools = QHBoxLayout()
        tools.setSpacing(4)
        for button, (text, mode) in zip(self.tools, TOOLS.items(), strict=True):
            button.clicked.connect(lambda checked=False, mode=mode: self.drawings.draw(mode, "roi"))
            button.setToolTip(f"Draw a region: {text.lower()}")
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            tools.addWidget(button)
        self.plot = QuietPlot("opacity", "seconds", height=150)
        self.now = pg.InfiniteLine(angle=90, movable=False, pen=pg.mkPen("#FFFFFF", width=1.5))
        self.plot.getPlotItem().addItem(self.now, ignoreBounds=True)
        self.plot.setCursor(Qt.CursorShape.PointingHandCursor)
        self.plot.setToolTip("Click to go to this time. AP full lines, LA dashed.")
        self.plot.scene().sigMouseClicked.connect(self._on_click)
        self.table: QTableWidget = small_table("roi_table", COLUMNS, TIPS)
        self.table.itemChanged.connect(self._on_renamed)
        self.remove_button = named(QPushButton("Remove"), "roi_remove")
        self.remove_button.clicked.connect(self.remove_chosen)
        self.export_button = named(QPushButton("Save CSV …"), "roi_export")
        self.export_button.clicked.connect(self.export)
        ends = QHBoxLayout()
        ends.addWidget(self.remove_button)
        ends.addWidget(self.export_button)
        self.note = hint_label(HINT, "roi_note")
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(tools)
        for part in (self.note, self.plot, self.table):
            column.addWidget(part)
        column.addLayout(ends)

    def name_of(self, key: int) -> str:
        """What the person calls a region."""
        return self.names.get(key, f"ROI {key}")

    # -- drawing ------------------------------------------------------------------------------------------

    def redraw(self, *_: object) -> None:
        """Make all curves anew from the regions and the runs."""
        drawn, bolus = self.drawings.shapes, self.desk.bolus
        if drawn and bolus is None:
            self.desk.make()
        self.curves, why = self._curves(drawn, bolus)
        self.drawings.write_words()
        self._draw(drawn)
        self._fill_table(drawn)
        waiting = "The run is being read …" if drawn and bolus is None else ""
        say(self.note, "" if self.curves and not why else "\n".join(why) or waiting or HINT)
        for part in (self.plot, self.table, self.remove_button, self.export_button):
            part.setVisible(bool(drawn))
        self.export_button.setEnabled(bool(self.curves))
        self._on_frame()

    def _curves(
        self, drawn: list[Drawn], bolus: Bolus | None
    ) -> tuple[dict[int, TimeDensityCurve], list[str]]:
        curves, why = {}, []
        for shape in drawn if bolus is not None else ():
            run = bolus.calm[shape.view_index] if bolus is not None else None
            name, view = self.name_of(shape.key), self.session.view_names[shape.view_index]
            if isinstance(run, OpacityRun):
                try:
                    region = Region(Outline(shape.shape), shape.points, name)
                    curves[shape.key] = curve_of(run, region, view)
                except ClipmedError as refusal:
                    why.append(f"{name}: {refusal.message}")
            elif isinstance(run, ClipmedError):
                why.append(f"{view}: {run.message}")
        return curves, list(dict.fromkeys(why))

    def _draw(self, drawn: list[Drawn]) -> None:
        self.plot.clear_curves()
        self.plot.dress()
        for shape in drawn:
            curve = self.curves.get(shape.key)
            if curve is not None:
                style = Qt.PenStyle.DashLine if curve.view.startswith("LA") else Qt.PenStyle.SolidLine
                pen = pg.mkPen(shape.colour, width=2, style=style)
                self.plot.plot(curve.times, curve.opacity, pen=pen, name=curve.name)
        units = {curve.time_unit for curve in self.curves.values()}
        self.plot.getPlotItem().setLabel("bottom", "frame" if "frames" in units else "seconds")

    def _fill_table(self, drawn: list[Drawn]) -> None:
        chosen = self.table.currentRow()
        self.table.blockSignals(True)
        self.table.setRowCount(len(drawn))
        for row, shape in enumerate(drawn):
            curve = self.curves.get(shape.key)
            cells = [self.name_of(shape.key), self.session.view_names[shape.view_index]]
            cells += [_told(curve, figure) for figure in ("arrival", "time_to_peak", "half_width")]
            for column, text in enumerate(cells):
                item = QTableWidgetItem(text)
                item.setData(Qt.ItemDataRole.UserRole, shape.key)
                if column == 0:
                    item.setForeground(QColor(shape.colour))
                else:
                    item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
                self.table.setItem(row, column, item)
        if drawn:
            self.table.setCurrentCell(min(max(chosen, 0), len(drawn) - 1), 0)
        self.table.blockSignals(False)

    # -- what the person does -----------------------------------------------------------------------------

    def remove_chosen(self) -> None:
        """Take the region of the chosen row away."""
        item = self.table.item(self.table.currentRow(), 0)
        if item is not None:
            self.drawings.remove(int(item.data(Qt.ItemDataRole.UserRole)))

    def export(self) -> None:
        """Save all curves as CSV, without the patient."""
        study = self.session.study
        if study is not None and self.curves:
            text = curves_csv(self.curves.values(), study.image_hash, synthetic=study.synthetic)
            say(self.note, ask_and_save(self, "Save the curves", "curves.csv", text))

    def _on_renamed(self, item: QTableWidgetItem) -> None:
        if item.column() == 0:
            self.names[int(item.data(Qt.ItemDataRole.UserRole))] = item.text().strip() or item.text()
            self.redraw()

    def _on_study(self, study: Study | None) -> None:
        for button in self.tools:
            button.setEnabled(study is not None)
        if not self.drawings.shapes:
            self.names = {}
        self.redraw()

    def _on_frame(self, frames: object = None) -> None:
        times = self._times()
        if times is not None:
            self.now.setValue(float(times[self.session.frame_of(0)]))

    def _times(self) -> Any:
        study = self.session.study
        if study is None:
            return None
        timing = study.views[0].timing
        return timing.times_ms / 1000.0 if timing.measured else np.arange(len(timing.times_ms)) + 1.0

    def _on_click(self, click: Any) -> None:
        times = self._times()
        if times is not None:
            here = self.plot.getPlotItem().vb.mapSceneToView(click.scenePos()).x()
            self.session.go_to_frame(0, int(np.abs(times - here).argmin()))


def _told(curve: TimeDensityCurve | None, figure: str) -> str:
    value = getattr(curve, figure) if curve is not None else float("nan")
    if curve is None or not np.isfinite(value):
        return "–"
    later = ">" if curve.cut_off and figure == "time_to_peak" else ""
    return f"{later}{value:.2f} {'s' if curve.time_unit == 's' else ''}".strip()
