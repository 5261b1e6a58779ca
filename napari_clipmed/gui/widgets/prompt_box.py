"""Where a sentence is typed: many lines, Ctrl+Enter to run, arrows for what was typed before."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtGui import QKeyEvent, QTextCursor
from qtpy.QtWidgets import QPlainTextEdit, QWidget

HISTORY_LENGTH = 200


class PromptBox(QPlainTextEdit):
    """A text box with a memory.

    Up at the first line and Down at the last line walk through the history; what was being typed comes
    back at its end.

    Attributes
    ----------
    submitted : Signal(str)
        Ctrl+Enter was pressed; the text, stripped.
    """

    submitted = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("prompt_box")
        self.setTabChangesFocus(True)
        self.setAccessibleName("Prompt")
        self.setStyleSheet(
            "PromptBox { border: 1px solid #6B7480; border-radius: 3px; padding: 2px; }"
            "PromptBox:focus { border-color: #56B4E9; }"
        )
        self._history: list[str] = []
        self._at = 0
        self._draft = ""
        line = self.fontMetrics().lineSpacing()
        self.setMinimumHeight(round(3.2 * line) + 12)
        self.setMaximumHeight(round(5 * line) + 12)

    @property
    def text(self) -> str:
        """What is typed, without surrounding space."""
        return self.toPlainText().strip()

    @property
    def history(self) -> tuple[str, ...]:
        """What was run before, oldest first."""
        return tuple(self._history)

    def remember(self, text: str) -> None:
        """Put a text at the end of the history (once)."""
        if text:
            self._history = [old for old in self._history if old != text][-HISTORY_LENGTH + 1 :] + [text]
        self._at = len(self._history)

    def put(self, text: str) -> None:
        """Replace the text, undoably, and put the cursor at its end."""
        cursor = QTextCursor(self.document())
        cursor.select(QTextCursor.SelectionType.Document)
        cursor.insertText(text)
        self.setTextCursor(cursor)

    def keyPressEvent(self, event: QKeyEvent) -> None:  # noqa: N802 - Qt's name
        """Ctrl+Enter runs; Up and Down at the edges walk the history."""
        key, modifiers = event.key(), event.modifiers()
        if key in (Qt.Key.Key_Return, Qt.Key.Key_Enter) and modifiers & Qt.KeyboardModifier.ControlModifier:
            self.submitted.emit(self.text)
        elif key == Qt.Key.Key_Up and not modifiers and self._at_edge(QTextCursor.MoveOperation.Up):
            self._walk(-1)
        elif key == Qt.Key.Key_Down and not modifiers and self._at_edge(QTextCursor.MoveOperation.Down):
            self._walk(+1)
        else:
            super().keyPressEvent(event)

    def _at_edge(self, move: QTextCursor.MoveOperation) -> bool:
        """Whether the cursor cannot go further that way (wrapped lines count as lines)."""
        return not QTextCursor(self.textCursor()).movePosition(move)

    def _walk(self, step: int) -> None:
        target = self._at + step
        if not 0 <= target <= len(self._history):
            return
        if self._at == len(self._history):
            self._draft = self.toPlainText()
        self._at = target
        self.put(self._draft if target == len(self._history) else self._history[target])
