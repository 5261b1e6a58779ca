"""The annotation store of a workspace: cases and their revisions.

Nothing is ever changed or removed: a correction, an undo and a restore are new revisions.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from napari_clipmed.records import files
from napari_clipmed.records.identity import case_key
from napari_clipmed.records.rows import case_from, case_row, content_of, revision_from
from napari_clipmed.records.schema import CaseRow, RevisionRow
from napari_clipmed.records.sessions import SOFTWARE, need, now
from napari_clipmed.records.training_records import TrainingRecords
from napari_clipmed.records.words import Case, Revision, RevisionKind, Verdict
from napari_clipmed.records.workspace import workspace_errors
from napari_clipmed.study import Study


class Store(TrainingRecords):
    """The records of one workspace; safe to use from several threads and several programs at once.

    Open one with `Store.open`. Every method that reads or writes raises `WorkspaceError` with a sentence
    when the disk is full, cannot be written, is locked or damaged, and `KeyError` for an unknown case.
    """

    # -- cases ---------------------------------------------------------------------------------------

    def find_case(self, study: Study) -> str | None:
        """Id of the case of a study, or None when the store does not know it."""
        key = case_key(study)
        with self._reading() as session:
            return key if session.get(CaseRow, key) else None

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
            if session.get(CaseRow, row.id) is None:  # another program may have been quicker
                session.add(row)
        return row.id

    def case(self, case_id: str) -> Case:
        """The case of that id."""
        with self._reading() as session:
            return case_from(need(session.get(CaseRow, case_id), case_id))

    def cases(self) -> list[Case]:
        """All cases, oldest first."""
        query = select(CaseRow).options(selectinload(CaseRow.views)).order_by(CaseRow.created_at, CaseRow.id)
        with self._reading() as session:
            return [case_from(row) for row in session.scalars(query)]

    # -- writing revisions ---------------------------------------------------------------------------

    def add_label(
        self,
        case: str,
        label: str | None,
        verdict: Verdict | str,
        model_id: str = "",
        author: str = "",
        comment: str = "",
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
        """
        return self._add(
            case,
            RevisionKind.LABEL,
            label=label,
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
        verdict, model_id, author, comment
            As in `add_label`.
        """
        if mask.ndim != 2:
            raise ValueError(f"A mask is (H, W), not of shape {mask.shape}")
        self._check_writable()
        with workspace_errors(self.workspace.root):
            digest = files.store_content(
                self.workspace.masks, files.encode_mask(mask), ".png", self.workspace.root / files.PARTIAL
            )
        return self._add(
            case,
            RevisionKind.MASK,
            view_index=view_index,
            frame=frame,
            mask_sha256=digest,
            prompt=prompt,
            model_prompt=model_prompt or prompt,
            convention=convention,
            verdict=Verdict(verdict).value,
            name=name,
            threshold=threshold,
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
        return self._add(case, RevisionKind.COMMENT, comment=comment, author=author)

    def restore(self, revision: Revision, author: str = "") -> Revision:
        """Make an earlier revision current again, by a new one of the same content."""
        with self._writing() as session:
            row = need(session.get(RevisionRow, revision.id), revision.id)
            return self._append(session, _restored(row, author))

    def undo(self, revision: Revision, author: str = "") -> Revision:
        """Go back to what held before the current `revision`, by a new revision.

        Undoing again goes further back. Where nothing held before, the new revision takes the label or
        mask back (`Revision.withdrawn`); undoing that changes nothing. `restore` is the redo.
        """
        if revision.withdrawn:
            return revision
        with self._writing() as session:
            row = need(session.get(RevisionRow, revision.id), revision.id)
            origin = need(session.get(RevisionRow, row.restored_from or row.id), row.restored_from)
            if origin.parent_id is not None:
                before = need(session.get(RevisionRow, origin.parent_id), origin.parent_id)
                return self._append(session, _restored(before, author))
            blank = {"label": None, "mask_sha256": None, "verdict": None, "comment": ""}
            return self._append(session, content_of(row) | blank | {"author": author or row.author})

    def _add(self, case_id: str, kind: RevisionKind, **content: Any) -> Revision:
        with self._writing() as session:
            return self._append(session, {"case_id": case_id, "kind": kind.value} | content)

    def _append(self, session: Session, content: dict[str, Any]) -> Revision:
        """Add a row that follows the newest one of its slot."""
        row = RevisionRow(**(BLANK | content), uid=uuid4().hex, created_at=now(), software=SOFTWARE)
        case = need(session.get(CaseRow, row.case_id), row.case_id)
        row.image_hash = case.image_hash
        if row.view_index is not None:
            view = next((v for v in case.views if v.index == row.view_index), None)
            row.sop_instance_uid = need(view, f"view {row.view_index} of case {row.case_id}").sop_instance_uid
        query = select(RevisionRow.id).order_by(RevisionRow.id.desc()).limit(1)
        for column in SLOT:
            value = getattr(row, column.key)
            query = query.where(column.is_(None) if value is None else column == value)
        row.parent_id = session.scalars(query).first()
        session.add(row)
        session.flush()
        return revision_from(row)

    # -- reading revisions ---------------------------------------------------------------------------

    def revisions(self, case: str) -> list[Revision]:
        """All that was ever said about a case, oldest first."""
        query = select(RevisionRow).where(RevisionRow.case_id == case).order_by(RevisionRow.id)
        with self._reading() as session:
            return [revision_from(row) for row in session.scalars(query)]

    def current_label(self, case: str) -> Revision | None:
        """The label revision that holds now; None when there is none or it was taken back."""
        newest = self._newest(RevisionKind.LABEL, [case])
        return newest[0] if newest and not newest[0].withdrawn else None

    def current_masks(self, case: str) -> list[Revision]:
        """The mask revisions that hold now, one a view, frame and name."""
        return [r for r in self._newest(RevisionKind.MASK, [case]) if not r.withdrawn]

    def current_labels(self) -> dict[str, Revision]:
        """`current_label` of every case that has one, by case id, in one query."""
        return {r.case_id: r for r in self._newest(RevisionKind.LABEL) if not r.withdrawn}

    def all_current_masks(self) -> list[Revision]:
        """`current_masks` of every case, in one query."""
        return [r for r in self._newest(RevisionKind.MASK) if not r.withdrawn]

    def read_mask(self, revision: Revision) -> NDArray[np.bool_]:
        """The (H, W) boolean mask of a mask revision, checked against its hash."""
        if revision.mask_sha256 is None:
            raise ValueError(f"Revision {revision.id} carries no mask")
        with workspace_errors(self.workspace.root):
            return files.decode_mask(files.load_content(self.workspace.masks, revision.mask_sha256, ".png"))

    def _newest(self, kind: RevisionKind, cases: Sequence[str] | None = None) -> list[Revision]:
        query = select(RevisionRow).where(RevisionRow.kind == kind.value).order_by(RevisionRow.id)
        if cases is not None:
            query = query.where(RevisionRow.case_id.in_(cases))
        with self._reading() as session:
            revisions = [revision_from(row) for row in session.scalars(query)]
        return list({revision.slot: revision for revision in revisions}.values())


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
}
"""What a revision says where nothing is said."""


def _restored(row: RevisionRow, author: str) -> dict[str, Any]:
    content = {"restored_from": row.restored_from or row.id, "author": author or row.author}
    return content_of(row) | content
