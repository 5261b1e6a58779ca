"""Which cases of the worklist are shown: status, label, the model's confidence, the reader, words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from qtpy.QtCore import QSignalBlocker, Signal
from qtpy.QtWidgets import QComboBox, QGridLayout, QLineEdit, QPushButton, QWidget

from napari_clipmed.gui.theme import named
from napari_clipmed.worklist.lines import UNANSWERED, Line, Status, Wanted

CONFIDENCE = {
    "Any confidence": (0.0, 1.0),
    "Model below 0.50": (0.0, 0.5),
    "Model 0.50 to 0.80": (0.5, 0.8),
    "Model 0.80 to 0.95": (0.8, 0.95),
    "Model 0.95 and above": (0.95, 1.0),
}
STATES = {
    "Any status": "",
    "To review": Status.TO_REVIEW.value,
    "Reviewed": Status.REVIEWED.value,
    "Unsure": Status.UNSURE.value,
    "Readers disagree": Status.DISPUTED.value,
    "Not classified": UNANSWERED,
    "Cannot be read": Status.PROBLEM.value,
}


class WorklistFilters(QWidget):
    """Four lists and a line for words.

    Attributes
    ----------
    changed : Signal(object)
        The `Wanted` that they stand for.
    """

    changed = Signal(object)

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("worklist_filters")
        self.status = _choice("filter_status", "Status", STATES)
        self.confidence = _choice("filter_confidence", "Confidence of the model", CONFIDENCE)
        self.label = _choice("filter_label", "Label of the reader", {"Any label": ""})
        self.reader = _choice("filter_reader", "Reader", {"Any reader": ""})
        self.words = named(QLineEdit(), "filter_words")
        self.words.setPlaceholderText("Part of a file's place …")
        self.words.setClearButtonEnabled(True)
        self.reset = named(QPushButton("Show all"), "filter_reset")
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        for place, part in enumerate((self.status, self.confidence, self.label, self.reader, self.words)):
            grid.addWidget(part, place // 2, place % 2)
        grid.addWidget(self.reset, 2, 1)
        for choice in (self.status, self.confidence, self.label, self.reader):
            choice.currentIndexChanged.connect(self._tell)
        self.words.textChanged.connect(self._tell)
        self.reset.clicked.connect(self.clear)

    @property
    def wanted(self) -> Wanted:
        """What is chosen."""
        return Wanted(
            status=self.status.currentData(),
            label=self.label.currentData(),
            confidence=tuple(self.confidence.currentData()),
            reader=self.reader.currentData(),
            words=self.words.text().strip(),
        )

    def offer(self, lines: Sequence[Line], titles: Mapping[str, str]) -> None:
        """Offer the labels and readers that there are; what is chosen stays chosen while it is there."""
        held = [line.label for line in lines if line.label is not None]
        labels = sorted({one.label for one in held if one.label})
        readers = sorted({one.author for one in held if one.author})
        _offer(self.label, {"Any label": ""} | {titles.get(key, key): key for key in labels})
        _offer(self.reader, {"Any reader": ""} | {name: name for name in readers})

    def clear(self) -> None:
        """Show everything again."""
        with QSignalBlocker(self.words):
            self.words.clear()
        for choice in (self.status, self.confidence, self.label, self.reader):
            with QSignalBlocker(choice):
                choice.setCurrentIndex(0)
        self._tell()

    def _tell(self) -> None:
        self.changed.emit(self.wanted)


def _choice(name: str, spoken: str, offered: Mapping[str, object]) -> QComboBox:
    choice = named(QComboBox(), name)
    choice.setAccessibleName(spoken)
    choice.setToolTip(spoken)
    choice.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    choice.setMinimumContentsLength(8)
    for title, value in offered.items():
        choice.addItem(title, value)
    return choice


def _offer(choice: QComboBox, offered: Mapping[str, str]) -> None:
    known = [choice.itemData(index) for index in range(choice.count())]
    if known == list(offered.values()):
        return
    chosen = choice.currentData()
    with QSignalBlocker(choice):
        choice.clear()
        for title, value in offered.items():
            choice.addItem(title, value)
        choice.setCurrentIndex(max(0, choice.findData(chosen)))
