"""The reader's verdict on the model's answer: accept it, or name another class and say why."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QLineEdit, QMenu, QPushButton, QVBoxLayout, QWidget

from napari_clipmed.gui.shortcuts import keyed
from napari_clipmed.gui.theme import hint_label, say

KEY_ACCEPT, KEY_CORRECT = "Alt+A", "Alt+C"


class VerdictBox(QWidget):
    """Two buttons, a line for a word of why, and what was saved.

    Attributes
    ----------
    accepted : Signal(str)
        Label key shown as the model's answer.
    corrected : Signal(str)
        Label key that a person chose instead.
    undone : Signal()
        Take the last saved verdict back.
    """

    accepted = Signal(str)
    corrected = Signal(str)
    undone = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._answer = ""
        self.accept_button = QPushButton(keyed("Accept", KEY_ACCEPT))
        self.accept_button.setObjectName("accept")
        self.accept_button.clicked.connect(self._on_accept)
        self.correct_button = QPushButton(keyed("Correct", KEY_CORRECT))
        self.correct_button.setObjectName("correct")
        self.menu = QMenu(self)
        self.menu.setObjectName("correct_menu")
        self.correct_button.setMenu(self.menu)
        self.comment = QLineEdit()
        self.comment.setObjectName("comment")
        self.comment.setPlaceholderText("A word of why (optional)")
        self.comment.setAccessibleName("Comment")
        self.status = hint_label("", "verdict_status")
        self.status.setVisible(False)
        self.undo_button = QPushButton("Take back")
        self.undo_button.setObjectName("take_back")
        self.undo_button.setToolTip("Return to what held before; the record keeps both")
        self.undo_button.clicked.connect(self.undone)
        self.undo_button.setVisible(False)

        buttons = QHBoxLayout()
        buttons.addWidget(self.accept_button, 1)
        buttons.addWidget(self.correct_button, 1)
        saved = QHBoxLayout()
        saved.addWidget(self.status, 1)
        saved.addWidget(self.undo_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.comment)
        column.addLayout(buttons)
        column.addLayout(saved)
        self.offer("", {}, "Classify a study first")

    def offer(
        self, answer: str, titles: Mapping[str, str], why_not: str = "", *, nothing_named: str = ""
    ) -> None:
        """Offer an answer for acceptance and the other classes for correction.

        Parameters
        ----------
        answer : str
            Key of the model's class; empty when there is none.
        titles : mapping of str to str
            Key and title of each class.
        why_not : str
            Tooltip of the buttons while they are disabled.
        nothing_named : str
            Says that the model named no class; then the button names it, so that nobody accepts it unread.
        """
        self._answer = answer
        self.accept_button.setText(keyed(f"Accept {answer}" if nothing_named else "Accept", KEY_ACCEPT))
        for button in (self.accept_button, self.correct_button):
            button.setEnabled(bool(answer))
            button.setToolTip("" if answer else why_not)
        if answer:
            self.accept_button.setToolTip(f"{nothing_named} Save: {titles[answer]} is right".strip())
            self.correct_button.setToolTip("Save another class as the right one")
        self.menu.clear()
        for key, title in titles.items():
            action = self.menu.addAction(f"{title} (use Accept)" if key == answer else title)
            action.setObjectName(f"correct_{key}")
            action.setData(key)
            action.setEnabled(key != answer)
            action.triggered.connect(lambda checked=False, key=key: self.corrected.emit(key))

    def tell(self, sentence: str, can_undo: bool = False) -> None:
        """Say what was saved; the sentence stays."""
        say(self.status, sentence)
        self.undo_button.setVisible(can_undo)

    def take_comment(self) -> str:
        """The word of why, which is then cleared for the next case."""
        text = self.comment.text().strip()
        self.comment.clear()
        return text

    def open_menu(self) -> None:
        """Open the list of classes (the key of Correct)."""
        if self.correct_button.isEnabled():
            self.correct_button.setFocus()
            self.menu.popup(self.correct_button.mapToGlobal(self.correct_button.rect().bottomLeft()))

    def _on_accept(self) -> None:
        self.accepted.emit(self._answer)
