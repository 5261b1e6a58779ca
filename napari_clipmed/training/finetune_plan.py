"""What a round of fine-tuning would learn from, said before it starts.

Patients, not studies, are divided. A patient's side is decided when a round first sees the patient, written
down in the workspace when that round's model is registered, and never changed: no model of the workspace
ever trains on a validation patient, and a later round is measured on what earlier rounds never saw.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from typing import Any, Literal

from napari_clipmed.errors import ClipmedError
from napari_clipmed.models.card import ModelEntry
from napari_clipmed.records import Case, PatientBasis, Revision, SplitRole, Store
from napari_clipmed.records.words import Slot
from napari_clipmed.training.snapshots import frame_name, runs_of

Task = Literal["diagnosis", "segmentation"]

VALIDATION_SHARE = 0.2
PATIENTS_TO_VALIDATE = 5
"""From this many patients on, some are kept for validation."""

PATIENTS_LEFT_TO_TRAIN = 2
"""A class gives a patient to validation only while this many are left for training."""

FEW_PATIENTS = 5
"""Below this many training patients a class is called scarce."""


@dataclass(frozen=True)
class Example:
    """One thing to learn: the label of a case, or a mask with its sentence.

    Parameters
    ----------
    revision : Revision
        What the person said.
    patient_key : str
        Whose case it is.
    label : str
        Key of the label; for masks the name of the mask.
    """

    revision: Revision
    patient_key: str
    label: str

    @property
    def case_id(self) -> str:
        """The case it belongs to."""
        return self.revision.case_id


@dataclass(frozen=True)
class ClassCount:
    """How much there is of one class."""

    train_cases: int = 0
    train_patients: int = 0
    validation_cases: int = 0
    validation_patients: int = 0


@dataclass(frozen=True)
class FinetunePlan:
    """What would be trained on, what is kept for validation, and what a person should know about it.

    Parameters
    ----------
    task : str
        "diagnosis" or "segmentation".
    training, validation : tuple of Example
        Divided by patient.
    classes : mapping of str to ClassCount
        Counts per class.
    new_roles : mapping of str to SplitRole
        Patients that this round would fix, by patient key.
    problems : tuple of str
        Why it cannot start; empty when it can.
    sentences : tuple of str
        What a person should read before starting.
    """

    task: Task
    training: tuple[Example, ...]
    validation: tuple[Example, ...]
    classes: Mapping[str, ClassCount]
    new_roles: Mapping[str, SplitRole] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    sentences: tuple[str, ...] = ()

    @property
    def can_run(self) -> bool:
        """Whether there is anything to learn from."""
        return not self.problems

    def check(self) -> None:
        """Raise `ClipmedError` with the first of the problems, if there is one."""
        if self.problems:
            raise ClipmedError(self.problems[0])

    @property
    def fingerprint(self) -> str:
        """SHA-256 over every revision used and its side; equal plans learn from equal data."""
        return _fingerprint((self.training, self.validation))

    @property
    def validation_fingerprint(self) -> str:
        """SHA-256 over the validation revisions; figures compare only where it is the same."""
        return _fingerprint((self.validation,))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "task": self.task,
            "training": sorted({e.case_id for e in self.training}),
            "validation": sorted({e.case_id for e in self.validation}),
            "training_examples": len(self.training),
            "validation_examples": len(self.validation),
            "training_patients": len({e.patient_key for e in self.training}),
            "validation_patients": len({e.patient_key for e in self.validation}),
            "classes": {name: asdict(count) for name, count in self.classes.items()},
            "can_run": self.can_run,
            "problems": list(self.problems),
            "sentences": list(self.sentences),
            "fingerprint": self.fingerprint,
            "validation_fingerprint": self.validation_fingerprint,
        }


def plan(store: Store, task: Task, base: ModelEntry | None = None) -> FinetunePlan:
    """Look through the workspace; nothing is written.

    Parameters
    ----------
    store : Store
        Reading is enough.
    task : "diagnosis" or "segmentation"
        What is to be learned.
    base : ModelEntry, optional
        The model to start from; labels that it does not have are left out.
    """
    cases = {case.id: case for case in store.cases()}
    revisions = list(store.current_labels().values()) if task == "diagnosis" else store.all_current_masks()
    disputed = {slot.first.slot for slot in store.conflicts()}
    examples, left_out = _examples(task, revisions, cases, store.input_names(), base, disputed)
    known = store.split_roles(task)
    new_roles = decide_roles(examples, known)
    roles = dict(known) | new_roles
    sides = {
        role: tuple(e for e in examples if roles[e.patient_key] is role)
        for role in (SplitRole.TRAIN, SplitRole.VALIDATION)
    }
    training, validation = sides[SplitRole.TRAIN], sides[SplitRole.VALIDATION]
    classes = _count(training, validation)
    loose = sum(
        cases[case_id].patient_basis is not PatientBasis.PATIENT for case_id in {e.case_id for e in examples}
    )
    return FinetunePlan(
        task=task,
        training=training,
        validation=validation,
        classes=classes,
        new_roles=new_roles,
        problems=_problems(task, training, left_out),
        sentences=tuple(_sentences(task, training, validation, classes, left_out, loose)),
    )


def decide_roles(examples: Sequence[Example], known: Mapping[str, SplitRole]) -> dict[str, SplitRole]:
    """The side of every patient that has none yet, depending on nothing but the patients themselves.

    A fifth of all patients is wanted for validation, drawn by their keys, from the class with the most
    training patients first.
    """
    label_of: dict[str, str] = {}
    for example in sorted(examples, key=lambda e: e.revision.id):
        label_of.setdefault(example.patient_key, example.label)
    free: dict[str, list[str]] = defaultdict(list)
    training: Counter[str] = Counter()
    for patient, label in sorted(label_of.items()):
        if patient not in known:
            free[label].append(patient)
        if known.get(patient) is not SplitRole.VALIDATION:
            training[label] += 1
    wanted = round(VALIDATION_SHARE * len(label_of)) if len(label_of) >= PATIENTS_TO_VALIDATE else 0
    wanted -= sum(known.get(patient) is SplitRole.VALIDATION for patient in label_of)
    roles = {patient: SplitRole.TRAIN for patients in free.values() for patient in patients}
    while wanted > 0:
        giving = [name for name in sorted(free) if free[name] and training[name] > PATIENTS_LEFT_TO_TRAIN]
        if not giving:
            break
        label = max(giving, key=lambda name: training[name])
        roles[free[label].pop()] = SplitRole.VALIDATION
        training[label] -= 1
        wanted -= 1
    return roles


def _examples(
    task: Task,
    revisions: Iterable[Revision],
    cases: Mapping[str, Case],
    stored: Mapping[str, frozenset[str]],
    base: ModelEntry | None,
    disputed: Collection[Slot],
) -> tuple[list[Example], Counter[str]]:
    """What can be learned from, and how many were left out for which reason."""
    rows = (base.card.label_set or {}).get("labels", []) if base is not None else []
    labels = {str(row["key"]) for row in rows}
    refuse = _refuse_label if task == "diagnosis" else _refuse_mask
    examples, left_out = [], Counter[str]()
    for revision in sorted(revisions, key=lambda r: r.id):
        reason = refuse(revision, stored.get(revision.case_id, frozenset()), labels)
        if not reason and revision.slot in disputed:
            reason = "on which two readers disagree; settle it first"
        if reason:
            left_out[reason] += 1
            continue
        label = (revision.label or "") if task == "diagnosis" else revision.name
        examples.append(Example(revision, cases[revision.case_id].patient_key, label))
    return examples, left_out


Refusal = Callable[[Revision, frozenset[str], set[str]], str]


def _refuse_label(revision: Revision, stored: frozenset[str], labels: set[str]) -> str:
    if revision.verdict is None or not revision.verdict.teaches or revision.label is None:
        return "rejected or unsure"
    if labels and revision.label not in labels:
        return "of a class that the model does not have"
    return "" if runs_of(stored) else "without stored pictures; open and judge them again"


def _refuse_mask(revision: Revision, stored: frozenset[str], labels: set[str]) -> str:
    if revision.verdict is None or not revision.verdict.teaches:
        return "rejected or unsure"
    if not revision.model_prompt.strip():
        return "without a sentence"
    if revision.projected:
        return "projected over several frames"
    assert revision.view_index is not None and revision.frame is not None  # a mask always has its place
    known = frame_name(revision.view_index, revision.frame) in stored
    return "" if known else "without stored pictures; open and judge them again"


def _count(training: Sequence[Example], validation: Sequence[Example]) -> dict[str, ClassCount]:
    def counts(examples: Sequence[Example], label: str) -> tuple[int, int]:
        of_class = [e for e in examples if e.label == label]
        return len({e.case_id for e in of_class}), len({e.patient_key for e in of_class})

    labels = sorted({e.label for e in (*training, *validation)})
    return {label: ClassCount(*counts(training, label), *counts(validation, label)) for label in labels}


def _problems(task: Task, training: Sequence[Example], left_out: Counter[str]) -> tuple[str, ...]:
    if training:
        return ()
    what = "labels" if task == "diagnosis" else "masks with a sentence"
    reasons = "; ".join(f"{n} {reason}" for reason, n in left_out.items())
    found = f" ({reasons})" if reasons else ""
    return (f"There are no accepted or corrected {what} to train on{found}; accept or correct some first.",)


def _sentences(
    task: Task,
    training: Sequence[Example],
    validation: Sequence[Example],
    classes: Mapping[str, ClassCount],
    left_out: Counter[str],
    loose: int,
) -> Iterable[str]:
    what = "study", "studies"
    if task == "segmentation":
        what = "mask", "masks"
    if training:
        yield f"Trains on {_amount(training, what)}."
    if validation:
        yield f"Validates on {_amount(validation, what)}, never trained on in this workspace."
    elif training:
        yield (
            "Too few patients to keep some for validation: the figures will be those of the training "
            "data, which flatter the model."
        )
    if task == "diagnosis":
        scarce = [f"{n} ({c.train_patients})" for n, c in classes.items() if c.train_patients < FEW_PATIENTS]
        if scarce:
            yield (
                f"Few training patients in: {', '.join(scarce)}. The model may learn these by heart; "
                f"{FEW_PATIENTS} patients a class are a sensible least."
            )
        if len(classes) == 1 and training:
            yield "All training studies are of one class; the model may start to see it everywhere."
    for reason, n in left_out.items():
        yield f"Left out: {n} {what[0] if n == 1 else what[1]} {reason}."
    if loose:
        who = "study has" if loose == 1 else "studies have"
        yield f"{loose} {who} no patient ID; each counts as a patient."


def _amount(examples: Sequence[Example], what: tuple[str, str]) -> str:
    n, patients = len(examples), len({e.patient_key for e in examples})
    whose = "1 patient" if patients == 1 else f"{patients} patients"
    return f"{n} {what[0] if n == 1 else what[1]} of {whose}"


def _fingerprint(sides: Iterable[Sequence[Example]]) -> str:
    content = [sorted(e.revision.uid for e in side) for side in sides]
    return sha256(json.dumps(content).encode()).hexdigest()
