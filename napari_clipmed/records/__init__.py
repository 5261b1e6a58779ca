"""The annotation store: append-only revisions of labels, masks, prompts and verdicts."""

from napari_clipmed.records.lineage import Conflict
from napari_clipmed.records.store import LATEST, Store
from napari_clipmed.records.study_settings import Run, Setting
from napari_clipmed.records.words import (
    Answer,
    Case,
    CaseView,
    PatientBasis,
    Revision,
    RevisionKind,
    SplitRole,
    Verdict,
)
from napari_clipmed.records.worklist_records import Listed
from napari_clipmed.records.workspace import Workspace

__all__ = [
    "LATEST",
    "Answer",
    "Case",
    "CaseView",
    "Conflict",
    "Listed",
    "PatientBasis",
    "Revision",
    "RevisionKind",
    "Run",
    "Setting",
    "SplitRole",
    "Store",
    "Verdict",
    "Workspace",
]
