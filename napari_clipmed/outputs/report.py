"""Labels as DICOM Structured Report (Comprehensive 3D SR, TID 1500): what the model said, what the reader.

A case is reported by a chain of documents. The first says what the model answered; it is not verified. Every
label that a reader saved makes another, which names the one before as its predecessor; it is verified once a
reader who gave initials accepted or corrected the answer. Equal statements give equal UIDs, so that a
document exported yesterday is the one that today's names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import BytesIO
from typing import Any

import highdicom as hd
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes

from napari_clipmed import __version__
from napari_clipmed.errors import ClipmedError
from napari_clipmed.export.stamp import RESEARCH_USE
from napari_clipmed.io.quiet import quiet_pydicom
from napari_clipmed.outputs.annotations import check_case
from napari_clipmed.outputs.code_book import (
    OWN_SCHEME,
    finding_of,
    procedure_of,
    remark,
    site_of,
    verdict_code,
    verdict_name,
)
from napari_clipmed.outputs.sources import (
    MAKER,
    SERIAL_NUMBER,
    SourceImage,
    equipment,
    finish,
    mode_word,
    series_words,
    sources_of,
    uid_of,
)
from napari_clipmed.records import Answer, Revision, RevisionKind, Store, Verdict
from napari_clipmed.study import Study

SERIES_NUMBER = 951
NOT_STATED = "not stated"
BOTH = "both"


@dataclass(frozen=True)
class Statement:
    """One thing that was said about a study as a whole.

    Parameters
    ----------
    label : str
        Key of the class.
    probability : float or None
        Of that class, by the model.
    by_view : mapping of str to float
        The same from single views ("AP", "LA").
    model_id, model_version : str
        What answered; the version is the SHA-256 of its weights.
    verdict : Verdict or None
        Of the reader; None on what the model said.
    author : str
        Initials of the reader.
    """

    label: str
    probability: float | None
    model_id: str
    model_version: str
    moment: datetime
    by_view: Mapping[str, float] = field(default_factory=dict)
    unlike_training: bool = False
    verdict: Verdict | None = None
    author: str = ""

    @property
    def words(self) -> tuple[object, ...]:
        """All of it in a fixed form, whichever database it came from."""
        moment = self.moment.astimezone(UTC).isoformat()
        model = (self.model_id, self.model_version, self.unlike_training)
        verdict = self.verdict.value if self.verdict else ""
        return (
            self.label,
            self.probability,
            *sorted(self.by_view.items()),
            *model,
            moment,
            verdict,
            self.author,
        )

    @property
    def verified(self) -> bool:
        """Whether a reader stands for it: accepted or corrected, and with initials."""
        return self.verdict in (Verdict.ACCEPTED, Verdict.CORRECTED) and bool(self.author)


def report_of(
    store: Store,
    case: str,
    study: Study,
    *,
    with_identity: bool = False,
    organization: str = NOT_STATED,
    frames: Mapping[int, Sequence[int]] | None = None,
) -> Dataset:
    """The document that holds now: the last of `reports_of`, which takes the same parameters."""
    return reports_of(
        store, case, study, with_identity=with_identity, organization=organization, frames=frames
    )[-1]


def reports_of(
    store: Store,
    case: str,
    study: Study,
    *,
    with_identity: bool = False,
    organization: str = NOT_STATED,
    frames: Mapping[int, Sequence[int]] | None = None,
) -> list[Dataset]:
    """All documents about the label of a case, oldest first; each but the first names the one before.

    Parameters
    ----------
    store, case
        Whose; the case must be that of the study.
    study : Study
        Opened from its DICOM files.
    with_identity : bool
        Repeat the patient and study attributes of the source, as an archive needs it; else they stay empty.
    organization : str
        For whom the readers verify; DICOM asks for it.
    frames : mapping of int to sequence of int
        By view index, indices of the frames that the answer rests on; the whole run where none are given.

    Raises
    ------
    ClipmedError
        When nothing was said about the case, or the source is no DICOM image.
    """
    check_case(store, case, study)
    said = statements_of(store, case)
    if not said:
        raise ClipmedError(
            "This case has no label and no answer to report.", "Classify it, or save a label, first."
        )
    sources = sources_of(study, with_identity)
    documents: list[Dataset] = []
    for statement in said:
        before = documents[-1] if documents else None
        documents.append(_document(statement, before, sources, study, organization, frames or {}))
    return documents


def statements_of(store: Store, case: str) -> list[Statement]:
    """What was said about the label of a case, oldest first, as far as it leads to what holds now."""
    held = store.current_label(case)
    line = _line_to(held, store.revisions(case)) if held else []
    judged = next((r for r in line if r.model_id), None)
    answer = _answer_judged(store.answers(case), judged)
    said = [_by_model(answer)] if answer else [_by_judged(judged)] if judged and judged.model_label else []
    return said + [s for s in (_by_reader(r, answer) for r in line) if s is not None]


def check_report(content: bytes | Dataset, statement: Statement) -> None:
    """Read an SR back and compare finding, probability, model and verdict.

    Raises
    ------
    ClipmedError
        When one differs.
    """
    read = content if isinstance(content, Dataset) else dcmread(BytesIO(content))
    document = hd.sr.Comprehensive3DSR.from_dataset(read)
    root: Any = document.content
    group = root.get_image_measurement_groups()[0]
    found = {
        "finding": group.finding_type.value,
        "probability": next((m.value for m in group.get_measurements()), None),
        "verdict": next(
            (e.value.value for e in group.get_qualitative_evaluations() if e.name.value == "verdict"), None
        ),
        "verified": read.VerificationFlag == "VERIFIED",
    }
    wanted = {
        "finding": finding_of(statement.label).value,
        "probability": None if statement.probability is None else _rounded(statement.probability),
        "verdict": verdict_code(statement.verdict).value if statement.verdict else None,
        "verified": statement.verified,
    }
    for name, value in wanted.items():
        if found[name] != value:
            raise ClipmedError(
                f"The report does not read back: {name} is {found[name]!r}, not {value!r}; it was not kept.",
                "Please report this.",
            )


def _line_to(held: Revision, revisions: Sequence[Revision]) -> list[Revision]:
    """The label revisions that lead to the one that holds, oldest first, without withdrawn ones."""
    known = {r.id: r for r in revisions if r.kind is RevisionKind.LABEL}
    line, at = [], held
    while True:
        if not at.withdrawn:
            line.append(at)
        if at.parent_id is None or at.parent_id not in known:
            return line[::-1]
        at = known[at.parent_id]


def _answer_judged(answers: Sequence[Answer], judged: Revision | None) -> Answer | None:
    """What the model said when it was first asked: the same answer is saved again with every verdict."""
    if judged is not None:
        named = (judged.model_id, judged.model_version, judged.model_label)
        return next((a for a in answers if (a.model_id, a.model_version, _top(a)[0]) == named), None)
    if not answers:
        return None
    last = answers[-1]
    same = (last.model_id, last.model_version, last.probabilities)
    return next(a for a in answers if (a.model_id, a.model_version, a.probabilities) == same)


def _top(answer: Answer) -> tuple[str, float]:
    combined = answer.probabilities.get(BOTH) or next(iter(answer.probabilities.values()))
    label = max(combined, key=lambda key: combined[key])
    return label, combined[label]


def _single(answer: Answer | None, label: str) -> dict[str, float]:
    """Probability of a class from single views, where there are several."""
    if answer is None or BOTH not in answer.probabilities:
        return {}
    return {
        view: some[label] for view, some in answer.probabilities.items() if view != BOTH and label in some
    }


def _by_model(answer: Answer) -> Statement:
    label, probability = _top(answer)
    return Statement(
        label, probability, answer.model_id, answer.model_version, answer.created_at, _single(answer, label),
        answer.unlike_training,
    )  # fmt: skip


def _by_judged(revision: Revision) -> Statement:
    """What the model had said, as the reader's verdict keeps it."""
    return Statement(
        revision.model_label or "",
        revision.model_score,
        revision.model_id,
        revision.model_version,
        revision.created_at,
    )


