"""The annotation store: append-only revisions of labels, masks, prompts and verdicts."""

from napari_clipmed.records.store import Store
from napari_clipmed.records.words import (
    Case,
    CaseView,
    PatientBasis,
    Revision,
    RevisionKind,
    SplitRole,
    Verdict,
)
from napari_clipmed.records.workspace import Workspace

__all__ = [
    "Case",
    "CaseView",
    "PatientBasis",
    "Revision",
    "RevisionKind",
    "SplitRole",
    "Store",
    "Verdict",
    "Workspace",
]
