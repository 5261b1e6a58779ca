"""Lines across vessels and between points: tools, values on the canvas and in a list, WASID stenosis, CSV."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QGridLayout,
    QHBoxLayout,
    QPushButton,
    QSizePolicy,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_clipmed.gui.drawings import Drawings, Drawn
from napari_clipmed.gui.layers import Role
from napari_clipmed.gui.save_text import ask_and_save
from napari_clipmed.gui.session import ReviewSession
from napari_clipmed.gui.theme import banner, hint_label, named, say
from napari_clipmed.gui.widgets.small_table import small_table
from napari_clipmed.inference.measure import Caliper, Line, Segment, Stenosis, caliper, length_of
from napari_clipmed.inference.measure_table import DIAMETER, DISTANCE, Measured, measures_csv, stenoses_of
from napari_clipmed.inference.opacity import darkness_of
from napari_clipmed.progress import Progress
from napari_clipmed.study import Study

TOOLS = {
    "Distance": (DISTANCE, "From point to point"),
    "Diameter": (DIAMETER, "Draw across a vessel; its edges are found along the line"),
    "Narrowest": (Segment.STENOSIS.value, "Across the narrowest place of a stenosis"),
    "Proximal": (
        Segment.PROXIMAL.value,
        "Normal diameter proximal to the stenosis: the first choice of WASID",
    ),
    "Distal": (Segment.DISTAL.value, "Normal diameter distal to it, where the proximal segment is diseased"),
    "Feeder": (Segment.FEEDER.value, "Normal diameter of the feeding artery, where the others are diseased"),
}
HINT = (
    "Choose what to measure, then draw a line. A stenosis needs Narrowest and a normal diameter "
    "(Proximal, else Distal, else Feeder) on one view."
)
COLUMNS = ("Line", "Where", "Measured", "By hand")
TIPS = ("", "View and frame", "From the profile across the vessel", "Length of the line as drawn")
KEPT_FRAMES = 4
READ_KEY = "measure"


class MeasurePane(QWidget):
    """Lines of one session and their figures.

    Parameters
    ----------
    session : ReviewSession
    """

    def __init__(self, session: ReviewSession) -> None:
        super().__init__()
        self.session = session
        self.measured: dict[int, Measured] = {}
        self._frames: dict[tuple[str, int], NDArray[np.float32]] = {}
        self.drawings = Drawings(session, Role.MEASURE, self._words)
        self._build()
        self.drawings.changed.connect(self.measure)
        session.study_changed.connect(self._on_study)
        session.subtraction_changed.connect(lambda index: self.measure())
        self._on_study(session.study)

    def _build(self) -> None:
        grid = QGridLayout()
        grid.setSpacing(4)
        self.tools: list[QPushButton] = []
        for number, (text, (kind, tip)) in enumerate(TOOLS.items()):
            button = named(QPushButton(text), f"measure_{kind}")
            button.setToolTip(tip)
            button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
            button.clicked.connect(lambda checked=False, kind=kind: self.drawings.draw("add_line", kind))
            place = (0, 2 * number, 1, 2) if number < 2 else (1, number - 2, 1, 1)
            grid.addWidget(button, *place)
            self.tools.append(button)
        self.note = hint_label(HINT, "measure_note")
        self.stenosis = banner(kind="info", name="stenosis")
        self.table = small_table("measure_table", COLUMNS, TIPS)
        self.calibration = hint_label("", "calibration")
        self.remove_button = named(QPushButton("Remove"), "measure_remove")
        self.remove_button.clicked.connect(self.remove_chosen)
        self.export_button = named(QPushButton("Save CSV …"), "measure_export")
        self.export_button.clicked.connect(self.export)
        ends = QHBoxLayout()
        ends.addWidget(self.remove_button)
        ends.addWidget(self.export_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(grid)
        for part in (self.note, self.table, self.stenosis, self.calibration):
            column.addWidget(part)
        column.addLayout(ends)

    # -- measuring ----------------------------------------------------------------------------------------

    def measure(self) -> None:
        """Measure all lines anew; a frame that is not at hand is read off the GUI thread first."""
        study = self.session.study
        drawn = self.drawings.shapes
        self.measured = {}
        for shape in drawn if study is not None else ():
            answer = self._measure(study, shape) if study is not None else None
            if answer is not None:
                self.measured[shape.key] = answer
        self.drawings.write_words()
        self._fill_table(drawn)
        self._tell()

    def _measure(self, study: Study, shape: Drawn) -> Measured | None:
        view = study.views[shape.view_index]
        (row0, column0), (row1, column1) = shape.points[:2]
        line = Line((float(row0), float(column0)), (float(row1), float(column1)))
        if shape.kind == DISTANCE:
            found = Caliper(line, length_of(line, view.spacing))
        else:
            darkness = self._frames.get((view.pixel_hash, shape.frame))
            if darkness is None:
                self._read(study, shape)
                return None
            found = caliper(darkness, line, view.spacing)
        name = self.session.view_names[shape.view_index]
        return Measured(shape.kind, name, shape.frame + 1, found)

    def _read(self, study: Study, shape: Drawn) -> None:
        view, frame = study.views[shape.view_index], shape.frame

        def work(progress: Progress) -> NDArray[np.float32]:
            return darkness_of(view, frame)

        def keep(darkness: NDArray[np.float32]) -> None:
            self._frames[view.pixel_hash, frame] = darkness
            for key in list(self._frames)[:-KEPT_FRAMES]:
                del self._frames[key]
            self.measure()

        key = f"{READ_KEY} {view.pixel_hash} {frame}"
        if self.session.jobs.running(key) is None:
            self.session.jobs.start(
                work, title="Read the frame", on_done=keep, on_error=lambda e: say(self.note, str(e)), key=key
            )

    def _words(self, drawn: Drawn) -> str:
        known = self.measured.get(drawn.key)
        return known.words if known is not None else "…"

    # -- telling ------------------------------------------------------------------------------------------

    def _fill_table(self, drawn: list[Drawn]) -> None:
        chosen = self.table.currentRow()
        self.table.setRowCount(len(drawn))
        for row, shape in enumerate(drawn):
            known = self.measured.get(shape.key)
            view = self.session.view_names[shape.view_index]
            cells = [shape.kind, f"{view} {shape.frame + 1}", *(_figures(known) if known else ("…", ""))]
            for column, text in enumerate(cells):
                item = QTableWidgetItem(text)
                item.setData(Qt.ItemDataRole.UserRole, shape.key)
                item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEditable)
                if column == 0:
                    item.setForeground(QColor(shape.colour))
                if column == 2 and known is not None:
                    item.setToolTip(known.caliper.why_not)
                self.table.setItem(row, column, item)
        if drawn:
            self.table.setCurrentCell(min(max(chosen, 0), len(drawn) - 1), 0)
        for part in (self.table, self.remove_button, self.export_button):
            part.setVisible(bool(drawn))

    def _tell(self) -> None:
        measured = list(self.measured.values())
        told = [stenosis_words(view, stenosis) for view, stenosis in stenoses_of(measured).items()]
        say(self.stenosis, "\n".join(told))
        meant = {
            f"{one.view}: {one.caliper.by_hand.calibration or 'no pixel size known, lengths in pixels'}": None
            for one in measured
        }
        say(self.calibration, "\n".join(meant))
        why = {
            f"{one.kind}: {one.caliper.why_not}": None
            for one in measured
            if one.caliper.why_not and one.kind != DISTANCE
        }
        say(self.note, "\n".join(why) or ("" if measured else HINT))

    def remove_chosen(self) -> None:
        """Take the line of the chosen row away."""
        item = self.table.item(self.table.currentRow(), 0)
        if item is not None:
            self.drawings.remove(int(item.data(Qt.ItemDataRole.UserRole)))

    def export(self) -> None:
        """Save all measurements as CSV, without the patient."""
        study = self.session.study
        if study is not None and self.measured:
            text = measures_csv(self.measured.values(), study.image_hash, synthetic=study.synthetic)
            say(self.note, ask_and_save(self, "Save the measurements", "measurements.csv", text))

    def _on_study(self, study: Study | None) -> None:
        for button in self.tools:
            button.setEnabled(study is not None)
        self.measure()


def _figures(measured: Measured) -> tuple[str, str]:
    width = measured.caliper.width
    if measured.kind == DISTANCE:
        return "", str(measured.caliper.by_hand)
    return str(width.diameter) if width is not None else "–", str(measured.caliper.by_hand)


def stenosis_words(view: str, stenosis: Stenosis) -> str:
    """A stenosis in one sentence, the figures it rests on beside it."""
    percent = "not to be told" if stenosis.percent is None else f"{round(stenosis.percent)} %"
    others = [
        f"{round(value)} % {how}"
        for value, how in (
            (stenosis.by_profile, "profile"),
            (stenosis.by_density, "density"),
            (stenosis.by_hand, "by hand"),
        )
        if value is not None
    ]
    return (
        f"{view}: stenosis {percent} (WASID, {stenosis.method}; normal: {stenosis.reference.value}). "
        f"{', '.join(others)}."
    )
