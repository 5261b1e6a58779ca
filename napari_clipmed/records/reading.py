"""Reading the store: cases, what holds now, what was ever said, and where two people disagree."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Select, select
from sqlalchemy.orm import selectinload

from napari_clipmed.records import files
from napari_clipmed.records.identity import case_key
from napari_clipmed.records.lineage import Conflict, Lineage, lineages
from napari_clipmed.records.rows import answer_from, case_from, revision_from
from napari_clipmed.records.schema import AnswerRow, CaseRow, RevisionRow
from napari_clipmed.records.sessions import Sessions, need
from napari_clipmed.records.words import Answer, Case, Revision, RevisionKind, Slot
from napari_clipmed.records.workspace import workspace_errors
from napari_clipmed.study import Study


class ReadingRecords(Sessions):
    """Everything that a store can be asked without changing it."""

    # -- cases ---------------------------------------------------------------------------------------

    def find_case(self, study: Study) -> str | None:
        """Id of the case of a study, or None when the store does not know it."""
        key = case_key(study)
        with self._reading() as session:
            return key if session.get(CaseRow, key) else None

    def case(self, case_id: str) -> Case:
        """The case of that id."""
        with self._reading() as session:
            return case_from(need(session.get(CaseRow, case_id), case_id))

    def cases(self) -> list[Case]:
        """All cases, oldest first."""
        query = select(CaseRow).options(selectinload(CaseRow.views)).order_by(CaseRow.created_at, CaseRow.id)
        with self._reading() as session:
            return [case_from(row) for row in session.scalars(query)]

    # -- revisions -----------------------------------------------------------------------------------

    def revisions(self, case: str | None = None) -> list[Revision]:
        """All that was ever said about a case (or about all of them), oldest first."""
        query = select(RevisionRow)
        return self._revisions(query if case is None else query.where(RevisionRow.case_id == case))

    def revision(self, revision_id: int) -> Revision:
        """The revision of that id."""
        with self._reading() as session:
            return revision_from(need(session.get(RevisionRow, revision_id), revision_id))

    def current_label(self, case: str) -> Revision | None:
        """The label revision that holds now; None when there is none or it was taken back."""
        held = _holding(self._lineages(RevisionKind.LABEL, case))
        return held[0] if held else None

    def current_masks(self, case: str) -> list[Revision]:
        """The mask revisions that hold now, one a view, frame and name."""
        return _holding(self._lineages(RevisionKind.MASK, case))

    def current_labels(self) -> dict[str, Revision]:
        """`current_label` of every case that has one, by case id, in one query."""
        return {r.case_id: r for r in _holding(self._lineages(RevisionKind.LABEL))}

    def all_current_masks(self) -> list[Revision]:
        """`current_masks` of every case, in one query."""
        return _holding(self._lineages(RevisionKind.MASK))

    def conflicts(self, case: str | None = None) -> list[Conflict]:
        """Labels and masks, of one case or of all, that two people set without seeing one another's."""
        kinds = (RevisionKind.LABEL, RevisionKind.MASK)
        return [c for kind in kinds for line in self._lineages(kind, case).values() for c in line.conflicts]

    def read_mask(self, revision: Revision) -> NDArray[np.bool_]:
        """The (H, W) boolean mask of a mask revision, checked against its hash."""
        if revision.mask_sha256 is None:
            raise ValueError(f"Revision {revision.id} carries no mask")
        with workspace_errors(self.workspace.root):
            return files.decode_mask(files.load_content(self.workspace.masks, revision.mask_sha256, ".png"))

    # -- answers of models ---------------------------------------------------------------------------

    def newest_answers(self, model_id: str = "") -> dict[str, Answer]:
        """The newest answer about each case, by case id; of one model where it is named."""
        query = select(AnswerRow).order_by(AnswerRow.id)
        if model_id:
            query = query.where(AnswerRow.model_id == model_id)
        with self._reading() as session:
            return {row.case_id: answer_from(row) for row in session.scalars(query)}

    def answers(self, case: str) -> list[Answer]:
        """All that models ever said about a case, oldest first."""
        query = select(AnswerRow).where(AnswerRow.case_id == case).order_by(AnswerRow.id)
        with self._reading() as session:
            return [answer_from(row) for row in session.scalars(query)]

    # -- inside --------------------------------------------------------------------------------------

    def _revisions(self, query: Select[Any]) -> list[Revision]:
        with self._reading() as session:
            return [revision_from(row) for row in session.scalars(query.order_by(RevisionRow.id))]

    def _lineages(self, kind: RevisionKind, case: str | None = None) -> dict[Slot, Lineage]:
        query = select(RevisionRow).where(RevisionRow.kind == kind.value)
        return lineages(self._revisions(query if case is None else query.where(RevisionRow.case_id == case)))


def _holding(found: dict[Slot, Lineage]) -> list[Revision]:
    tips: Iterable[Revision | None] = (line.tip for line in found.values())
    return [tip for tip in tips if tip is not None and not tip.withdrawn]
