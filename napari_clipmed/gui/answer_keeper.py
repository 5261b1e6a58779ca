"""Keeps every answer of the diagnosis model in the workspace, off the GUI thread.

Looking must not make a workspace: where there is none yet, nothing is kept until a person saves something.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_clipmed.errors import ClipmedError
from napari_clipmed.progress import Progress

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.inference.results import Diagnosis
    from napari_clipmed.records import Answer
    from napari_clipmed.worklist.keeping import Shelves


class AnswerKeeper(QObject):
    """Listens to a session's diagnoses.

    Attributes
    ----------
    kept : Signal(object, object, object)
        Study, id of its case, and `Answer`, once they are in the store.
    failed : Signal(object)
        The `ClipmedError` that kept an answer from being stored; the answer stays on screen.
    """

    kept = Signal(object, object, object)
    failed = Signal(object)

    def __init__(self, session: ReviewSession) -> None:
        super().__init__(session)
        self._session = session
        session.diagnosis_changed.connect(self._on_diagnosis)

    def shelves(self) -> Shelves | None:
        """Where answers go; None where there is no workspace that can be written. Off the GUI thread only."""
        from napari_clipmed.worklist.keeping import Shelves

        if not self._session.workspace.exists():
            return None
        store = self._session.store()
        return None if store.read_only else Shelves.of(store)

    def _on_diagnosis(self, diagnosis: Diagnosis | None) -> None:
        session, study = self._session, self._session.study
        if diagnosis is None or study is None:
            return

        def keep(progress: Progress) -> tuple[str, Answer] | None:
            shelves = self.shelves()
            if shelves is None:
                return None
            case = shelves.keep(study, diagnosis)
            answer = shelves.store.newest_answer(case, diagnosis.model_version)
            return None if answer is None else (case, answer)

        def done(found: tuple[str, Answer] | None) -> None:
            if found is not None:
                self.kept.emit(study, *found)

        def refused(error: ClipmedError) -> None:
            self.failed.emit(error)

        # No key: an answer is never superseded by the one about the next case.
        session.jobs.start(keep, title="Keep the answer", on_done=done, on_error=refused)
