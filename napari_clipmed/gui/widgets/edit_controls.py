"""The controls with which a mask is corrected; what they do is decided in `gui.edit_pane`."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_clipmed.gui.mask_records import TITLE_LENGTH
from napari_clipmed.gui.theme import SPACING, hint_label, named, wrapped_label

SINGLE, PROJECTED = "this frame only", "frames, projected"
NARROW = QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed


class EditControls(QWidget):
    """Rows of buttons and fields, 300 pixels wide.

    Attributes
    ----------
    tips : dict of QWidget to str
        What each control does, for when it is enabled.
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.tips: dict[QWidget, str] = {}
        self.where = wrapped_label(name="edit_where")
        self.class_box = self._combo("edit_class", "The class that is painted and edited")
        self.brush_button = self._button("Brush", "edit_brush", "Paint with the class in hand")
        self.erase_button = self._button("Erase", "edit_erase", "Erase with the brush")
        self.fill_button = self._button(
            "Fill", "edit_fill", "Click an area to fill it, or a piece to give it the class in hand"
        )
        self.look_button = self._button("Look", "edit_look", "Put the tool down: drag moves the picture")
        self._build_limit()
        self._build_steps()
        self._build_moving()
        self._build_span()
        self.heat_button = self._button(
            "Outline the heat map",
            "edit_heat",
            "Propose the hot part of this frame as a mask; its threshold is live, nothing is written yet",
        )
        self.note = hint_label("", "edit_note")
        self._lay_out()

    def _build_limit(self) -> None:
        self.limit = named(QCheckBox("Paint only what is"), "edit_limit")
        self.tips[self.limit] = "The brush leaves out the pixels that do not pass, while you paint"
        self.darker = self._combo(
            "edit_darker", "Vessels are dark in a subtracted run, findings bright in a film"
        )
        self.darker.addItem("darker than", True)
        self.darker.addItem("brighter than", False)
        self.level = named(QSlider(Qt.Orientation.Horizontal), "edit_level")
        self.level.setAccessibleName("Grey level of the brush")
        self.tips[self.level] = "As shown on the screen: 0 % is black, 100 % is white"
        self.level.setRange(1, 99)
        self.level.setValue(40)
        self.level_text = QLabel("40 %")
        self.level_text.setMinimumWidth(self.level_text.fontMetrics().horizontalAdvance("100 %"))
        self.limit_note = hint_label("", "edit_limit_note")
        self.limit_note.setVisible(False)

    def _build_steps(self) -> None:
        self.amount = named(QDoubleSpinBox(), "edit_amount")
        self.amount.setRange(0.1, 200.0)
        self.amount.setDecimals(1)
        self.amount.setValue(2.0)
        self.amount.setSizePolicy(*NARROW)
        self.tips[self.amount] = "How far to smooth, grow or shrink"
        self.smooth_button = self._button("Smooth", "edit_smooth", "Round the outline off")
        self.grow_button = self._button("Grow", "edit_grow", "Reach out by the distance; other classes stay")
        self.shrink_button = self._button("Shrink", "edit_shrink", "Draw back by the distance")
        self.area = named(QSpinBox(), "edit_area")
        self.area.setRange(1, 100_000)
        self.area.setValue(64)
        self.area.setSuffix(" px")
        self.area.setSizePolicy(*NARROW)
        self.tips[self.area] = "Pieces and holes of up to so many pixels count as small"
        self.small_button = self._button("Drop specks", "edit_small", "Remove pieces up to this size")
        self.holes_button = self._button("Fill holes", "edit_holes", "Fill holes up to this size")
        self.largest_button = self._button(
            "Keep largest", "edit_largest", "Remove every piece but the largest"
        )
        self.split_button = self._button(
            "Split pieces", "edit_split", "A class for each piece; the largest keeps its class"
        )

    def _build_moving(self) -> None:
        self.target = self._combo("edit_target", "A class, or type the name of a new one")
        typed = QLineEdit()
        typed.setPlaceholderText("a class, or a new name")
        typed.setMaxLength(TITLE_LENGTH)
        self.target.setLineEdit(typed)
        self.target.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.move_button = self._button(
            "All of it",
            "edit_move",
            "Give all of the class in hand on this frame to that class: rename or merge",
        )
        self.piece_button = self._button("A piece …", "edit_piece", "Then click the piece to be moved")
        self.piece_button.setCheckable(True)

    def _build_span(self) -> None:
        self.span_box = self._combo("edit_span", "What this mask stands for; saved with it")
        self.span_box.addItem(SINGLE, False)
        self.span_box.addItem(PROJECTED, True)
        self.first, self.last = (named(QSpinBox(), name) for name in ("edit_first", "edit_last"))
        for box in (self.first, self.last):
            box.setMinimum(1)
            box.setSizePolicy(*NARROW)
            self.tips[box] = "Frames that the mask is copied to or projected over"
        self.copy_button = self._button(
            "Copy to these frames", "edit_copy", "The class in hand becomes the same on each of these frames"
        )

    def _lay_out(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACING // 2)
        column.addWidget(self.where)
        column.addLayout(_row(QLabel("Class"), (self.class_box, 1)))
        tools = (self.brush_button, self.erase_button, self.fill_button, self.look_button)
        column.addLayout(_row(*((button, 1) for button in tools)))
        column.addLayout(_row(self.limit, (self.darker, 1)))
        column.addLayout(_row((self.level, 1), self.level_text))
        column.addWidget(self.limit_note)
        grid = QGridLayout()
        grid.setSpacing(SPACING // 2)
        rows: tuple[tuple[tuple[QWidget, int], ...], ...] = (
            ((self.amount, 4), (self.smooth_button, 3), (self.grow_button, 2), (self.shrink_button, 3)),
            ((self.area, 4), (self.small_button, 4), (self.holes_button, 4)),
            ((self.largest_button, 6), (self.split_button, 6)),
        )
        for number, row in enumerate(rows):
            place = 0
            for part, width in row:
                grid.addWidget(part, number, place, 1, width)
                place += width
        for place in range(12):
            grid.setColumnStretch(place, 1)
        column.addLayout(grid)
        column.addLayout(_row(QLabel("Move to"), (self.target, 1)))
        column.addLayout(_row((self.move_button, 1), (self.piece_button, 1)))
        self.span_row = QWidget()
        span = QVBoxLayout(self.span_row)
        span.setContentsMargins(0, 0, 0, 0)
        span.setSpacing(SPACING // 2)
        span.addLayout(_row(QLabel("Mask of"), (self.span_box, 1)))
        span.addLayout(_row(QLabel("Frames"), (self.first, 1), QLabel("to"), (self.last, 1)))
        span.addWidget(self.copy_button)
        column.addWidget(self.span_row)
        column.addWidget(self.heat_button)
        column.addWidget(self.note)

    def _button(self, text: str, name: str, tip: str) -> QPushButton:
        button = named(QPushButton(text), name)
        button.setSizePolicy(*NARROW)
        self.tips[button] = tip
        return button

    def _combo(self, name: str, tip: str) -> QComboBox:
        box = named(QComboBox(), name)
        box.setAccessibleName(tip)
        box.setSizePolicy(*NARROW)
        box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.tips[box] = tip
        return box

    def allow(self, part: QWidget, why_not: str) -> None:
        """Enable a control, or disable it and say why in its tooltip."""
        part.setEnabled(not why_not)
        part.setToolTip(why_not or self.tips[part])


def quietly(widget: QWidget, change: Callable[[], object]) -> None:
    """Change a control without anybody being told."""
    before = widget.blockSignals(True)
    change()
    widget.blockSignals(before)


def _row(*parts: QWidget | tuple[QWidget, int]) -> QHBoxLayout:
    """Widgets beside one another, each perhaps with its share of the free width."""
    row = QHBoxLayout()
    row.setSpacing(SPACING // 2)
    for part in parts:
        widget, share = part if isinstance(part, tuple) else (part, 0)
        row.addWidget(widget, share)
    return row
