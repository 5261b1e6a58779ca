"""Asking for a mask: preset, sentence, whose left is meant, and what the model will read."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QRadioButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_clipmed.gui.shortcuts import keyed
from napari_clipmed.gui.theme import hint_label
from napari_clipmed.gui.widgets.prompt_box import PromptBox

KEY_PROMPT, KEY_RUN = "Ctrl+L", "Ctrl+Enter"
PAUSE_MS = 250
"""After this pause in typing the sentence is read anew."""

CONVENTIONS = {"picture": "Left of the picture", "patient": "Patient's left"}


class PromptPane(QWidget):
    """The upper half of the Segment dock.

    Attributes
    ----------
    asked : Signal(str, str)
        Prompt and convention to run now.
    edited : Signal(str, str)
        Prompt and convention after a pause in typing.
    live_switched : Signal(bool)
        Whether the outline should follow the typing.
    """

    asked = Signal(str, str)
    edited = Signal(str, str)
    live_switched = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.presets = QComboBox()
        self.presets.setObjectName("presets")
        self.presets.setAccessibleName("Preset sentences")
        self.presets.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.presets.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.presets.setMinimumContentsLength(10)
        self.presets.addItem("Choose a preset …", "")
        self.presets.activated.connect(self._on_preset)
        self.box = PromptBox()
        self.box.setPlaceholderText("Describe where to look, for example: lower left lung")
        self.box.setToolTip(
            f"{KEY_PROMPT} comes here, {KEY_RUN} runs; Up and Down bring back what was run before"
        )
        self.box.submitted.connect(self._ask)
        self.box.textChanged.connect(self._on_edited)
        self.run_button = QPushButton(keyed("Find", KEY_RUN))
        self.run_button.setObjectName("run_prompt")
        self.run_button.clicked.connect(self._ask)
        self.reading = hint_label("", "reading")
        self.live = QCheckBox("Outline while typing")
        self.live.setObjectName("live_outline")
        self.live.setToolTip("Show what the sentence describes after each pause; nothing is kept of it")
        self.live.setChecked(True)
        self.live.toggled.connect(self.live_switched)
        self._sides = QButtonGroup(self)
        sides = QHBoxLayout()
        for key, title in CONVENTIONS.items():
            button = QRadioButton(title)
            button.setObjectName(f"side_{key}")
            button.setProperty("convention", key)
            self._sides.addButton(button)
            sides.addWidget(button)
        sides.addStretch(1)
        self._sides.buttonClicked.connect(self._on_edited)
        self.set_convention("picture")

        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.presets)
        column.addWidget(QLabel(keyed("Sentence", KEY_PROMPT)))
        column.addWidget(self.box)
        column.addWidget(QLabel('"Left" in the sentence is'))
        column.addLayout(sides)
        column.addWidget(self.reading)
        column.addWidget(self.live)
        column.addWidget(self.run_button)
        self._pause = QTimer(self)
        self._pause.setSingleShot(True)
        self._pause.setInterval(PAUSE_MS)
        self._pause.timeout.connect(self._tell_edited)

    @property
    def convention(self) -> str:
        """Whose left a typed "left" means: "picture" or "patient"."""
        button = self._sides.checkedButton()
        return str(button.property("convention")) if button is not None else "picture"

    def set_convention(self, convention: str) -> None:
        """Choose whose left is meant."""
        for button in self._sides.buttons():
            if button.property("convention") == convention:
                button.setChecked(True)

    def offer_presets(self, presets: Sequence[tuple[str, str]]) -> None:
        """Offer (title, sentence) pairs."""
        while self.presets.count() > 1:
            self.presets.removeItem(1)
        for title, text in presets:
            self.presets.addItem(title, text)

    def allow(self, why_not: str) -> None:
        """Enable asking, or disable it and say why in the tooltip."""
        self.run_button.setEnabled(not why_not)
        self.run_button.setToolTip(why_not or "Ask the model to outline this on the frame that is shown")

    def _on_preset(self, index: int) -> None:
        text = str(self.presets.itemData(index) or "")
        if text:
            self.box.put(text)
            self.box.setFocus()
        self.presets.setCurrentIndex(0)

    def _on_edited(self, _: object = None) -> None:
        self._pause.start()

    def _tell_edited(self) -> None:
        self.edited.emit(self.box.text, self.convention)

    def _ask(self, _: object = None) -> None:
        if self.run_button.isEnabled():
            self.asked.emit(self.box.text, self.convention)
