"""Probabilities as bars: one row a class, combined on top, each view below it; a click chooses the class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from qtpy.QtCore import QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPaintEvent, QPalette, QPen
from qtpy.QtWidgets import QAbstractButton, QButtonGroup, QSizePolicy, QVBoxLayout, QWidget

from napari_clipmed.gui.theme import OKABE_ITO, TEXT_QUIET, view_colour
from napari_clipmed.inference.results import BOTH, Diagnosis

_PAD = 6
_BAR = 8
_THIN = 5


@dataclass(frozen=True)
class ClassRow:
    """What one row shows: a class, its number in [0, 1], that of each view, and what a click does."""

    label: str
    title: str
    combined: float
    by_view: Mapping[str, float] = field(default_factory=dict)
    tip: str = "Click: show where the model looks for this class."


class ClassBar(QAbstractButton):
    """One class; a checkable button, so that mouse, keyboard and screen reader all reach it."""

    def __init__(self, row: ClassRow, leading: bool, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.row = row
        self._leading = leading
        self.setObjectName(f"class_{row.label}")
        self.setCheckable(True)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        views = ", ".join(f"{name} {value:.2f}" for name, value in row.by_view.items())
        self.setAccessibleName(f"{row.title} {row.combined:.2f}" + (f" ({views})" if views else ""))
        self.setToolTip(f"{self.accessibleName()}\n{row.tip}")

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Tall enough for title, bar and, with two views, their line."""
        line = self._metrics().height()
        small = self._metrics(small=True).height() + 2 if self.row.by_view else 0
        return QSize(220, round(_PAD + line + 2 + _BAR + small + _PAD))

    def _font(self, small: bool = False) -> QFont:
        font = QFont(self.font())
        if small:
            font.setPointSizeF(max(7.0, font.pointSizeF() * 0.82))
        elif self._leading:
            font.setBold(True)
        return font

    def _metrics(self, small: bool = False) -> QFontMetricsF:
        return QFontMetricsF(self._font(small))

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw the row."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        area = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        self._paint_ground(painter, area)
        area = area.adjusted(_PAD, _PAD - 1, -_PAD, -_PAD)
        line = self._metrics().height()
        self._paint_title(painter, QRectF(area.left(), area.top(), area.width(), line))
        bar = QRectF(area.left(), area.top() + line + 2, area.width(), _BAR)
        colour = QColor(OKABE_ITO["green"] if self._leading else OKABE_ITO["grey"])
        _paint_bar(painter, bar, self.row.combined, colour)
        if self.row.by_view:
            small = self._metrics(small=True).height()
            self._paint_views(painter, QRectF(area.left(), bar.bottom() + 2, area.width(), small))

    def _paint_ground(self, painter: QPainter, area: QRectF) -> None:
        chosen, near = self.isChecked(), self.underMouse() or self.hasFocus()
        if chosen or near:
            ground = QColor(OKABE_ITO["sky"])
            ground.setAlpha(48 if chosen else 22)
            painter.setPen(QPen(QColor(OKABE_ITO["sky"]), 1) if chosen else Qt.PenStyle.NoPen)
            painter.setBrush(ground)
            painter.drawRoundedRect(area, 4, 4)

    def _paint_title(self, painter: QPainter, area: QRectF) -> None:
        painter.setFont(self._font())
        painter.setPen(self.palette().color(QPalette.ColorRole.WindowText))
        number = f"{self.row.combined:.2f}"
        room = self._metrics().horizontalAdvance(number) + _PAD
        title = self._metrics().elidedText(self.row.title, Qt.TextElideMode.ElideRight, area.width() - room)
        painter.drawText(area, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), title)
        painter.drawText(area, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter), number)

    def _paint_views(self, painter: QPainter, area: QRectF) -> None:
        painter.setFont(self._font(small=True))
        metrics = self._metrics(small=True)
        width = (area.width() - 12 * (len(self.row.by_view) - 1)) / len(self.row.by_view)
        left = area.left()
        number_room = metrics.horizontalAdvance("0.00") + 4
        for name, value in self.row.by_view.items():
            cell = QRectF(left, area.top(), width, area.height())
            name_room = metrics.horizontalAdvance(name) + 4
            painter.setPen(QColor(TEXT_QUIET))
            painter.drawText(cell, int(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter), name)
            painter.drawText(
                cell, int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter), f"{value:.2f}"
            )
            bar = cell.adjusted(name_room, (cell.height() - _THIN) / 2, -number_room, 0)
            bar.setHeight(_THIN)
            _paint_bar(painter, bar, value, QColor(view_colour(name)))
            left += width + 12


class ClassBars(QWidget):
    """All classes of an answer, most probable first.

    Attributes
    ----------
    chosen : Signal(str)
        A person chose another class (its key).
    """

    chosen = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("class_bars")
        self._bars: dict[str, ClassBar] = {}
        self._group = QButtonGroup(self)
        self._group.buttonClicked.connect(self._on_clicked)
        self._column = QVBoxLayout(self)
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(1)

    def show_diagnosis(self, diagnosis: Diagnosis | None) -> None:
        """Show an answer, or nothing; the most probable class is chosen."""
        if diagnosis is None:
            self.show_rows(())
            return
        leading = diagnosis.predicted if diagnosis.certainty.certain else ""
        self.show_rows(class_rows(diagnosis), leading)
        self.choose(diagnosis.predicted)

    def show_rows(self, rows: Iterable[ClassRow], leading: str = "") -> None:
        """Show rows in their order, one of them as the answer; none is chosen."""
        for bar in self._bars.values():
            self._group.removeButton(bar)
            self._column.removeWidget(bar)
            bar.deleteLater()
        self._bars = {}
        for row in rows:
            bar = ClassBar(row, leading=row.label == leading)
            self._bars[row.label] = bar
            self._group.addButton(bar)
            self._column.addWidget(bar)

    def bar(self, label: str) -> ClassBar:
        """The row of a class."""
        return self._bars[label]

    @property
    def choice(self) -> str:
        """Key of the chosen class; empty when nothing is shown."""
        button = self._group.checkedButton()
        return button.row.label if isinstance(button, ClassBar) else ""

    def choose(self, label: str) -> None:
        """Mark a class without telling anybody."""
        if label in self._bars:
            self._bars[label].setChecked(True)

    def _on_clicked(self, bar: QAbstractButton) -> None:
        if isinstance(bar, ClassBar):
            self.chosen.emit(bar.row.label)


def class_rows(diagnosis: Diagnosis) -> list[ClassRow]:
    """Rows of an answer, most probable class first; views are shown apart where there are two."""
    views = {name: p for name, p in diagnosis.probabilities.items() if name != BOTH}
    titles = dict(zip(diagnosis.labels, diagnosis.titles, strict=True))
    ranked = sorted(diagnosis.labels, key=lambda label: -diagnosis.combined[label])
    return [
        ClassRow(
            label,
            titles[label],
            diagnosis.combined[label],
            {name: p[label] for name, p in views.items()} if len(views) > 1 else {},
        )
        for label in ranked
    ]


def _paint_bar(painter: QPainter, area: QRectF, value: float, colour: QColor) -> None:
    """A filled share of a dim track; a sliver stays visible for the smallest value."""
    track = QColor(128, 128, 128, 60)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(track)
    radius = min(2.0, area.height() / 2)
    painter.drawRoundedRect(area, radius, radius)
    painter.setBrush(colour)
    filled = QRectF(area)
    filled.setWidth(max(1.5, area.width() * min(max(value, 0.0), 1.0)))
    painter.drawRoundedRect(filled, radius, radius)