def _by_reader(revision: Revision, answer: Answer | None) -> Statement | None:
    label = revision.label or revision.model_label
    if label is None or revision.verdict is None:
        return None
    agreed = label == revision.model_label
    judged = (revision.model_id, revision.model_version)
    if answer is not None and (answer.model_id, answer.model_version) != judged:
        answer = None  # a later verdict may be about another model
    return Statement(
        label,
        revision.model_score if agreed else None,
        revision.model_id,
        revision.model_version,
        revision.created_at,
        _single(answer, label) if agreed else {},
        answer.unlike_training if answer else False,
        revision.verdict,
        revision.author,
    )


@quiet_pydicom
def _document(
    statement: Statement,
    before: Dataset | None,
    sources: Sequence[SourceImage],
    study: Study,
    organization: str,
    frames: Mapping[int, Sequence[int]],
) -> Dataset:
    first = sources[0]
    words = (first.header.SOPInstanceUID, "sr", mode_word(first.with_identity))
    said = (
        *statement.words,
        organization,
        sorted((view, *some) for view, some in frames.items()),
        before.SOPInstanceUID if before else "",
    )
    uid = uid_of(*words, *said)
    document = hd.sr.Comprehensive3DSR(
        evidence=[source.header for source in sources],
        content=hd.sr.MeasurementReport(
            observation_context=_observer(statement, uid_of("device")),
            procedure_reported=procedure_of(study.kind),
            imaging_measurements=[_group(statement, sources, study, frames, uid)],
            title=codes.cid7021.ImagingMeasurementReport,
        )[0],
        series_instance_uid=uid_of(*words, "series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=uid,
        instance_number=1 if before is None else int(before.InstanceNumber) + 1,
        is_complete=True,
        is_verified=statement.verified,
        verifying_observer_name=f"{statement.author}^" if statement.verified else None,
        verifying_organization=organization if statement.verified else None,
        previous_versions=[before] if before is not None else None,
        series_description=series_words("reading", study.synthetic),
        coding_schemes=[_own_scheme()],
        **equipment(),
    )
    finish(document, first, statement.moment)
    if statement.verified:
        document.VerifyingObserverSequence[0].VerificationDateTime = statement.moment.astimezone().strftime(
            "%Y%m%d%H%M%S"
        )
    return document


def _group(
    statement: Statement,
    sources: Sequence[SourceImage],
    study: Study,
    frames: Mapping[int, Sequence[int]],
    uid: str,
) -> hd.sr.MeasurementsAndQualitativeEvaluations:
    """TID 1501: finding, site, probability, algorithm, verdict, and the images that it rests on."""
    site = site_of(statement.label)
    answers = [
        *([(verdict_name(), verdict_code(statement.verdict))] if statement.verdict else []),
        *([(remark("unlike_training"), codes.SCT.Yes)] if statement.unlike_training else []),
        *([(remark("simulated"), codes.SCT.Yes)] if study.synthetic else []),
    ]
    named = {source.view.projection.value: source for source in sources}
    probabilities = [] if statement.probability is None else [_probability(statement.probability)]
    probabilities += [
        _probability(value, named[view], frames) for view, value in statement.by_view.items() if view in named
    ]
    return hd.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid_of(uid, "group"), series_words("label", study.synthetic)
        ),
        finding_type=finding_of(statement.label),
        finding_sites=[hd.sr.FindingSite(site)] if site else None,
        algorithm_id=(
            hd.sr.AlgorithmIdentification(
                statement.model_id, statement.model_version or "unknown", parameters=[RESEARCH_USE]
            )
            if statement.model_id
            else None
        ),
        measurements=probabilities or None,
        qualitative_evaluations=[hd.sr.QualitativeEvaluation(*pair) for pair in answers] or None,
        source_images=[
            hd.sr.SourceImageForMeasurementGroup(*_reference(source, frames)) for source in sources
        ],
    )


