"""Judging a proposed mask: threshold, opacity, accept or discard; and the sentences accepted so far."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QSizePolicy,
    QSlider,
    QVBoxLayout,
    QWidget,
)

from napari_clipmed.gui.mask_records import TITLE_LENGTH
from napari_clipmed.gui.shortcuts import keyed
from napari_clipmed.gui.theme import banner, hint_label, wrapped_label

KEY_TAKE = "Alt+M"
DEFAULT_OPACITY = 0.9


class ProposalPane(QWidget):
    """Sliders and buttons for one proposal.

    Attributes
    ----------
    threshold_changed, opacity_changed : Signal(float)
    taken, discarded : Signal()
    picking_switched : Signal(bool)
        Whether a click on the canvas leaves a piece out, or takes it in again.
    wording_switched : Signal(bool)
        Whether to show where the mask hangs on the wording.
    """

    threshold_changed = Signal(float)
    opacity_changed = Signal(float)
    taken = Signal()
    discarded = Signal()
    wording_switched = Signal(bool)
    picking_switched = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.summary = wrapped_label(name="proposal_summary")
        self.notes = hint_label("", "proposal_notes")
        self.contradiction = banner("", "warning", "proposal_contradiction")
        self.threshold_slider = self._slider("threshold", "Threshold of the mask", 1, 99, 50)
        self.opacity_slider = self._slider("mask_opacity", "Opacity of the outline", 0, 100, 90)
        self._threshold_text, self._opacity_text = QLabel("0.50"), QLabel("90 %")
        self.threshold_slider.valueChanged.connect(self._on_threshold)
        self.opacity_slider.valueChanged.connect(self._on_opacity)
        self.wording = QCheckBox("Show where other wordings disagree")
        self.wording.setObjectName("wording_overlay")
        self.wording.setToolTip(
            "The same question in several wordings: violet marks where their answers differ"
        )
        self.wording.toggled.connect(self.wording_switched)
        self.wording_note = hint_label("", "wording_note")
        self.picking = QCheckBox("Choose pieces by clicking them")
        self.picking.setObjectName("pick_pieces")
        self.picking.setToolTip("A click on a piece leaves it out (grey), another takes it in again")
        self.picking.toggled.connect(self.picking_switched)
        self.title_box = QComboBox()
        self.title_box.setObjectName("take_as")
        typed = QLineEdit()
        typed.setMaxLength(TITLE_LENGTH)
        self.title_box.setLineEdit(typed)
        self.title_box.setInsertPolicy(QComboBox.InsertPolicy.NoInsert)
        self.title_box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.title_box.setToolTip("The class that the mask becomes; type another name for a new class")
        self.take_button = QPushButton(keyed("Make editable", KEY_TAKE))
        self.take_button.setObjectName("take_mask")
        self.take_button.setToolTip("Write the mask into the labels layer; Ctrl+Z takes it back in one step")
        self.take_button.clicked.connect(self.taken)
        self.discard_button = QPushButton("Discard")
        self.discard_button.setObjectName("discard_mask")
        self.discard_button.clicked.connect(self.discarded)

        grid = QGridLayout()
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setColumnStretch(1, 1)
        rows = (
            ("Threshold", self.threshold_slider, self._threshold_text),
            ("Opacity", self.opacity_slider, self._opacity_text),
        )
        for row, (title, slider, text) in enumerate(rows):
            text.setMinimumWidth(text.fontMetrics().horizontalAdvance("100 %"))
            grid.addWidget(QLabel(title), row, 0)
            grid.addWidget(slider, row, 1)
            grid.addWidget(text, row, 2)
        grid.addWidget(QLabel("Class"), len(rows), 0)
        grid.addWidget(self.title_box, len(rows), 1, 1, 2)
        buttons = QHBoxLayout()
        buttons.addWidget(self.take_button, 1)
        buttons.addWidget(self.discard_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.summary)
        column.addWidget(self.notes)
        column.addWidget(self.contradiction)
        column.addLayout(grid)
        column.addWidget(self.picking)
        column.addWidget(self.wording)
        column.addWidget(self.wording_note)
        column.addLayout(buttons)

    @property
    def threshold(self) -> float:
        """Chosen threshold of the probability."""
        return self.threshold_slider.value() / 100.0

    @property
    def opacity(self) -> float:
        """Chosen opacity of the outline."""
        return self.opacity_slider.value() / 100.0

    @property
    def title(self) -> str:
        """The chosen class."""
        return self.title_box.currentText().strip()

    def propose(self, threshold: float, title: str, classes: Sequence[str]) -> None:
        """Start from a proposed threshold and class, without telling anybody.

        Parameters
        ----------
        classes : sequence of str
            Titles on offer beside `title`.
        """
        self.picking.setChecked(False)
        self.title_box.clear()
        self.title_box.addItems([title, *(other for other in classes if other != title)])
        line = self.title_box.lineEdit()
        if line is not None:
            line.setCursorPosition(0)
        self.threshold_slider.blockSignals(True)
        self.threshold_slider.setValue(round(100 * threshold))
        self.threshold_slider.blockSignals(False)
        self._threshold_text.setText(f"{self.threshold:.2f}")

    def _slider(self, name: str, title: str, low: int, high: int, value: int) -> QSlider:
        slider = QSlider(Qt.Orientation.Horizontal)
        slider.setObjectName(name)
        slider.setAccessibleName(title)
        slider.setRange(low, high)
        slider.setValue(value)
        return slider

    def _on_threshold(self, value: int) -> None:
        self._threshold_text.setText(f"{value / 100:.2f}")
        self.threshold_changed.emit(value / 100)

    def _on_opacity(self, value: int) -> None:
        self._opacity_text.setText(f"{value} %")
        self.opacity_changed.emit(value / 100)


class SentenceList(QListWidget):
    """Sentences with the colours that their masks have on the canvas.

    Attributes
    ----------
    picked : Signal(int)
        Label value to paint with, after a click.
    """

    picked = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("sentence_list")
        self.setAccessibleName("Sentences and their label colours")
        self.setWordWrap(True)
        self.setIconSize(QSize(14, 14))
        self.setFixedHeight(96)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.itemClicked.connect(lambda item: self.picked.emit(int(item.data(Qt.ItemDataRole.UserRole))))

    def put(self, value: int, sentence: str, colour: str) -> None:
        """Add a sentence, or mark the one that is there."""
        for row in range(self.count()):
            if self.item(row).data(Qt.ItemDataRole.UserRole) == value:
                self.setCurrentRow(row)
                return
        swatch = QPixmap(14, 14)
        swatch.fill(QColor(colour))
        item = QListWidgetItem(QIcon(swatch), f"{value}  {sentence}")
        item.setData(Qt.ItemDataRole.UserRole, value)
        item.setToolTip(f"{sentence}\nClick: paint with this label")
        self.addItem(item)
        self.setCurrentItem(item)
