"""The images that results are about: their headers, and how much of them an object repeats."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

from napari_clipmed import __version__
from napari_clipmed.errors import ClipmedError
from napari_clipmed.export.look import named_views
from napari_clipmed.export.stamp import RESEARCH_USE, SIMULATED
from napari_clipmed.io.dicom_headers import read_dicom
from napari_clipmed.io.dicom_values import text
from napari_clipmed.io.quiet import quiet_pydicom
from napari_clipmed.study import Study, View

MAKER = "napari-clipmed"
SERIAL_NUMBER = "none"
"""Device Serial Number (0018,1000) must have a value in SEG; software has no serial number."""

PATIENT = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex", "PatientAge")
EXAMINATION = (
    "StudyDate", "StudyTime", "StudyID", "StudyDescription", "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
"""Attributes that an object for the archive repeats, as they stand in the source (PS3.3 C.7.1.1, C.7.2.1)."""

ALWAYS_THERE = (*PATIENT[:2], *PATIENT[3:5], "StudyDate", "StudyTime", "StudyID", "AccessionNumber",
                "ReferringPhysicianName")  # fmt: skip
"""Those that are Type 2: present, though perhaps empty."""

LEGAL = {
    "PatientBirthDate": r"\d{8}",
    "StudyDate": r"\d{8}",
    "StudyTime": r"\d{2}(\d{2}(\d{2}(\.\d{1,6})?)?)?",
    "PatientSex": r"[MFO]",
    "PatientAge": r"\d{3}[DWMY]",
    "AccessionNumber": r".{0,16}",
    "StudyID": r".{0,16}",
    "StudyDescription": r".{0,64}",
}
"""Values that do not look like this are left empty: a legal object cannot repeat an illegal value."""

DIRECTION = re.compile(r"[AFHLPR]{1,3}")


@dataclass(frozen=True, eq=False)
class SourceImage:
    """One image of a study, by its header.

    Parameters
    ----------
    view_index : int
        In `Study.views`.
    name : str
        For files: AP, LA.
    view : View
    header : Dataset
        UIDs, size and patient as the objects will repeat them.
    orientation : tuple of str
        Patient Orientation (0020,0020): where rows and columns run; empty where unknown.
    burned_in : str
        Burned In Annotation (0028,0301) of the source, empty where it does not say.
    with_identity : bool
        Whether `header` names the patient.
    """

    view_index: int
    name: str
    view: View
    header: Dataset
    orientation: tuple[str, ...]
    burned_in: str
    with_identity: bool

    @property
    def rightwards(self) -> str:
        """Where the rows run, "L" on a frontal film hung as usual; empty where unknown."""
        return self.orientation[0] if self.orientation else ""

    @property
    def frame_numbers_matter(self) -> bool:
        """Whether a reference must say which frame it means."""
        return self.view.n_frames > 1


@quiet_pydicom
def sources_of(study: Study, with_identity: bool = False) -> list[SourceImage]:
    """The DICOM images of a study, one a view; their headers are read again from their files.

    Raises
    ------
    ClipmedError
        When a view did not come from DICOM, or its file has gone or changed.
    """
    return [
        _source_of(index, name, view, with_identity) for index, (name, view) in enumerate(named_views(study))
    ]


def uid_of(*words: object) -> str:
    """The same identifier for the same words: an unchanged result is the same object wherever it is made."""
    return generate_uid(entropy_srcs=[MAKER, __version__, *map(str, words)])


def mode_word(with_identity: bool) -> str:
    """Tells the UIDs of the two modes apart: two different objects must not share one."""
    return "identity" if with_identity else "anonymous"


def series_words(what: str, synthetic: bool) -> str:
    """Series Description: what it is, and SIMULATED where it is."""
    return f"{SIMULATED + ' ' if synthetic else ''}{what}, research use only"


def finish(dataset: Dataset, source: SourceImage, moment: datetime) -> None:
    """What all our objects say: when, and without identity where they are.

    Parameters
    ----------
    dataset : Dataset
        Changed in place.
    moment : datetime
        When the result was saved; written in local time, as DICOM wants it.
    """
    local = moment.astimezone()
    date, time = local.strftime("%Y%m%d"), local.strftime("%H%M%S.%f")
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = date, time
    dataset.ContentDate, dataset.ContentTime = date, time
    dataset.SeriesDate, dataset.SeriesTime = date, time
    for tool in dataset.get(
        "ContributingEquipmentSequence", []
    ):  # highdicom enters itself, with the clock's time
        tool.ContributionDateTime = date + time
    if not source.with_identity:
        dataset.PatientIdentityRemoved = "YES"
        dataset.DeidentificationMethod = f"{MAKER} {__version__}: patient and study attributes left out"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID


def finish_image(dataset: Dataset, source: SourceImage, study: Study) -> None:
    """What our images say besides: how the patient lies, and that there is none where it is simulated."""
    dataset.PatientOrientation = list(source.orientation) or ""
    if study.synthetic:
        dataset.ImageComments = f"{SIMULATED}, not a patient"


def equipment() -> dict[str, Any]:
    """Who makes our objects, as highdicom's constructors take it."""
    return {
        "manufacturer": MAKER,
        "manufacturer_model_name": f"{MAKER}, {RESEARCH_USE}",
        "software_versions": __version__,
        "device_serial_number": SERIAL_NUMBER,
    }


def _source_of(index: int, name: str, view: View, with_identity: bool) -> SourceImage:
    path = Path(view.source.path)
    if not view.source.sop_instance_uid:
        raise ClipmedError(
            f"{path.name or 'The picture'} is no DICOM file, so no DICOM object can refer to it.",
            "Export masks as PNG, NIfTI or COCO, and labels as a table.",
        )
    if not path.is_file():
        raise ClipmedError(
            f"The source {path.name} is no longer where it was opened.", "Open the study again."
        )
    read = read_dicom(path, with_pixels=False).dataset
    if text(read, "SOPInstanceUID") != view.source.sop_instance_uid:
        raise ClipmedError(f"{path.name} has changed since it was opened.", "Open the study again.")
    directions = tuple(text(read, "PatientOrientation").split("\\"))
    orientation = directions if len(directions) == 2 and all(map(DIRECTION.fullmatch, directions)) else ()
    header = _header(read, view, with_identity)
    return SourceImage(
        index, name, view, header, orientation, text(read, "BurnedInAnnotation"), with_identity
    )


def _header(read: Dataset, view: View, with_identity: bool) -> Dataset:
    """A clean header: identifiers and size, and the patient only where asked."""
    header = Dataset()
    header.SpecificCharacterSet = "ISO_IR 192"
    header.SOPClassUID = UID(text(read, "SOPClassUID"))
    for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        setattr(header, keyword, UID(text(read, keyword)))
    header.Modality = text(read, "Modality")
    header.Rows, header.Columns = view.pixels.shape[1:]
    if view.n_frames > 1:
        header.NumberOfFrames = view.n_frames
    header.LossyImageCompression = "01" if text(read, "LossyImageCompression") == "01" else "00"
    for keyword in (*PATIENT, *EXAMINATION):
        value = text(read, keyword) if with_identity else ""
        if keyword in LEGAL and not re.fullmatch(LEGAL[keyword], value):
            value = ""
        if value or keyword in ALWAYS_THERE:
            setattr(header, keyword, value)
    return header
