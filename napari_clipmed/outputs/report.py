"""Labels as DICOM Structured Report (Comprehensive 3D SR, TID 1500): what the model said, what the reader.

A case is reported by a chain of documents. The first says what the model answered; it is not verified. Every
label that a reader saved makes another, which names the one before as its predecessor; it is verified once a
reader who gave initials accepted or corrected the answer. Equal statements give equal UIDs, so that a
document exported yesterday is the one that today's names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import highdicom as hd
from highdicom.coding_schemes import CodingSchemeIdentificationItem
from pydicom import Dataset, dcmread
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

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
from napari_clipmed.outputs.statements import Statement, statements_of
from napari_clipmed.records import Store
from napari_clipmed.study import Study

SERIES_NUMBER = 951
NOT_STATED = "not stated"


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
        "finding": _finding(statement).value,
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
    """TID 1501: finding, site, probability, algorithm, verdict, and the images that it rests on.

    An uncertain answer names no disease as its finding; its candidates follow as evaluations, the first of
    them the one whose probability is given.
    """
    site = None if statement.candidates else site_of(statement.label)
    answers = [
        *((remark("candidate"), finding_of(label)) for label in statement.candidates),
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
        finding_type=_finding(statement),
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


def _finding(statement: Statement) -> Code:
    return remark("uncertain") if statement.candidates else finding_of(statement.label)


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
