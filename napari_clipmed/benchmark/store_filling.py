"""Many cases in an annotation store, written in bulk: through its own methods 100,000 would take an hour."""

from __future__ import annotations

from uuid import uuid4

from sqlalchemy import insert

from napari_clipmed.records import Store
from napari_clipmed.records.schema import CaseRow, CaseViewRow, RevisionRow
from napari_clipmed.records.sessions import SOFTWARE, now
from napari_clipmed.records.store import BLANK
from napari_clipmed.records.words import PatientBasis

_AT_ONCE = 5_000


def fill_store(store: Store, cases: int) -> None:
    """Add biplane cases of made-up hashes, each with an accepted label.

    Parameters
    ----------
    store : Store
        Open for writing.
    cases : int
        How many are added.
    """
    for start in range(0, cases, _AT_ONCE):
        made = [_case() for _ in range(min(_AT_ONCE, cases - start))]
        with store._writing() as session:  # the store has no bulk entry of its own, and needs none
            session.execute(insert(CaseRow), [case for case, _, _ in made])
            session.execute(insert(CaseViewRow), [view for _, views, _ in made for view in views])
            session.execute(insert(RevisionRow), [label for _, _, label in made])


def _case() -> tuple[dict[str, object], list[dict[str, object]], dict[str, object]]:
    key, image_hash = uuid4().hex, uuid4().hex * 2
    stamp = {"created_at": now(), "software": SOFTWARE}
    case = {
        "id": key,
        "image_hash": image_hash,
        "kind": "angiogram",
        "synthetic": True,
        "patient_key": uuid4().hex * 2,
        "patient_basis": PatientBasis.PATIENT.value,
    } | stamp
    views: list[dict[str, object]] = [
        {
            "case_id": key,
            "index": index,
            "projection": name,
            "pixel_hash": uuid4().hex * 2,
            "sop_instance_uid": f"2.25.{uuid4().int}",
            "n_frames": 16,
            "rows": 224,
            "columns": 224,
        }
        for index, name in enumerate(("AP", "LA"))
    ]
    label = {
        **BLANK,
        "uid": uuid4().hex,
        "case_id": key,
        "kind": "label",
        "verdict": "accepted",
        "label": "Control",
        "image_hash": image_hash,
    } | stamp
    return case, views, label
