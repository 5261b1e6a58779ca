"""An error as a person reads it: what happened, what to do, the rest behind a fold. It never vanishes."""

from __future__ import annotations

from qtpy.QtWidgets import QHBoxLayout, QPlainTextEdit, QPushButton, QToolButton, QVBoxLayout, QWidget

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.theme import error_banner


class FailureNote(QWidget):
    """Hidden until `tell` is called; dismissed by the person or by the next success (`clear`)."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("failure_note")
        self._text = error_banner(name="failure_text")
        self._fold = QToolButton()
        self._fold.setText("Show details")
        self._fold.setCheckable(True)
        self._fold.toggled.connect(self._unfold)
        dismiss = QPushButton("Dismiss")
        dismiss.setObjectName("failure_dismiss")
        dismiss.clicked.connect(self.clear)
        self._details = QPlainTextEdit()
        self._details.setObjectName("failure_details")
        self._details.setReadOnly(True)
        self._details.setLineWrapMode(QPlainTextEdit.LineWrapMode.NoWrap)
        self._details.setMinimumHeight(120)
        row = QHBoxLayout()
        row.addWidget(self._fold)
        row.addStretch(1)
        row.addWidget(dismiss)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self._text)
        column.addLayout(row)
        column.addWidget(self._details)
        self.clear()

    @property
    def message(self) -> str:
        """What is told; empty when nothing is."""
        return self._text.text()

    def tell(self, error: ClipmedError) -> None:
        """Show an error's sentence and hint; its details, if any, behind the fold."""
        self._text.setText(f"{error.message}\n{error.hint}".strip())
        self._text.setVisible(True)
        details = str(getattr(error, "details", ""))
        self._details.setPlainText(details)
        self._fold.setVisible(bool(details))
        self._fold.setChecked(False)
        self._unfold(False)
        self.setVisible(True)

    def clear(self) -> None:
        """Take the note away."""
        self._text.setText("")
        self.setVisible(False)

    def _unfold(self, shown: bool) -> None:
        self._fold.setText("Hide details" if shown else "Show details")
        self._details.setVisible(shown)
