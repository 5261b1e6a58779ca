"""What a person must know about the records of the open study, and the buttons that go with it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_clipmed.gui.history_words import describe, spoken_time, title_of_label
from napari_clipmed.gui.theme import banner, named, say
from napari_clipmed.gui.widgets.failure_note import FailureNote

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.records import Conflict
    from napari_clipmed.records.drafts import Draft


class RecordsBanners(QWidget):
    """Read-only notice, what two people said differently, and what was never saved; hidden while all is well.

    Parameters
    ----------
    session : ReviewSession
    """

    def __init__(self, session: ReviewSession) -> None:
        super().__init__()
        self.setObjectName("records_banners")
        self._session = session
        self.notice = banner(kind="warning", name="records_notice")
        self.failure = FailureNote()
        self.conflict = banner(kind="warning", name="conflict")
        self.keep_first = _button("keep_first")
        self.keep_second = _button("keep_second")
        self.unsaved = banner(kind="info", name="unsaved")
        self.restore = _button("restore_drafts", "Restore")
        self.restore.setToolTip("Bring it back; marks can then be saved as usual")
        self.discard = _button("discard_drafts", "Discard")
        self.discard.setToolTip("Forget it for good")
        self.conflict_row = _row(self.keep_first, self.keep_second)
        self.unsaved_row = _row(self.restore, self.discard)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        for part in (
            self.notice,
            self.failure,
            self.conflict,
            self.conflict_row,
            self.unsaved,
            self.unsaved_row,
        ):
            column.addWidget(part)
        self.restore.clicked.connect(session.records.restore_drafts)
        self.discard.clicked.connect(session.records.discard_drafts)
        self.keep_first.clicked.connect(partial(self._settle, first=True))
        self.keep_second.clicked.connect(partial(self._settle, first=False))
        session.records.changed.connect(self.show_state)
        session.records.failed.connect(self.failure.tell)
        self.show_state()

    def show_state(self) -> None:
        """Say what the records say now."""
        state = self._session.records.state
        say(self.notice, state.notice)
        self._show_conflict(state.conflicts)
        say(self.unsaved, unsaved_sentence(state.drafts, self._session.view_names))
        self.unsaved_row.setVisible(bool(state.drafts))

    def _show_conflict(self, conflicts: tuple[Conflict, ...]) -> None:
        self.conflict_row.setVisible(bool(conflicts))
        if not conflicts:
            say(self.conflict, "")
            return
        first, second = conflicts[0].first, conflicts[0].second
        names = [revision.author or "somebody" for revision in (first, second)]
        if names[0] == names[1]:
            names = ["the earlier", "the later"]
        own = self._session.settings.author
        if own in names and names[0] != names[1]:
            names = ["mine" if name == own else f"theirs ({name})" for name in names]
        names_of = self._session.view_names
        more = f"\n{len(conflicts) - 1} more follow." if len(conflicts) > 1 else ""
        say(
            self.conflict,
            "Two people changed this without seeing one another's version. Both are kept; "
            "choose which holds.\n"
            f"Holds now: {describe(first, names_of)}\nMeanwhile: {describe(second, names_of)}{more}",
        )
        self.keep_first.setText(f"Keep {names[0]}")
        self.keep_second.setText(f"Take {names[1]}")
        self.keep_first.setToolTip(describe(first))
        self.keep_second.setToolTip(describe(second))

    def _settle(self, checked: bool = False, *, first: bool) -> None:
        conflicts = self._session.records.state.conflicts
        if conflicts:
            self.failure.clear()
            chosen = conflicts[0].first if first else conflicts[0].second
            self._session.records.settle(conflicts[0], chosen)


def unsaved_sentence(drafts: Sequence[Draft], names: Sequence[str]) -> str:
    """What was never saved, in one sentence; empty for nothing.

    Parameters
    ----------
    names : sequence of str
        Name of each view of the study.
    """
    if not drafts:
        return ""
    frames: dict[str, list[str]] = {}
    parts = []
    for draft in drafts:
        if draft.view_index is not None and draft.frame is not None:
            frames.setdefault(names[draft.view_index], []).append(str(draft.frame + 1))
        else:
            parts.append(
                f"the verdict {title_of_label(draft.said.get('label'))} ({draft.said.get('verdict')})"
            )
    marks = [f"{view} frame {', '.join(numbers)}" for view, numbers in frames.items()]
    parts = ([f"marks on {' and '.join(marks)}"] if marks else []) + parts
    when = spoken_time(max(draft.saved_at for draft in drafts))
    return f"Not saved when this case was last left ({when}): {' and '.join(parts)}."


def _button(name: str, text: str = "") -> QPushButton:
    return named(QPushButton(text), name)


def _row(*buttons: QPushButton) -> QWidget:
    box = QWidget()
    row = QHBoxLayout(box)
    row.setContentsMargins(0, 0, 0, 0)
    for button in buttons:
        row.addWidget(button, 1)
    return box