def _probability(
    value: float, source: SourceImage | None = None, frames: Mapping[int, Sequence[int]] | None = None
) -> hd.sr.Measurement:
    """A probability of both views together, or of the one that it names."""
    images = [hd.sr.SourceImageForMeasurement(*_reference(source, frames or {}))] if source else None
    return hd.sr.Measurement(
        name=codes.DCM.Probability,
        value=_rounded(value),
        unit=codes.UCUM.NoUnits,
        referenced_images=images,
    )


def _reference(source: SourceImage, frames: Mapping[int, Sequence[int]]) -> tuple[str, str, list[int] | None]:
    """Class, instance and, where single frames are meant, their numbers from 1."""
    chosen = frames.get(source.view_index, ()) if source.frame_numbers_matter else ()
    numbers = sorted({frame + 1 for frame in chosen}) or None
    return source.header.SOPClassUID, source.header.SOPInstanceUID, numbers


def _observer(statement: Statement, device: str) -> hd.sr.ObservationContext:
    person = None
    if statement.verdict is not None and statement.author:
        person = hd.sr.ObserverContext(
            codes.DCM.Person, hd.sr.PersonObserverIdentifyingAttributes(f"{statement.author}^")
        )
    machine = hd.sr.ObserverContext(
        codes.DCM.Device,
        hd.sr.DeviceObserverIdentifyingAttributes(
            uid=device, name=MAKER, manufacturer_name=MAKER, model_name=f"{MAKER} {__version__}",
            serial_number=SERIAL_NUMBER,
        ),
    )  # fmt: skip
    return hd.sr.ObservationContext(observer_person_context=person, observer_device_context=machine)


def _own_scheme() -> CodingSchemeIdentificationItem:
    return CodingSchemeIdentificationItem(
        designator=OWN_SCHEME, name=f"Codes of {MAKER}", version=__version__, responsible_organization=MAKER
    )


def _rounded(probability: float) -> float:
    """Four digits: what a probability of a classifier is worth, and what a DS value holds exactly."""
    return round(float(probability), 4)
