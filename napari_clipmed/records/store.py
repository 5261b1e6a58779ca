"""The annotation store of a workspace: cases and their revisions.

Nothing is ever changed or removed: a correction, an undo and a restore are new revisions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session

from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records import files
from napari_clipmed.records.lineage import Conflict, Lineage
from napari_clipmed.records.reading import ReadingRecords
from napari_clipmed.records.rows import answer_from, case_row, content_of, revision_from
from napari_clipmed.records.schema import AnswerRow, CaseRow, RevisionRow
from napari_clipmed.records.sessions import SOFTWARE, need, now
from napari_clipmed.records.study_settings import StudySettings
from napari_clipmed.records.training_records import TrainingRecords
from napari_clipmed.records.words import Answer, Revision, RevisionKind, Verdict
from napari_clipmed.records.worklist_records import WorklistRecords
from napari_clipmed.records.workspace import workspace_errors
from napari_clipmed.study import Study

BasedOn = int | Literal["latest"] | None
LATEST: Literal["latest"] = "latest"
"""Stands for "whatever holds now" where a writer saw nothing in particular."""


class Store(ReadingRecords, TrainingRecords, StudySettings, WorklistRecords):
    """The records of one workspace; safe to use from several threads and several programs at once.

    Open one with `Store.open`. Every method that reads or writes raises `WorkspaceError` with a sentence
    when the disk is full, cannot be written, is locked or damaged, and `KeyError` for an unknown case.
    """

    # -- cases ---------------------------------------------------------------------------------------

    def case_for(self, study: Study) -> str:
        """Id of the case of a study, which is entered when it is new.

        The key is image hash and SOP Instance UIDs together, never a file name. Neither path, title nor
        identity of the study is stored.
        """
        known = self.find_case(study)
        if known is not None:
            return known
        row = case_row(study, self._salt())
        with self._writing() as session:
            self._lock(session, row.id)
            if session.get(CaseRow, row.id) is None:  # another program may have been quicker
                session.add(row)
        return row.id

    # -- writing revisions ---------------------------------------------------------------------------

    def add_label(
        self,
        case: str,
        label: str | None,
        verdict: Verdict | str,
        model_id: str = "",
        author: str = "",
        comment: str = "",
        *,
        model_version: str = "",
        model_label: str | None = None,
        model_score: float | None = None,
        based_on: BasedOn = LATEST,
    ) -> Revision:
        """Record a label with the reader's verdict on the model's answer.

        Parameters
        ----------
        case : str
            Id of the case.
        label : str or None
            Key in the label set; None where the reader names no label (rejected, unsure).
        verdict : Verdict
            Accepted, corrected, rejected or unsure.
        model_id : str
            The model whose answer was judged; empty for none.
        author, comment : str
            Who says so, and why.
        model_version, model_label, model_score
            SHA-256 of that model's weights, what it had answered, and with which probability.
        based_on : int, None or LATEST
            Id of the label revision that the reader saw; None where there was none to see. Should another
            one hold by now, both are kept and `conflicts` names them. LATEST follows whatever holds.
        """
        return self._add(
            case,
            RevisionKind.LABEL,
            based_on,
            label=label,
            model_version=model_version,
            model_label=model_label,
            model_score=model_score,
            verdict=Verdict(verdict).value,
            model_id=model_id,
            author=author,
            comment=comment,
        )

    def add_mask(
        self,
        case: str,
        view_index: int,
        frame: int,
        mask: NDArray[np.bool_],
        prompt: str = "",
        *,
        model_prompt: str = "",
        convention: str = "picture",
        verdict: Verdict | str = Verdict.ACCEPTED,
        name: str = "",
        threshold: float | None = None,
        model_id: str = "",
        author: str = "",
        comment: str = "",
        model_version: str = "",
        model_score: float | None = None,
        projected: tuple[int, int] | None = None,
        based_on: BasedOn = LATEST,
    ) -> Revision:
        """Record a mask of one frame; its file is safe on disk before the row is committed.

        Parameters
        ----------
        case : str
            Id of the case.
        view_index, frame : int
            Index in `Study.views`, and of the original frame.
        mask : (H, W) bool array
            At the size of the frame.
        prompt, model_prompt, convention : str
            What was typed, the sentence the model read (default: the typed one), whose left was meant.
        name : str
            Tells several masks of one frame apart; a mask replaces the one of the same frame and name.
        threshold : float, optional
            At which the model's probability was cut.
        projected : (int, int), optional
            First and last frame over which the mask is projected; it is kept on `frame`, one of them.
        verdict, model_id, author, comment, model_version, model_score, based_on
            As in `add_label`; `based_on` is the mask revision of the same frame and name.
        """
        if mask.ndim != 2:
            raise ValueError(f"A mask is (H, W), not of shape {mask.shape}")
        first_frame, last_frame = projected or (None, None)
        if projected and not projected[0] <= frame <= projected[1]:
            raise ValueError(f"Frame {frame} is not among the projected ones, {projected}")
        self._check_writable()
        with workspace_errors(self.workspace.root):
            digest = files.store_content(
                self.workspace.masks, files.encode_mask(mask), ".png", self.workspace.root / files.PARTIAL
            )
        return self._add(
            case,
            RevisionKind.MASK,
            based_on,
            model_version=model_version,
            model_score=model_score,
            view_index=view_index,
            frame=frame,
            mask_sha256=digest,
            prompt=prompt,
            model_prompt=model_prompt or prompt,
            convention=convention,
            verdict=Verdict(verdict).value,
            name=name,
            threshold=threshold,
            first_frame=first_frame,
            last_frame=last_frame,
            model_id=model_id,
            author=author,
            comment=comment,
        )

    def add_prompt(
        self,
        case: str,
        view_index: int,
        frame: int,
        prompt: str,
        *,
        model_prompt: str = "",
        convention: str = "picture",
        model_id: str = "",
        author: str = "",
    ) -> Revision:
        """Record a sentence that was asked of the segmentation model, whatever became of its answer."""
        return self._add(
            case,
            RevisionKind.PROMPT,
            LATEST,
            view_index=view_index,
            frame=frame,
            prompt=prompt,
            model_prompt=model_prompt or prompt,
            convention=convention,
            model_id=model_id,
            author=author,
        )

    def add_comment(self, case: str, comment: str, author: str = "") -> Revision:
        """Record a remark on the case as a whole."""
        return self._add(case, RevisionKind.COMMENT, LATEST, comment=comment, author=author)

    def add_answer(
        self,
        case: str,
        model_id: str,
        probabilities: Mapping[str, Mapping[str, float]],
        *,
        model_version: str = "",
        unlike_training: bool = False,
        possible: Sequence[str] | None = None,
    ) -> Answer:
        """Record what a diagnosis model said; the parameters are those of `Answer`."""
        with self._writing() as session:
            need(session.get(CaseRow, case), case)
            row = AnswerRow(
                case_id=case,
                model_id=model_id,
                model_version=model_version,
                probabilities={view: dict(some) for view, some in probabilities.items()},
                unlike_training=unlike_training,
                possible=None if possible is None else list(possible),
                created_at=now(),
                software=SOFTWARE,
            )
            session.add(row)
            session.flush()
            return answer_from(row)

    # -- going back and settling ---------------------------------------------------------------------

    def restore(self, revision: Revision, author: str = "") -> Revision:
        """Make an earlier revision current again, by a new one of the same content."""
        with self._writing() as session:
            row = need(session.get(RevisionRow, revision.id), revision.id)
            return self._append(session, _restored(row, author), LATEST)

    def undo(self, revision: Revision, author: str = "") -> Revision:
        """Go back to what held before the current `revision`, by a new revision.

        Undoing again goes further back. Where nothing held before, the new revision takes the label or
        mask back (`Revision.withdrawn`); undoing that changes nothing. `restore` is the redo. Where
        somebody has meanwhile gone on from `revision`, theirs goes on holding and `conflicts` names both.
        """
        if revision.withdrawn:
            return revision
        with self._writing() as session:
            row = need(session.get(RevisionRow, revision.id), revision.id)
            origin = need(session.get(RevisionRow, row.restored_from or row.id), row.restored_from)
            if origin.parent_id is not None:
                before = need(session.get(RevisionRow, origin.parent_id), origin.parent_id)
                return self._append(session, _restored(before, author), row.id)
            blank = {"label": None, "mask_sha256": None, "verdict": None, "comment": ""}
            return self._append(session, content_of(row) | blank | {"author": author or row.author}, row.id)

    def settle(self, conflict: Conflict, keep: Revision, author: str = "") -> Revision:
        """End a conflict: what `keep`, one of its two sides, says holds from now on; both stay on record.

        Raises
        ------
        WorkspaceError
            When somebody has gone on from either side meanwhile: the conflict is another one now.
        """
        if keep.id not in (conflict.first.id, conflict.second.id):
            raise ValueError(f"Revision {keep.id} is no side of this conflict")
        with self._writing() as session:
            row = need(session.get(RevisionRow, keep.id), keep.id)
            self._lock(session, row.case_id)
            line = self._lineage_of(session, row)
            if (
                line.tip is None
                or line.tip.id != conflict.first.id
                or conflict.second.id not in line.branches
            ):
                raise WorkspaceError(
                    "Somebody has meanwhile changed one of the two versions.",
                    "Look at them again, then choose.",
                )
            merges = {"merges_id": conflict.second.id}
            return self._append(session, _restored(row, author) | merges, conflict.first.id)

    # -- inside --------------------------------------------------------------------------------------

    def _add(self, case_id: str, kind: RevisionKind, based_on: BasedOn, **content: Any) -> Revision:
        with self._writing() as session:
            return self._append(session, {"case_id": case_id, "kind": kind.value} | content, based_on)

    def _append(self, session: Session, content: dict[str, Any], based_on: BasedOn) -> Revision:
        """Add a row that follows what its author saw."""
        row = RevisionRow(**(BLANK | content), uid=uuid4().hex, created_at=now(), software=SOFTWARE)
        case = need(session.get(CaseRow, row.case_id), row.case_id)
        self._lock(session, case.id)
        row.image_hash = case.image_hash
        if row.view_index is not None:
            view = next((v for v in case.views if v.index == row.view_index), None)
            row.sop_instance_uid = need(view, f"view {row.view_index} of case {row.case_id}").sop_instance_uid
        line = self._lineage_of(session, row)
        tip = line.tip
        if based_on == LATEST or (based_on is None and tip is not None and tip.withdrawn):
            row.parent_id = tip.id if tip else None
        elif based_on is None or based_on in line.ids:
            row.parent_id = based_on
        else:
            raise ValueError(f"Revision {based_on} is about something else and cannot be followed")
        session.add(row)
        session.flush()
        return revision_from(row)

    def _lineage_of(self, session: Session, row: RevisionRow) -> Lineage:
        """The lineage of the slot that a row speaks about."""
        query = select(RevisionRow).order_by(RevisionRow.id)
        for column in SLOT:
            value = getattr(row, column.key)
            query = query.where(column.is_(None) if value is None else column == value)
        line = Lineage()
        with session.no_autoflush:
            for earlier in session.scalars(query):
                line.take(revision_from(earlier))
        return line


SLOT = (RevisionRow.case_id, RevisionRow.kind, RevisionRow.view_index, RevisionRow.frame, RevisionRow.name)
"""The columns of `Revision.slot`."""

BLANK: dict[str, Any] = {
    "prompt": "",
    "model_prompt": "",
    "convention": "",
    "name": "",
    "comment": "",
    "author": "",
    "model_id": "",
    "sop_instance_uid": "",
    "model_version": "",
}
"""What a revision says where nothing is said."""


def _restored(row: RevisionRow, author: str) -> dict[str, Any]:
    content = {"restored_from": row.restored_from or row.id, "author": author or row.author}
    return content_of(row) | content
