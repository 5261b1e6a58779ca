"""Findings, sentences, descriptors and templates of a set of questions, edited in a copy of one's own."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QComboBox,
    QDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.theme import hint_label, named, section
from napari_clipmed.gui.widgets.failure_note import FailureNote
from napari_clipmed.models.zero_shot_sets import (
    ZeroShotSet,
    is_changed,
    parse_set,
    put_aside_own,
    save_own,
)

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession

HELP = (
    "One sentence a line. Your changes are kept as a copy in your data folder; the shipped set stays as it "
    "is, and you can go back to it."
)
FIELDS = {
    "positive": ("With it", "The finding at {}"),
    "negative": ("Without it", "The same sentence without the finding, which stands at {}"),
    "present": ("Seen", "With {descriptor} and {finding}"),
    "absent": ("Not seen", "With {descriptor} and {finding}"),
    "neutral": ("Neutral", "What is true of every such picture; heat maps are compared with it"),
}


class ZeroShotEditor(QDialog):
    """A set of questions as fields.

    Parameters
    ----------
    session : ReviewSession
        For its jobs.
    questions : ZeroShotSet

    Attributes
    ----------
    kept : Signal(str)
        Name of the set that was saved, or put back.
    """

    kept = Signal(str)

    def __init__(self, session: ReviewSession, questions: ZeroShotSet, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("zero_shot_editor")
        self.setWindowTitle(f"Questions: {questions.title}")
        self.resize(640, 620)
        self._session, self._name, self._kind = session, questions.name, questions.kind
        self._findings: list[dict[str, Any]] = [one.model_dump(mode="json") for one in questions.findings]
        self._at = 0
        self._build(questions)
        self._list_findings(0)

    def _build(self, questions: ZeroShotSet) -> None:
        self.list = named(QComboBox(), "editor_findings")
        self.list.setAccessibleName("Finding")
        self.list.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.add = named(QPushButton("Add"), "editor_add")
        self.remove = named(QPushButton("Remove"), "editor_remove")
        self.title = named(QLineEdit(), "editor_title")
        self.sentences = _lines("editor_sentences", "Sentences, one a line")
        self.seen = _lines("editor_descriptors", "What can be seen, one a line")
        self.templates = _lines("editor_templates", "Templates with {}, one a line", 3)
        self.templates.setPlainText("\n".join(questions.templates))
        self.fields = {key: named(QLineEdit(getattr(questions, key)), f"editor_{key}") for key in FIELDS}
        self.failure = FailureNote()
        self.save = named(QPushButton("Save my copy"), "editor_save")
        self.save.setDefault(True)
        self.back = named(QPushButton("Back to the shipped set"), "editor_back")
        self.back.setToolTip("Your copy is put aside, not removed")
        self.back.setEnabled(is_changed(self._name))
        cancel = named(QPushButton("Cancel"), "editor_cancel")

        row = QHBoxLayout()
        row.addWidget(self.list, 1)
        row.addWidget(self.add)
        row.addWidget(self.remove)
        finding = QFormLayout()
        finding.addRow("Name", self.title)
        finding.addRow("Sentences", self.sentences)
        finding.addRow("What can be seen", self.seen)
        around = QFormLayout()
        around.addRow("Templates", self.templates)
        for key, (title, tip) in FIELDS.items():
            self.fields[key].setToolTip(tip)
            around.addRow(title, self.fields[key])
        buttons = QHBoxLayout()
        buttons.addWidget(self.back)
        buttons.addStretch(1)
        buttons.addWidget(cancel)
        buttons.addWidget(self.save)
        column = QVBoxLayout(self)
        column.addWidget(hint_label(HELP))
        column.addWidget(section("Findings"))
        column.addLayout(row)
        column.addLayout(finding, 1)
        column.addWidget(section("Sentences around them"))
        column.addLayout(around)
        column.addWidget(self.failure)
        column.addLayout(buttons)
        self.list.activated.connect(self._turn_to)
        self.add.clicked.connect(self._add)
        self.remove.clicked.connect(self._remove)
        self.save.clicked.connect(self._save)
        self.back.clicked.connect(self._put_back)
        cancel.clicked.connect(self.reject)

    def content(self) -> dict[str, Any]:
        """What the fields say, as plain data; it may make no sense."""
        self._take()
        return {
            "name": self._name,
            "title": self.windowTitle().removeprefix("Questions: "),
            "kind": self._kind,
            "templates": _said(self.templates),
            "findings": self._findings,
        } | {key: field.text() for key, field in self.fields.items()}

    # -- findings -----------------------------------------------------------------------------------------

    def _list_findings(self, at: int) -> None:
        self.list.clear()
        for finding in self._findings:
            self.list.addItem(finding["title"] + ("  (the normal one)" if finding["normal"] else ""))
        self._at = at
        self.list.setCurrentIndex(at)
        self._fill()
        self.remove.setEnabled(len(self._findings) > 2)
        self.remove.setToolTip("" if self.remove.isEnabled() else "Two findings are the least")

    def _fill(self) -> None:
        finding = self._findings[self._at]
        self.title.setText(finding["title"])
        self.sentences.setPlainText("\n".join(finding["sentences"]))
        self.seen.setPlainText("\n".join(finding["descriptors"]))

    def _take(self) -> None:
        """Keep what was typed about the finding that is shown."""
        self._findings[self._at] |= {
            "title": self.title.text().strip(),
            "sentences": _said(self.sentences),
            "descriptors": _said(self.seen),
        }

    def _turn_to(self, index: int) -> None:
        self._take()
        self._list_findings(index)

    def _add(self) -> None:
        self._take()
        title = "New finding"
        fresh = {"key": "", "title": title, "sentences": [], "descriptors": [], "normal": False}
        self._findings.append(fresh)
        self._list_findings(len(self._findings) - 1)
        self.title.setFocus()
        self.title.selectAll()

    def _remove(self) -> None:
        del self._findings[self._at]
        self._list_findings(max(0, self._at - 1))

    # -- ending -------------------------------------------------------------------------------------------

    def _save(self) -> None:
        self.failure.clear()
        content = self.content()
        _give_keys(content["findings"])
        try:
            questions = parse_set(content)
        except ClipmedError as error:
            self.failure.tell(error)
            return
        self._end(lambda progress: save_own(questions), "Save the set of questions")

    def _put_back(self) -> None:
        self._end(lambda progress: put_aside_own(self._name), "Put the copy aside")

    def _end(self, work: Any, title: str) -> None:
        def done(path: object) -> None:
            self.kept.emit(self._name)
            self.accept()

        def refused(error: ClipmedError) -> None:
            self.failure.tell(error)

        self._session.jobs.start(
            lambda progress: work(progress),
            title=title,
            on_done=done,
            on_error=refused,
            key="zero-shot editor",
        )


def _give_keys(findings: list[dict[str, Any]]) -> None:
    """A new finding is called by the first letters of its name, unlike every other."""
    taken = {finding["key"] for finding in findings}
    for finding in findings:
        if not finding["key"]:
            base = re.sub(r"[^A-Za-z0-9]+", "-", finding["title"]).strip("-")[:30] or "finding"
            number = 1
            while (key := base if number == 1 else f"{base}-{number}") in taken:
                number += 1
            finding["key"] = key
            taken.add(key)


def _lines(name: str, purpose: str, rows: int = 4) -> QPlainTextEdit:
    box = named(QPlainTextEdit(), name)
    box.setAccessibleName(purpose)
    box.setTabChangesFocus(True)
    box.setStyleSheet("QPlainTextEdit { border: 1px solid #6B7480; border-radius: 3px; padding: 2px; }")
    box.setMinimumHeight(box.fontMetrics().lineSpacing() * rows + 12)
    if rows < 4:
        box.setMaximumHeight(box.minimumHeight() + 8)
    return box


def _said(box: QPlainTextEdit) -> list[str]:
    """The lines of a box that hold something."""
    return [line.strip() for line in box.toPlainText().splitlines() if line.strip()]
