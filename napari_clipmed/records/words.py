"""What the store hands out: frozen objects without a database behind them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Verdict(StrEnum):
    """What a person thought of a model's answer."""

    ACCEPTED = "accepted"
    CORRECTED = "corrected"
    REJECTED = "rejected"
    UNSURE = "unsure"

    @property
    def teaches(self) -> bool:
        """Whether an answer with this verdict may be learned from."""
        return self in (Verdict.ACCEPTED, Verdict.CORRECTED)


class RevisionKind(StrEnum):
    """What a revision says something about."""

    LABEL = "label"
    MASK = "mask"
    PROMPT = "prompt"
    COMMENT = "comment"


class PatientBasis(StrEnum):
    """From what a case's patient key was made; tells how far patient-wise splits can be trusted."""

    PATIENT = "patient"
    STUDY = "study"
    CASE = "case"


class SplitRole(StrEnum):
    """On which side of fine-tuning a patient stands, for ever."""

    TRAIN = "train"
    VALIDATION = "validation"


Slot = tuple[str, str, int | None, int | None, str]
"""What a revision speaks about: case, kind, view index, frame, name."""


@dataclass(frozen=True)
class CaseView:
    """One view of a case: what it shows and which image it is."""

    index: int
    projection: str
    pixel_hash: str
    sop_instance_uid: str
    n_frames: int
    rows: int
    columns: int


@dataclass(frozen=True)
class Case:
    """One examination in the store, without identity.

    Parameters
    ----------
    id : str
        Made from image hash and SOP Instance UIDs, hence the same in every workspace.
    patient_key : str
        Keyed hash that groups the cases of one patient; the patient cannot be read from it.
    patient_basis : PatientBasis
        Whether that key stands for a patient, a DICOM study or, failing both, this case alone.
    """

    id: str
    image_hash: str
    kind: str
    synthetic: bool
    patient_key: str
    patient_basis: PatientBasis
    created_at: datetime
    views: tuple[CaseView, ...]


@dataclass(frozen=True)
class Revision:
    """One thing that a person (or a model) said about a case; never changed, only followed by another.

    Parameters
    ----------
    id : int
        Grows with time within a store.
    parent_id : int or None
        The revision that the author saw when writing this one.
    merges_id : int or None
        The other revision of a conflict that this one settles.
    restored_from : int or None
        The revision whose content an undo or restore brought back.
    label : str or None
        Key of the label; None on a label revision takes the label back.
    prompt, model_prompt, convention : str
        What was typed, the sentence the model read, and whose left it meant ("picture" or "patient").
    view_index, frame : int or None
        Where a mask or prompt belongs: index in `Study.views`, index of the original frame.
    name : str
        Tells several masks of one frame apart.
    mask_sha256 : str or None
        Name of the mask file; None on a mask revision takes the mask back.
    created_at : datetime
        In UTC.
    model_id, model_version : str
        The model whose answer was judged, and the SHA-256 of its weights.
    model_label, model_score
        What it had answered, and how sure it was (0 to 1).
    first_frame, last_frame : int or None
        The frames over which a mask is projected: it covers what was marked on any of them. None for a mask
        of `frame` alone.
    """

    id: int
    uid: str
    case_id: str
    parent_id: int | None
    restored_from: int | None
    kind: RevisionKind
    verdict: Verdict | None
    label: str | None
    prompt: str
    model_prompt: str
    convention: str
    view_index: int | None
    frame: int | None
    name: str
    mask_sha256: str | None
    threshold: float | None
    comment: str
    author: str
    created_at: datetime
    software: str
    model_id: str
    image_hash: str
    sop_instance_uid: str
    merges_id: int | None = None
    model_version: str = ""
    model_label: str | None = None
    model_score: float | None = None
    first_frame: int | None = None
    last_frame: int | None = None

    @property
    def projected(self) -> tuple[int, int] | None:
        """First and last frame of a projected mask; None for a mask of one frame."""
        if self.first_frame is None or self.last_frame is None:
            return None
        return self.first_frame, self.last_frame

    @property
    def slot(self) -> Slot:
        """What this revision replaces: the same kind of statement about the same thing."""
        return (self.case_id, self.kind, self.view_index, self.frame, self.name)

    @property
    def withdrawn(self) -> bool:
        """Whether this revision takes a label or mask back and says nothing in its place."""
        return self.verdict is None and self.kind in (RevisionKind.LABEL, RevisionKind.MASK)

    def says_the_same(self, other: Revision) -> bool:
        """Whether two revisions of one slot come to the same label or mask."""
        mine = (self.withdrawn, self.label, self.mask_sha256, self.projected)
        return mine == (other.withdrawn, other.label, other.mask_sha256, other.projected)


@dataclass(frozen=True)
class Answer:
    """What a diagnosis model said about a case.

    Parameters
    ----------
    probabilities : dict
        ``probabilities["AP" | "LA" | "both"][label]``, as in `inference.results.Diagnosis`.
    unlike_training : bool
        Whether the study lay outside what the model was trained on.
    possible : list of str or None
        Keys of the classes in the prediction set of the combined answer; None where the model had none.
    """

    id: int
    case_id: str
    model_id: str
    model_version: str
    probabilities: dict[str, dict[str, float]]
    unlike_training: bool
    created_at: datetime
    possible: list[str] | None = None

    @property
    def combined(self) -> dict[str, float]:
        """Probabilities of both views together, or of the only view; empty where there are none."""
        return self.probabilities.get("both") or next(iter(self.probabilities.values()), {})

    @property
    def predicted(self) -> str:
        """Key of the most probable label; empty where there are none."""
        return max(self.combined, key=lambda label: self.combined[label], default="")
