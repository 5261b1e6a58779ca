"""One view in the Study dock: its projection to overrule, its window, its frames, times and sizes."""

from __future__ import annotations

from collections.abc import Callable

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from napari_clipmed.gui.grey_scale import GreyScale, window_presets
from napari_clipmed.gui.study_words import size_line, subtraction_line, time_line
from napari_clipmed.gui.theme import SPACING, named, view_colour, wrapped_label
from napari_clipmed.study import DisplayWindow, Projection, View

RESET_TIP = "Back to the window of the file, each frame its own where the file has one a frame; not inverted"


class ViewCard(QWidget):
    """What was understood of one view.

    Parameters
    ----------
    name : str
        Of the view.
    view : View
        What is told.
    index : int
        Which view of the study it is.
    grey : GreyScale
        Window and inversion of the study.

    Attributes
    ----------
    relabelled : Signal(object)
        The `Projection` that the person chose.
    """

    relabelled = Signal(object)

    def __init__(self, name: str, view: View, index: int, grey: GreyScale) -> None:
        super().__init__()
        self._view, self._index, self._grey = view, index, grey
        self._windows: list[DisplayWindow] = []
        swatch = named(QLabel(name), "view_name")
        swatch.setStyleSheet(f"color: {view_colour(name)}; font-weight: 600;")
        self.projection_box = _combo(
            "projection", "From where this view was taken; the answers are asked anew"
        )
        self.projection_box.addItems([str(projection) for projection in Projection])
        self.projection_box.setCurrentText(str(view.projection))
        self.projection_box.activated.connect(self._on_projection)
        self.window_box = _combo("window", "Grey values shown from black to white")
        self.window_box.activated.connect(self._on_window)
        self.auto_button = _button("Auto", "auto", "The window that suits the frame on screen", self._on_auto)
        self.invert_button = _button("Invert", "invert", "Show dark as bright", self._on_invert)
        self.invert_button.setCheckable(True)
        self.reset_button = _button("Reset", "reset", RESET_TIP, lambda: grey.reset(index))
        head, look = QHBoxLayout(), QHBoxLayout()
        look.setSpacing(SPACING // 2)
        head.addWidget(swatch)
        head.addWidget(self.projection_box, 1)
        look.addWidget(self.window_box, 1)
        for button in (self.auto_button, self.invert_button, self.reset_button):
            look.addWidget(button)
        self.facts = wrapped_label("", "facts")
        self.tell(view)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 4, 0, 4)
        column.setSpacing(3)
        column.addLayout(head)
        column.addLayout(look)
        column.addWidget(self.facts)
        self.show_grey()

    def tell(self, view: View) -> None:
        """Say the facts of the view anew."""
        self._view = view
        self.facts.setText("\n".join((time_line(view), size_line(view), subtraction_line(view))))

    def show_grey(self, native: bool = False) -> None:
        """Tell the window and the inversion that hold now.

        Parameters
        ----------
        native : bool
            Whether the unsubtracted frames are on the canvas.
        """
        shown = self._grey.window(self._index)
        self._windows = window_presets(self._view, native and self._view.native is not None)
        names = [window.name for window in self._windows]
        if shown.name not in names:
            self._windows.append(shown)
            names.append(shown.name)
        self.window_box.clear()
        self.window_box.addItems(names)
        self.window_box.setCurrentText(shown.name)
        self.window_box.setToolTip(f"Grey values from {shown.low:.6g} (black) to {shown.high:.6g} (white)")
        self.invert_button.setChecked(self._grey.inverted(self._index))

    def _on_projection(self, index: int) -> None:
        self.relabelled.emit(list(Projection)[index])

    def _on_window(self, index: int) -> None:
        self._grey.choose(self._index, self._windows[index])

    def _on_auto(self) -> None:
        self._grey.adjust(self._index)

    def _on_invert(self) -> None:
        self._grey.invert(self._index, self.invert_button.isChecked())


def _combo(name: str, tip: str) -> QComboBox:
    box = named(QComboBox(), name)
    box.setToolTip(tip)
    box.setMinimumContentsLength(6)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    return box


def _button(text: str, name: str, tip: str, action: Callable[[], object]) -> QPushButton:
    button = named(QPushButton(text), name)
    button.setToolTip(tip)
    button.clicked.connect(lambda: action())
    return button
