"""One view in the Study dock: its projection to overrule, its window, its frames, times and sizes."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_clipmed.gui.study_words import size_line, subtraction_line, time_line
from napari_clipmed.gui.theme import named, view_colour, wrapped_label
from napari_clipmed.study import DisplayWindow, Projection, View


class ViewCard(QWidget):
    """What was understood of one view.

    Attributes
    ----------
    relabelled : Signal(object)
        The `Projection` that the person chose.
    window_chosen : Signal(object)
        The `DisplayWindow` that the person chose.
    """

    relabelled = Signal(object)
    window_chosen = Signal(object)

    def __init__(self, name: str, view: View) -> None:
        super().__init__()
        self._windows = window_presets(view)
        swatch = named(QLabel(name), "view_name")
        swatch.setStyleSheet(f"color: {view_colour(name)}; font-weight: 600;")
        self.projection_box = named(QComboBox(), "projection")
        self.projection_box.addItems([str(projection) for projection in Projection])
        self.projection_box.setCurrentText(str(view.projection))
        self.projection_box.setToolTip("Overrule from where this view was taken; the answers are asked anew")
        self.projection_box.activated.connect(self._on_projection)
        self.window_box = named(QComboBox(), "window")
        self.window_box.addItems([window.name for window in self._windows])
        self.window_box.setToolTip("Grey values shown from black to white")
        self.window_box.activated.connect(self._on_window)
        for box in (self.projection_box, self.window_box):
            box.setMinimumContentsLength(6)
            box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        row = QHBoxLayout()
        row.addWidget(swatch)
        row.addWidget(self.projection_box, 2)
        row.addWidget(self.window_box, 3)
        self.facts = wrapped_label("", "facts")
        self.tell(view)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 4)
        column.setSpacing(3)
        column.addLayout(row)
        column.addWidget(self.facts)

    def tell(self, view: View) -> None:
        """Say the facts of the view anew."""
        self.facts.setText("\n".join((time_line(view), size_line(view), subtraction_line(view))))

    def _on_projection(self, index: int) -> None:
        self.relabelled.emit(list(Projection)[index])

    def _on_window(self, index: int) -> None:
        self.window_chosen.emit(self._windows[index])


def window_presets(view: View) -> list[DisplayWindow]:
    """The recommended window, those of the file, and two made from it: harder and softer contrast."""
    low, high = view.window.low, view.window.high
    middle, half = (low + high) / 2, (high - low) / 2
    offered = [DisplayWindow(low, high, view.window.name or "recommended")]
    for number, window in enumerate(view.windows, start=1):
        if (window.low, window.high) != (low, high):
            offered.append(DisplayWindow(window.low, window.high, window.name or f"file window {number}"))
    return [
        *offered,
        DisplayWindow(middle - 0.6 * half, middle + 0.6 * half, "more contrast"),
        DisplayWindow(middle - 1.6 * half, middle + 1.6 * half, "less contrast"),
    ]
