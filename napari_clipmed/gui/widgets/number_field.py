"""A number to type, narrower than a spin box."""

from __future__ import annotations

from qtpy.QtCore import QLocale, Signal
from qtpy.QtGui import QDoubleValidator
from qtpy.QtWidgets import QLineEdit, QSizePolicy

from napari_clipmed.gui.theme import named

LARGEST = 1e6


class NumberField(QLineEdit):
    """A number from 0 on with two decimals.

    Attributes
    ----------
    typed : Signal(float)
        The person typed another number.
    """

    typed = Signal(float)

    def __init__(self, name: str, tip: str) -> None:
        super().__init__()
        named(self, name)
        self.setToolTip(tip)
        validator = QDoubleValidator(0.0, LARGEST, 2, self)
        validator.setLocale(QLocale.c())
        self.setValidator(validator)
        self.setMinimumWidth(48)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.editingFinished.connect(self._on_typed)
        self._told = 0.0

    @property
    def value(self) -> float:
        """The number."""
        return float(self.text() or 0)

    def set_value(self, value: float) -> None:
        """Write a number; nothing is told."""
        self._told = round(value, 2)
        self.setText(f"{value:.2f}")

    def _on_typed(self) -> None:
        if self.value != self._told:
            self._told = self.value
            self.typed.emit(self.value)
