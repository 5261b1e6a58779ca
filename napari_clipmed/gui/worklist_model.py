"""The lines of the worklist as a Qt table: ordered and filtered by index, painted only where seen."""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QAbstractTableModel, QModelIndex, QObject, QPersistentModelIndex, Qt, QTimer, Signal
from qtpy.QtGui import QBrush, QColor, QFont, QImage, QPixmap

from napari_clipmed.gui.theme import TEXT_QUIET, TEXT_WARN
from napari_clipmed.inference.certainty import UNCERTAIN
from napari_clipmed.worklist.lines import Line, Status, Wanted
from napari_clipmed.worklist.words import Order

Index = QModelIndex | QPersistentModelIndex

CASE, READER, MODEL = range(3)
HEADINGS = ("Case", "Reader", "Model")
HEADING_TIPS = (
    "Where it lies below what was added, and where it stands",
    "The label that holds, and whose it is",
    "The model's most probable class; below it what the list is ordered by",
)
PICTURES = 400
"""Thumbnails kept in memory; each takes 16 KiB."""

PICTURE_SIDE = 44
CURRENT = QBrush(QColor("#24425A"))
QUIET, WARN = QBrush(QColor(TEXT_QUIET)), QBrush(QColor(TEXT_WARN))
SIMULATED = " · SIMULATED"
SIMULATED_LINE = "\nSIMULATED"
SCORE_WORDS = {Order.UNCERTAINTY: "unsure", Order.VIEWS: "views differ", Order.READER: "reader differs"}


