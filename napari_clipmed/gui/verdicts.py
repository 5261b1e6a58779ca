"""Carries the reader's verdict to the annotation store and takes it back again, off the GUI thread."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.diagnosis_words import title_of
from napari_clipmed.gui.history_words import spoken_time
from napari_clipmed.gui.widgets.failure_note import FailureNote
from napari_clipmed.gui.widgets.verdict_box import VerdictBox
from napari_clipmed.inference.results import Diagnosis
from napari_clipmed.progress import Progress
from napari_clipmed.study import Study

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.records import Revision


class VerdictKeeper(QObject):
    """Between a `VerdictBox` and the store of a session.

    Parameters
    ----------
    session : ReviewSession
    box : VerdictBox
        Its signals are heard, its status is written.
    failure : FailureNote
        Where errors go.
    """

    def __init__(self, session: ReviewSession, box: VerdictBox, failure: FailureNote) -> None:
        super().__init__(box)
        self._session = session
        self._box = box
        self._failure = failure
        self._study: Study | None = None
        self._diagnosis: Diagnosis | None = None
        self._saved: Revision | None = None
        box.accepted.connect(lambda label: self._save(label, "accepted"))
        box.corrected.connect(lambda label: self._save(label, "corrected"))
        box.undone.connect(self._take_back)
        session.records.changed.connect(self._on_records)

    def show(self, study: Study | None, diagnosis: Diagnosis | None) -> None:
        """Offer an answer, and say what was saved about this study before."""
        self._study, self._diagnosis, self._saved = study, diagnosis, None
        self._box.tell("")
        if study is None or diagnosis is None:
            self._box.offer("", {}, "Classify a study first")
            return
        titles = dict(zip(diagnosis.labels, diagnosis.titles, strict=True))
        nothing_named = diagnosis.certainty.nothing_named(titles)
        self._box.offer(diagnosis.predicted, titles, nothing_named=nothing_named)
        self._on_records()

    def _on_records(self) -> None:
        """Say what holds; it can be taken back after a restart too."""
        study, held = self._session.study, self._session.records.state.label
        if self._diagnosis is None or study is not self._study or held == self._saved:
            return
        self._saved = held
        if held is None:
            self._box.tell("The case has no verdict now.")
        else:
            self._box.tell(f"Before: {self._describe(held)}", can_undo=True)

    def _save(self, label: str, verdict: str) -> None:
        study, diagnosis, session = self._study, self._diagnosis, self._session
        if study is None or diagnosis is None:
            return
        author, comment = session.settings.author, self._box.take_comment()
        seen = self._saved.id if self._saved else session.records.seen_label()
        self._failure.clear()
        self._box.tell("Saving …")

        def write(progress: Progress) -> Revision:
            from napari_clipmed.training.snapshots import save_diagnosis_inputs
            from napari_clipmed.worklist.keeping import Shelves

            said: dict[str, Any] = {
                "label": label,
                "verdict": verdict,
                "model_id": diagnosis.model_id,
                "author": author,
                "comment": comment,
                "model_version": diagnosis.model_version,
                "model_label": diagnosis.predicted,
                "model_score": float(diagnosis.combined[diagnosis.predicted]),
            }
            session.records.keep_verdict(study, said)
            store = session.store()
            case = Shelves.of(store).keep(study, diagnosis)
            save_diagnosis_inputs(store, case, study)
            revision = store.add_label(case, based_on=seen, **said)
            session.records.verdict_saved(study)
            return revision

        def refused(error: ClipmedError) -> None:
            self._box.comment.setText(comment)
            self._box.tell("Not saved.")
            self._failure.tell(error)
            session.records.refresh()

        # No key: a verdict is never superseded, each is a revision of its own.
        session.jobs.start(
            write,
            title="Save the verdict",
            on_done=lambda revision: self._saved_one(study, revision),
            on_error=refused,
        )

    def _saved_one(self, study: Study, revision: Revision) -> None:
        self._session.message.emit(f"Saved: {self._describe(revision)}")
        if study is self._study:
            self._saved = revision
            self._box.tell(f"Saved: {self._describe(revision)}", can_undo=True)
            self._session.records.refresh()
        self._session.records.judged.emit(study, revision)

    def _take_back(self) -> None:
        revision, session, study = self._saved, self._session, self._study
        if revision is None:
            return
        author = session.settings.author

        def write(progress: Progress) -> Revision | None:
            store = session.store()
            store.undo(revision, author)
            return store.current_label(revision.case_id)

        def done(now: Revision | None) -> None:
            if study is self._study:
                self._saved = now
                self._box.tell(
                    f"Taken back. It holds again: {self._describe(now)}"
                    if now is not None
                    else "Taken back. The case has no verdict now.",
                    can_undo=now is not None,
                )
                session.records.refresh()

        session.jobs.start(write, title="Take back", on_done=done, on_error=self._failure.tell)

    def _describe(self, revision: Revision) -> str:
        title = (
            title_of(self._diagnosis, revision.label) if self._diagnosis and revision.label else "no label"
        )
        when = spoken_time(revision.created_at)
        why = f' ("{revision.comment}")' if revision.comment else ""
        by = f" by {revision.author}" if revision.author else ""
        return f"{title}, {revision.verdict}{by}{why} at {when}, revision {revision.id}."
