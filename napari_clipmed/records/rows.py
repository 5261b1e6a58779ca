"""From rows to the frozen objects that leave the store, and back."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from napari_clipmed.records.identity import case_key, patient_key
from napari_clipmed.records.schema import AnswerRow, CaseRow, CaseViewRow, RevisionRow
from napari_clipmed.records.sessions import SOFTWARE, now
from napari_clipmed.records.words import (
    Answer,
    Case,
    CaseView,
    PatientBasis,
    Revision,
    RevisionKind,
    Verdict,
)
from napari_clipmed.study import Study

WRITTEN_ONCE = {"id", "uid", "parent_id", "merges_id", "restored_from", "created_at", "software"}
"""Fields of a revision that belong to its being written, not to what it says."""


def case_row(study: Study, salt: str) -> CaseRow:
    """A new case without identity, path or title."""
    key, basis = patient_key(study, salt)
    return CaseRow(
        id=case_key(study),
        image_hash=study.image_hash,
        kind=study.kind.value,
        synthetic=study.synthetic,
        patient_key=key,
        patient_basis=basis.value,
        created_at=now(),
        software=SOFTWARE,
        views=[
            CaseViewRow(
                index=index,
                projection=view.projection.value,
                pixel_hash=view.source_hash,
                sop_instance_uid=view.source.sop_instance_uid,
                n_frames=view.n_frames,
                rows=view.pixels.shape[1],
                columns=view.pixels.shape[2],
            )
            for index, view in enumerate(study.views)
        ],
    )


def case_from(row: CaseRow) -> Case:
    """The frozen case of a row."""
    return Case(
        id=row.id,
        image_hash=row.image_hash,
        kind=row.kind,
        synthetic=row.synthetic,
        patient_key=row.patient_key,
        patient_basis=PatientBasis(row.patient_basis),
        created_at=row.created_at,
        views=tuple(
            CaseView(**{f.name: getattr(view, f.name) for f in fields(CaseView)}) for view in row.views
        ),
    )


def revision_from(row: RevisionRow) -> Revision:
    """The frozen revision of a row."""
    values = {field.name: getattr(row, field.name) for field in fields(Revision)}
    verdict = None if row.verdict is None else Verdict(row.verdict)
    return Revision(**(values | {"kind": RevisionKind(row.kind), "verdict": verdict}))


def content_of(row: RevisionRow) -> dict[str, Any]:
    """What a revision says, for saying it again."""
    return {f.name: getattr(row, f.name) for f in fields(Revision) if f.name not in WRITTEN_ONCE}


def answer_from(row: AnswerRow) -> Answer:
    """The frozen answer of a row."""
    return Answer(**{field.name: getattr(row, field.name) for field in fields(Answer)})