class WorklistModel(QAbstractTableModel):
    """The worklist; all methods belong to the GUI thread.

    Attributes
    ----------
    pictures_asked : Signal(object)
        Lines that were painted without their thumbnail.
    titles : dict of str to str
        Names of labels for people, by key.
    """

    pictures_asked = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.titles: dict[str, str] = {}
        self.order = Order.ADDED
        self._lines: list[Line] = []
        self._ranked: NDArray[np.int64] = np.zeros(0, np.int64)
        self._scores: NDArray[np.float64] = np.zeros(0)
        self._shown: list[int] = []
        self._rows: dict[str, int] = {}
        self._places: dict[str, int] = {}
        self._wanted = Wanted()
        self._current = ""
        self._pictures: OrderedDict[str, QPixmap] = OrderedDict()
        self._asked: dict[str, Line] = {}
        self._states: Counter[Status] = Counter()
        self._bold = QFont()
        self._bold.setBold(True)
        self._blank = QPixmap(PICTURE_SIDE, PICTURE_SIDE)
        self._blank.fill(QColor("#1B1F24"))

    # -- what is in it ------------------------------------------------------------------------------------

    @property
    def lines(self) -> Sequence[Line]:
        """All lines, in the order in which they were added."""
        return self._lines

    @property
    def shown(self) -> list[Line]:
        """The lines that pass the filter, as they are ordered."""
        return [self._lines[place] for place in self._shown]

    @property
    def progress(self) -> tuple[int, int]:
        """How many are reviewed, of how many that can be."""
        problems = self._states[Status.PROBLEM]
        left = self._states[Status.TO_REVIEW]
        return len(self._lines) - problems - left, len(self._lines) - problems

    def set_lines(
        self, lines: Sequence[Line], order: Order, ranked: NDArray[np.int64], scores: NDArray[np.float64]
    ) -> None:
        """Show other lines.

        Parameters
        ----------
        lines : sequence of Line
            In the order in which they were added.
        order : Order
        ranked : int array
            Positions in `lines`, as they are to be shown.
        scores : float array
            What each line was ordered by; NaN for nothing.
        """
        self.beginResetModel()
        self._lines, self.order, self._ranked, self._scores = list(lines), order, ranked, scores
        self._places = {line.listed.key: place for place, line in enumerate(self._lines)}
        self._states = Counter(line.status for line in self._lines)
        self._filter()
        self.endResetModel()

    def show_only(self, wanted: Wanted) -> None:
        """Filter anew; until then a line stays even when it no longer fits, so that nothing jumps."""
        self.beginResetModel()
        self._wanted = wanted
        self._filter()
        self.endResetModel()

    def _filter(self) -> None:
        passes, lines = self._wanted.passes, self._lines
        self._shown = [int(place) for place in self._ranked if passes(lines[place])]
        self._rows = {lines[place].listed.key: row for row, place in enumerate(self._shown)}

    def line(self, key: str) -> Line | None:
        """The line of an entry, shown or not."""
        place = self._places.get(key)
        return None if place is None else self._lines[place]

    def line_at(self, row: int) -> Line:
        """The line that is shown in a row."""
        return self._lines[self._shown[row]]

    def row_of(self, key: str) -> int | None:
        """The row of an entry; None where it is not shown."""
        return self._rows.get(key)

    def change(self, key: str, change: Callable[[Line], Line]) -> None:
        """Put another line in the place of an entry's; it stays in its row."""
        place = self._places.get(key)
        if place is None:
            return
        before, after = self._lines[place], change(self._lines[place])
        self._lines[place] = after
        self._states[before.status] -= 1
        self._states[after.status] += 1
        self._repaint(key)

    def mark(self, key: str) -> None:
        """Say which entry is open."""
        before, self._current = self._current, key
        self._repaint(before)
        self._repaint(key)

    def set_picture(self, name: str, picture: NDArray[np.uint8]) -> None:
        """Show a thumbnail from now on."""
        height, width = picture.shape
        image = QImage(
            np.ascontiguousarray(picture).tobytes(), width, height, width, QImage.Format.Format_Grayscale8
        )
        self._pictures[name] = QPixmap.fromImage(image.copy()).scaled(
            PICTURE_SIDE, PICTURE_SIDE, mode=Qt.TransformationMode.SmoothTransformation
        )
        while len(self._pictures) > PICTURES:
            self._pictures.popitem(last=False)
        if self._shown:
            last = self.index(len(self._shown) - 1, CASE)
            self.dataChanged.emit(self.index(0, CASE), last, [Qt.ItemDataRole.DecorationRole])

    def picture(self, line: Line) -> QPixmap:
        """The thumbnail of a line; a blank one, and a question for it, where it is not there yet."""
        found = self._pictures.get(line.thumbnail)
        if found is not None:
            self._pictures.move_to_end(line.thumbnail)
            return found
        if not self._asked:
            QTimer.singleShot(0, self._ask)
        self._asked[line.thumbnail] = line
        return self._blank

    def _ask(self) -> None:
        asked, self._asked = list(self._asked.values()), {}
        self.pictures_asked.emit(asked)

    def _repaint(self, key: str) -> None:
        row = self._rows.get(key)
        if row is not None:
            self.dataChanged.emit(self.index(row, 0), self.index(row, len(HEADINGS) - 1))

    # -- Qt's questions -----------------------------------------------------------------------------------

    def rowCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's name and default
        """Number of lines shown."""
        return 0 if parent.isValid() else len(self._shown)

    def columnCount(self, parent: Index = QModelIndex()) -> int:  # noqa: N802, B008 - Qt's name and default
        """Case, reader, model."""
        return 0 if parent.isValid() else len(HEADINGS)

    def headerData(  # noqa: N802 - Qt's name
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Headings."""
        if orientation is Qt.Orientation.Horizontal and role == Qt.ItemDataRole.DisplayRole:
            return HEADINGS[section]
        if orientation is Qt.Orientation.Horizontal and role == Qt.ItemDataRole.ToolTipRole:
            return HEADING_TIPS[section]
        return None

    def data(self, index: Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """What one cell shows."""
        line = self.line_at(index.row())
        if role == Qt.ItemDataRole.DisplayRole:
            return self._words(line, index)
        if role == Qt.ItemDataRole.DecorationRole:
            return self.picture(line) if index.column() == CASE else None
        if role == Qt.ItemDataRole.ForegroundRole:
            waits = line.status in (Status.PROBLEM, Status.DISPUTED)
            return WARN if waits else QUIET if line.status is not Status.TO_REVIEW else None
        if role == Qt.ItemDataRole.BackgroundRole:
            return CURRENT if line.listed.key == self._current else None
        if role == Qt.ItemDataRole.FontRole:
            return self._bold if line.listed.key == self._current and index.column() == CASE else None
        return self.tip(line) if role == Qt.ItemDataRole.ToolTipRole else None

    def _words(self, line: Line, index: Index) -> str:
        if index.column() == CASE:
            return f"{line.listed.short}\n{line.status}{SIMULATED_LINE if line.listed.synthetic else ''}"
        if index.column() == READER:
            return f"{line.label.label or '–'}\n{line.label.author}" if line.label is not None else "–"
        if line.answer is None:
            return "–"
        certainty, why = line.certainty(), self._why(index.row())
        if certainty is None:
            return f"–\n{why}"
        if certainty.certain:
            return f"{certainty.headline()} {line.confidence or 0:.2f}\n{why}"
        return f"{UNCERTAIN}\n{why or ', '.join(certainty.candidates)}"

    def _why(self, row: int) -> str:
        words, score = SCORE_WORDS.get(self.order), self._scores[self._shown[row]]
        return "" if words is None or np.isnan(score) else f"{words} {score:.2f}"

    def tip(self, line: Line) -> str:
        """Everything about a line in a few lines of text."""
        said = [line.listed.title, f"In {line.listed.root}", f"Status: {line.status}"]
        if line.problem:
            said.append(line.problem)
        if line.label is not None:
            title = self.titles.get(line.label.label or "", line.label.label or "no label")
            by = f" by {line.label.author}" if line.label.author else ""
            said.append(f"Reader: {title}, {line.label.verdict}{by}")
        certainty = line.certainty(self.titles)
        if line.answer is not None and certainty is not None:
            sure = f" {line.confidence or 0:.2f}" if certainty.certain else ""
            said.append(f"Model: {certainty.headline(self.titles)}{sure} ({line.answer.model_id})")
            said += certainty.reasons
        return "\n".join(said)
