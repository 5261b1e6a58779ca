"""What came out of a round, and what a person decides about it: look, use, or go back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QUrl
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QHBoxLayout, QInputDialog, QPushButton, QVBoxLayout, QWidget

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.finetune_words import compare, forgotten, judged_on
from napari_clipmed.gui.process_job import Event
from napari_clipmed.gui.theme import banner, named, say
from napari_clipmed.progress import Progress

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.models.card import ModelEntry, Task

WHY = "Why should it answer all the same? The reason is put on record."


class Outcome(QWidget):
    """The figures of a finished round with "Open report", "Use this model" and the way back.

    Parameters
    ----------
    session : ReviewSession
        Whose models are chosen.
    on_error : callable
        Is told of what went wrong.
    """

    def __init__(self, session: ReviewSession, on_error: Callable[[ClipmedError], None]) -> None:
        super().__init__()
        self.session, self._on_error = session, on_error
        self.task: Task = "diagnosis"
        self.model_id = ""
        self.report: Path | None = None
        self.text = banner("", "info", "finetune_result")
        self.report_button = named(QPushButton("Open report"), "open_report")
        self.report_button.setToolTip("Old and new model side by side, case by case, in the browser")
        self.use_button = named(QPushButton("Use this model"), "use_model")
        self.back_button = named(QPushButton("Go back to the model before"), "rollback")
        self.back_button.setToolTip(
            "The model that answered before this one answers again; nothing is removed"
        )
        self.report_button.clicked.connect(self.open_report)
        self.use_button.clicked.connect(self.use)
        self.back_button.clicked.connect(self.go_back)
        row = QHBoxLayout()
        row.addWidget(self.report_button)
        row.addWidget(self.use_button)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.text)
        column.addLayout(row)
        column.addWidget(self.back_button)
        self.clear(self.task)

    def clear(self, task: Task) -> None:
        """A new round of a task has begun."""
        self.task, self.model_id, self.report = task, "", None
        say(self.text, "")
        for button in (self.report_button, self.use_button, self.back_button):
            button.setVisible(False)

    def tell(self, event: Event) -> None:
        """Show what came out."""
        self.model_id = str(event["model_id"])
        figures = compare(event.get("before", {}), event.get("after", {}))
        lines = [str(event.get("message", "")), figures, judged_on(event), forgotten(event)]
        say(self.text, "\n".join(line for line in (*lines, f"New model: {self.model_id}") if line))
        run = str(event.get("run", ""))
        self.report = self.session.workspace / "runs" / run / "report.html" if run else None
        self.report_button.setVisible(self.report is not None)
        self.use_button.setVisible(True)
        self.use_button.setEnabled(True)
        self.use_button.setToolTip("It answers from now on; the model before stays and can be chosen again")

    def open_report(self, _: object = None) -> None:
        """Show the page in the person's browser."""
        if self.report is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self.report)))

    def use(self, _: object = None) -> None:
        """Let the new model answer from now on, in this window and later ones."""
        self._promote("")

    def _promote(self, reason: str) -> None:
        from napari_clipmed.models.promotion import WorseModelError, promote

        session, model_id = self.session, self.model_id
        self.use_button.setEnabled(False)

        def refused(error: ClipmedError) -> None:
            self.use_button.setEnabled(True)
            if not isinstance(error, WorseModelError):
                self._on_error(error)
                return
            said, agreed = QInputDialog.getText(self, "The model got worse", f"{error.message}\n\n{WHY}")
            if agreed and said.strip():
                self._promote(said.strip())

        session.jobs.start(
            lambda progress: promote(session.registry(), model_id, reason),
            title="Choose the model",
            on_done=self._answers,
            on_error=refused,
        )

    def go_back(self, _: object = None) -> None:
        """Let the model before answer again."""
        from napari_clipmed.models.promotion import roll_back

        session, task = self.session, self.task

        def work(progress: Progress) -> ModelEntry:
            return roll_back(session.registry(), task)

        session.jobs.start(work, title="Go back", on_done=self._answers, on_error=self._on_error)

    def _answers(self, entry: ModelEntry) -> None:
        self.session.choose_model(entry.card.task, entry.id)
        self.session.message.emit(f"{entry.id} answers from now on.")
        self.use_button.setEnabled(entry.id != self.model_id)
        self.use_button.setToolTip("It answers already" if entry.id == self.model_id else "It answers again")
        self.back_button.setVisible(entry.id == self.model_id)
