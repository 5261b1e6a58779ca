"""One line of "How it was read": a conclusion, its reason, and a small control to overrule it."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QHBoxLayout,
    QMenu,
    QPushButton,
    QToolButton,
    QWidget,
    QWidgetAction,
)

from napari_clipmed.gui.theme import SPACING, hint_label, named, wrapped_label

OVERRULE = "Overrule …"
AS_READ = "As read again"


class OverruleRow(QWidget):
    """A conclusion and its menu.

    Parameters
    ----------
    text : str
        What was concluded, and why.
    name : str
        Object name of the row.
    set_by_hand : bool
        Whether a reader said so; the text is then bright and the way back open.

    Attributes
    ----------
    chosen : Signal(object)
        The value that the person chose.
    taken_back : Signal()
        What was read shall hold again.
    """

    chosen = Signal(object)
    taken_back = Signal()

    def __init__(self, text: str, name: str, set_by_hand: bool) -> None:
        super().__init__()
        self.setObjectName(name)
        self.label = wrapped_label(text, "conclusion") if set_by_hand else hint_label(text, "conclusion")
        self.button = named(QToolButton(), "overrule")
        self.button.setText(OVERRULE)
        self.button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.button.setStyleSheet("QToolButton::menu-indicator { image: none; width: 0; }")
        self.button.setToolTip("Put this right; it is remembered for this study")
        self.menu = QMenu(self.button)
        self.button.setMenu(self.menu)
        self.back = named(QToolButton(), "as_read")
        self.back.setText("↺")
        self.back.setToolTip(AS_READ)
        self.back.setAccessibleName(AS_READ)
        self.back.setVisible(set_by_hand)
        self.back.clicked.connect(self.taken_back)
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.setSpacing(SPACING // 2)
        row.addWidget(self.label, 1)
        for part in (self.back, self.button):
            row.addWidget(part, 0, Qt.AlignmentFlag.AlignTop)

    def offer(self, choices: Mapping[str, Any], present: Any = None) -> OverruleRow:
        """Put choices into the menu: words and values; the present one is ticked."""
        for words, value in choices.items():
            action = self.menu.addAction(words, partial(self.chosen.emit, value))
            action.setCheckable(True)
            action.setChecked(value == present)
        return self

    def offer_number(self, editor: NumberEditor) -> OverruleRow:
        """Put a number to type into the menu."""
        action = QWidgetAction(self.menu)
        action.setDefaultWidget(editor)
        editor.typed.connect(self._on_typed)
        self.menu.addAction(action)
        return self

    def _on_typed(self, value: float) -> None:
        self.menu.close()
        self.chosen.emit(value)


class NumberEditor(QWidget):
    """A number with a choice of units.

    Parameters
    ----------
    value : float
        In the first unit.
    units : mapping of str to bool
        Name of each unit, and whether it is the first one's thousandth turned over (frames a second for ms).

    Attributes
    ----------
    typed : Signal(float)
        The number in the first unit.
    """

    typed = Signal(float)

    def __init__(self, value: float, units: Mapping[str, bool], decimals: int = 1) -> None:
        super().__init__()
        self._inverse = list(units.values())
        self.number = named(QDoubleSpinBox(), "number")
        self.number.setDecimals(decimals)
        self.number.setRange(10.0**-decimals, 100_000)
        self.number.setValue(value)
        self.unit = named(QComboBox(), "unit")
        self.unit.addItems(list(units))
        self.unit.setVisible(len(units) > 1)
        self.unit.activated.connect(self._on_unit)
        self._shown_unit = 0
        self.set_button = named(QPushButton("Set"), "set")
        self.set_button.clicked.connect(
            lambda: self.typed.emit(self._in_first_unit(self.unit.currentIndex()))
        )
        row = QHBoxLayout(self)
        row.setContentsMargins(SPACING, SPACING // 2, SPACING, SPACING // 2)
        for part in (self.number, self.unit, self.set_button):
            row.addWidget(part)
        if len(units) == 1:
            self.number.setSuffix(f" {next(iter(units))}")

    def _in_first_unit(self, unit: int) -> float:
        return 1000.0 / self.number.value() if self._inverse[unit] else self.number.value()

    def _on_unit(self, unit: int) -> None:
        if self._inverse[unit] != self._inverse[self._shown_unit]:
            self.number.setValue(1000.0 / self.number.value())
        self._shown_unit = unit
