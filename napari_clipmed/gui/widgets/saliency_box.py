"""Where and when the model looks: method, overlay, opacity, and the curves over time."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_clipmed.gui.shortcuts import keyed
from napari_clipmed.gui.theme import wrapped_label
from napari_clipmed.gui.widgets.attention_plot import AttentionPlot

KEY_OVERLAY = "Alt+G"
DEFAULT_OPACITY = 0.7


class SaliencyBox(QWidget):
    """Controls of the overlay above the attention plot.

    Attributes
    ----------
    method_chosen : Signal(str)
    overlay_switched : Signal(bool)
    opacity_changed : Signal(float)
        In [0, 1].
    outline_asked : Signal
        The hot region of the shown frames is wanted as an editable mask.
    """

    method_chosen = Signal(str)
    overlay_switched = Signal(bool)
    opacity_changed = Signal(float)
    outline_asked = Signal()

    def __init__(self, methods: Mapping[str, str], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.caption = wrapped_label(name="saliency_caption")
        self.overlay = QCheckBox(keyed("Overlay", KEY_OVERLAY))
        self.overlay.setObjectName("overlay")
        self.overlay.setChecked(True)
        self.overlay.toggled.connect(self.overlay_switched)
        self.methods = QComboBox()
        self.methods.setObjectName("cam_method")
        self.methods.setAccessibleName("Method of the activation map")
        self.methods.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.methods.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.methods.setMinimumContentsLength(8)
        for key, title in methods.items():
            self.methods.addItem(title, key)
        self.methods.activated.connect(lambda index: self.method_chosen.emit(self.method))
        self.opacity_slider = QSlider(Qt.Orientation.Horizontal)
        self.opacity_slider.setObjectName("cam_opacity")
        self.opacity_slider.setAccessibleName("Opacity of the overlay")
        self.opacity_slider.setRange(0, 100)
        self.opacity_slider.setValue(round(100 * DEFAULT_OPACITY))
        self.opacity_slider.valueChanged.connect(self._on_opacity)
        self._percent = QLabel(f"{self.opacity_slider.value()} %")
        self._percent.setMinimumWidth(self._percent.fontMetrics().horizontalAdvance("100 %"))
        self.outline_button = QPushButton("Outline as mask")
        self.outline_button.setObjectName("outline")
        self.outline_button.setToolTip(
            "Turn the hot region of the frames now shown into an editable mask (Ctrl+Z takes it back)"
        )
        self.outline_button.clicked.connect(lambda: self.outline_asked.emit())
        self.plot = AttentionPlot()

        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.addWidget(self.overlay, 0, 0)
        grid.addWidget(self.methods, 0, 1, 1, 2)
        grid.addWidget(QLabel("Opacity"), 1, 0)
        grid.addWidget(self.opacity_slider, 1, 1)
        grid.addWidget(self._percent, 1, 2)
        grid.addWidget(self.outline_button, 2, 1, 1, 2)
        grid.setColumnStretch(1, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.caption)
        column.addLayout(grid)
        column.addWidget(self.plot)

    @property
    def method(self) -> str:
        """Key of the chosen method."""
        return str(self.methods.currentData())

    @property
    def opacity(self) -> float:
        """Chosen opacity in [0, 1]."""
        return self.opacity_slider.value() / 100.0

    @property
    def overlay_on(self) -> bool:
        """Whether the overlay is to be seen."""
        return self.overlay.isChecked()

    def _on_opacity(self, value: int) -> None:
        self._percent.setText(f"{value} %")
        self.opacity_changed.emit(value / 100.0)
