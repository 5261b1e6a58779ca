"""History of a case: every revision with who, when and what; any of them can be restored."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Qt
from qtpy.QtGui import QBrush, QColor, QFont
from qtpy.QtWidgets import (
    QDialog,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QTreeWidget,
    QTreeWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_clipmed.gui.history_words import spoken_time, what
from napari_clipmed.gui.theme import TEXT_QUIET, TEXT_WARN, hint_label, named
from napari_clipmed.gui.widgets.failure_note import FailureNote
from napari_clipmed.progress import Progress

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.records import Revision

COLUMNS = ("No.", "When", "Who", "What", "Verdict", "Model said", "Comment")
HELP = "Nothing is ever overwritten. Restoring writes a new revision with the old content; it can be undone."
NOTHING = "Nothing was saved about this study yet: accept or correct a diagnosis, or save a mask."


class HistoryDialog(QDialog):
    """List of all revisions of the open study's case, newest first.

    Parameters
    ----------
    session : ReviewSession
    parent : QWidget, optional
    """

    def __init__(self, session: ReviewSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("history_dialog")
        self.setWindowTitle("History of this case")
        self.resize(900, 420)
        self._session = session
        self._revisions: dict[int, Revision] = {}
        self.help = hint_label(HELP, "history_help")
        self.failure = FailureNote()
        self.list = named(QTreeWidget(), "history_list")
        self.list.setHeaderLabels(list(COLUMNS))
        self.list.setRootIsDecorated(False)
        self.list.setStyleSheet("QTreeWidget::item { padding: 3px 2px; }")
        self.list.setUniformRowHeights(True)
        header = self.list.header()
        header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(COLUMNS.index("What"), QHeaderView.ResizeMode.Stretch)
        header.setStretchLastSection(False)
        self.restore_button = named(QPushButton("Restore this revision"), "history_restore")
        close = named(QPushButton("Close"), "history_close")
        row = QHBoxLayout()
        row.addWidget(self.restore_button)
        row.addStretch(1)
        row.addWidget(close)
        column = QVBoxLayout(self)
        column.addWidget(self.help)
        column.addWidget(self.failure)
        column.addWidget(self.list, 1)
        column.addLayout(row)
        close.clicked.connect(self.close)
        self.restore_button.clicked.connect(self._restore)
        self.list.itemSelectionChanged.connect(self._allow)
        session.records.changed.connect(self.refresh)
        session.records.failed.connect(self.failure.tell)
        self.refresh()

    def refresh(self) -> None:
        """Read the revisions anew, off the GUI thread."""
        session, case = self._session, self._session.records.state.case
        if case is None:
            self._fill([])
            return

        def read(progress: Progress) -> list[Revision]:
            return session.store().revisions(case)

        session.jobs.start(
            read, title="Read the history", on_done=self._fill, on_error=self.failure.tell, key="history"
        )

    @property
    def selected(self) -> Revision | None:
        """The revision of the selected line."""
        items = self.list.selectedItems()
        return self._revisions.get(int(items[0].text(0))) if items else None

    def _fill(self, revisions: list[Revision]) -> None:
        self._revisions = {revision.id: revision for revision in revisions}
        self.help.setText(HELP if revisions else NOTHING)
        state = self._session.records.state
        holding = {revision.id for revision in (*state.masks, *([state.label] if state.label else []))}
        disputed = {side.id for c in state.conflicts for side in (c.first, c.second)}
        self.list.clear()
        for revision in reversed(revisions):
            self.list.addTopLevelItem(self._line(revision, revision.id in holding, revision.id in disputed))
        self._allow()

    def _line(self, revision: Revision, holds: bool, disputed: bool) -> QTreeWidgetItem:
        said = ""
        if revision.model_label or revision.model_id:
            score = f" {revision.model_score:.2f}" if revision.model_score is not None else ""
            said = f"{revision.model_label or ''}{score}".strip() or revision.model_id
        origin = f" (restores {revision.restored_from})" if revision.restored_from else ""
        notes = [note for note, is_so in (("holds", holds), ("disputed", disputed)) if is_so]
        item = QTreeWidgetItem(
            [
                str(revision.id),
                spoken_time(revision.created_at),
                revision.author,
                what(revision, self._session.view_names)
                + origin
                + (f" · {', '.join(notes)}" if notes else ""),
                str(revision.verdict or ""),
                said,
                revision.comment if revision.kind != "comment" else "",
            ]
        )
        item.setToolTip(
            COLUMNS.index("Model said"), f"{revision.model_id} {revision.model_version[:12]}".strip()
        )
        item.setToolTip(COLUMNS.index("When"), f"{revision.created_at.isoformat()}\n{revision.software}")
        if holds:
            bold = QFont(self.list.font())
            bold.setBold(True)
            item.setFont(COLUMNS.index("What"), bold)
        if disputed:
            item.setForeground(COLUMNS.index("What"), QBrush(QColor(TEXT_WARN)))
        elif not holds:
            for column in range(len(COLUMNS)):
                item.setForeground(column, QBrush(QColor(TEXT_QUIET)))
        item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
        return item

    def _allow(self) -> None:
        chosen = self.selected
        state = self._session.records.state
        if chosen is None:
            reason = "Choose a line first"
        elif chosen.kind not in ("label", "mask"):
            reason = "Only labels and masks can be restored"
        elif chosen.id in {r.id for r in (*state.masks, *([state.label] if state.label else []))}:
            reason = "This revision holds already"
        else:
            reason = ""
        self.restore_button.setEnabled(not reason)
        self.restore_button.setToolTip(reason or "Make it hold again, by a new revision")

    def _restore(self) -> None:
        if self.selected is not None:
            self.failure.clear()
            self._session.records.restore(self.selected)
