"""What is taken out of a DICOM data set (PS3.15 annex E, Basic Application Level Confidentiality Profile).

The table of attributes and actions (E.1-1, edition 2026c) and its dummy values are those of dicom-anonymizer.
What that library leaves open is settled here: every level of sequences is cleaned; UIDs are mapped anew and
the same everywhere; empty dates are empty instead of the year 1; and what the table does not name is kept
only where it cannot hold free text.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache
from hashlib import sha256

from dicomanonymizer import simpledicomanonymizer as library
from pydicom import DataElement, Dataset
from pydicom.datadict import dictionary_has_tag, keyword_for_tag
from pydicom.multival import MultiValue
from pydicom.uid import UID_dictionary, generate_uid
from pydicom.valuerep import DA, DT

EDITION = "dicomfields_2026c"

REMOVED = (library.delete, library.delete_or_replace)
"""X and X/D: none of these is type 1 in the images that are written here."""

EMPTIED = (
    library.empty,
    library.delete_or_empty,
    library.empty_or_replace,
    library.delete_or_empty_or_replace,
)

KEPT_TEXT = frozenset({
    "CodeValue", "LongCodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning",
    "Manufacturer", "ManufacturerModelName", "SoftwareVersions",
    "LUTExplanation", "WindowCenterWidthExplanation", "RescaleType",
    "DetectorManufacturerName", "DetectorManufacturerModelName", "GridID",
})  # fmt: skip
"""Free text about equipment, codes and windows; all other text is removed, named by the table or not."""

TEXT_VRS = frozenset({"AE", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"})
MOMENT_VRS = frozenset({"DA", "DT", "TM"})

KEPT_BINARY = frozenset({
    "PixelData", "FloatPixelData", "DoubleFloatPixelData", "LUTData", "SmallestImagePixelValue",
    "LargestImagePixelValue", "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableData",
})  # fmt: skip
BINARY_VRS = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})

ORIGIN = datetime(1900, 1, 1)
"""Where frame times start that must stay (enhanced images count their frames in dates and times)."""

NAMED_BY_STANDARD = frozenset({"DCM", "SCT", "SRT", "SNM3", "UCUM", "LN", "FMA", "RADLEX", "NCIt", "ACR"})
"""Coding schemes whose codes anybody may read; local ones can hold anything."""


@dataclass
class Disguise:
    """New names for one call: the same UID and the same patient are renamed alike in every file.

    Parameters
    ----------
    keep_intervals : bool
        Move all dates of a patient by one random number of days, so that intervals stay (the "Retain
        Longitudinal Temporal Information With Modified Dates" option); otherwise dates and times are removed.
    secret : bytes
        Drawn anew for each call and never stored: without it nobody finds the old UIDs from the new ones.
    """

    keep_intervals: bool = False
    secret: bytes = field(default_factory=lambda: os.urandom(32), repr=False)
    _patients: dict[str, int] = field(default_factory=dict, repr=False)

    def uid(self, old: str) -> str:
        """The new UID of an old one; those that the standard registers (classes, syntaxes) stay."""
        if not old or old in UID_dictionary:
            return old
        return str(generate_uid(entropy_srcs=[self.secret.hex(), str(old)]))

    def patient(self, dataset: Dataset) -> str:
        """A name like P001, the same for all files of a patient of this call."""
        named = [str(dataset.get(keyword, "") or "").strip() for keyword in ("PatientID", "PatientName")]
        key = named[0] or named[1] or str(dataset.get("StudyInstanceUID", ""))
        return f"P{self._patients.setdefault(key, len(self._patients) + 1):03d}"

    def days(self, patient: str) -> timedelta:
        """How far the dates of a patient are moved: one to ten years back, in whole days."""
        drawn = int.from_bytes(sha256(self.secret + patient.encode()).digest()[:8], "big")
        return timedelta(days=-(366 + drawn % (9 * 365)))


Report = Counter[tuple[str, str]]
"""How often something was done to an attribute: (path of keywords, action)."""


def clean(dataset: Dataset, disguise: Disguise) -> Report:
    """Take the identity out of a data set, in place.

    Parameters
    ----------
    dataset : Dataset
        Without file meta information and pixel data, which have rules of their own.
    disguise : Disguise
        Of this call.

    Returns
    -------
    Report
        What was done, without the values.
    """
    patient = disguise.patient(dataset)
    cleaner = _Cleaner(disguise, patient, _first_moment(dataset))
    cleaner.clean(dataset, "")
    dataset.PatientName = dataset.PatientID = patient
    _declare(dataset, disguise.keep_intervals)
    return cleaner.report


@lru_cache(maxsize=1)
def _table() -> dict[tuple[int, ...], Callable[..., None]]:
    """Table E.1-1: an action for each tag."""
    return dict(library.initialize_actions(EDITION))


class _Cleaner:
    """Goes through one data set and all its sequences."""

    def __init__(self, disguise: Disguise, patient: str, first: datetime | None) -> None:
        self.disguise, self.patient, self.first = disguise, patient, first
        self.report: Report = Counter()

    def clean(self, dataset: Dataset, where: str) -> None:
        for tag in sorted(dataset.keys()):
            if tag.element == 0 or tag.is_private or not dictionary_has_tag(tag):
                # Before the value is looked at: what is unknown may also be malformed.
                del dataset[tag]
                self.note(where, "private attributes" if tag.is_private else "unknown attributes", "removed")
                continue
            element = dataset[tag]
            name = keyword_for_tag(tag) or f"({tag.group:04X},{tag.element:04X})"
            done = self._treat(dataset, element, where, name)
            if done:
                self.note(where, name, done)

    def note(self, where: str, name: str, done: str) -> None:
        self.report[(f"{where}{name}", done)] += 1

    def _treat(self, dataset: Dataset, element: DataElement, where: str, name: str) -> str:
        """Do what the rules ask for one element; what was done, or empty."""
        tag = element.tag
        action = _table().get((tag.group, tag.element))
        if (
            tag.group & 0xFF00 in (0x5000, 0x6000)
            or action in REMOVED
            or not _may_stay(element, name, action)
        ):
            if element.VR in MOMENT_VRS and self._shift(element):
                return "moved in time"
            del dataset[tag]
            return "removed"
        if element.VR == "UI":
            return self._rename(element)
        if element.VR in MOMENT_VRS:
            return self._moment(element, name)
        if element.VR == "SQ":
            return self._sequence(dataset, element, where, name, action)
        if action in EMPTIED:
            had = element.value not in (None, "", [])
            element.clear()
            return "emptied" if had else ""
        if action is library.replace:
            library.replace_element(element)
            return "replaced by a dummy"
        return ""

    def _sequence(self, dataset: Dataset, element: DataElement, where: str, name: str, action: object) -> str:
        if action in EMPTIED:
            element.value = []
            return "emptied"
        if action is library.replace:
            del dataset[element.tag]
            return "removed"
        kept = [item for item in element.value if not _is_local_code(item)]
        lost = len(element.value) - len(kept)
        if lost:
            element.value = kept
            self.note(where, f"{name} (local codes)", "removed")
        for item in kept:
            self.clean(item, f"{where}{name}.")
        return ""

    def _rename(self, element: DataElement) -> str:
        values = element.value if isinstance(element.value, MultiValue | list) else [element.value or ""]
        new = [self.disguise.uid(str(value)) for value in values]
        if new == [str(value) for value in values]:
            return ""
        element.value = new if len(new) > 1 else new[0]
        return "new UID"

    def _moment(self, element: DataElement, name: str) -> str:
        """Dates and times that the table keeps, empties or replaces."""
        if not element.value:
            return ""
        if self._shift(element):
            return "moved in time"
        moment = _as_datetime(element.value) if element.VR == "DT" else None
        if moment is not None and self.first is not None and name.startswith("Frame"):
            element.value = DT(ORIGIN + (moment - self.first))
            return "counted from the first frame"
        element.clear()
        return "emptied"

    def _shift(self, element: DataElement) -> bool:
        """Move a date by the patient's days where intervals are kept; a bare time of day stays."""
        if not self.disguise.keep_intervals or element.tag.group == 0x0010 or not element.value:
            return False
        if element.VR == "TM":
            return True
        days = self.disguise.days(self.patient)
        moment = _as_datetime(element.value)
        if moment is None:
            return False
        element.value = DT(moment + days) if element.VR == "DT" else DA((moment + days).date())
        return True


def _may_stay(element: DataElement, name: str, action: object) -> bool:
    """Whether an element may stay in some form: free text and bytes only where they are known."""
    if element.VR in TEXT_VRS:
        return name in KEPT_TEXT or action in EMPTIED
    if element.VR in BINARY_VRS:
        return name in KEPT_BINARY
    return True


def _is_local_code(item: Dataset) -> bool:
    """Whether an item is a code of a hospital's own scheme."""
    if "CodeValue" not in item and "CodeMeaning" not in item:
        return False
    return str(item.get("CodingSchemeDesignator", "")) not in NAMED_BY_STANDARD


def _first_moment(dataset: Dataset) -> datetime | None:
    """When the first frame of an enhanced image was taken."""
    moments = [
        moment
        for group in dataset.get("PerFrameFunctionalGroupsSequence") or ()
        for content in group.get("FrameContentSequence") or ()
        for keyword in ("FrameReferenceDateTime", "FrameAcquisitionDateTime")
        if (moment := _as_datetime(content.get(keyword))) is not None
    ]
    return min(moments) if moments else None


def _as_datetime(value: object) -> datetime | None:
    """A DICOM date, or date and time, without its zone; None where it is neither."""
    text = str(value or "")
    try:
        moment = DT(text) if len(text) > 8 else DA(text)
    except ValueError:
        return None
    if isinstance(moment, datetime):
        return moment.replace(tzinfo=None)
    return datetime(moment.year, moment.month, moment.day) if isinstance(moment, date) else None


def _declare(dataset: Dataset, intervals: bool) -> None:
    """Say in the file that, and how, the identity was removed (PS3.3 C.7.1.1, C.12.1)."""
    dataset.PatientIdentityRemoved = "YES"
    dataset.DeidentificationMethod = "napari-clipmed, DICOM PS3.15 2026c E.1"
    codes = [("113100", "Basic Application Confidentiality Profile")]
    if intervals:
        codes.append(("113107", "Retain Longitudinal Temporal Information Modified Dates Option"))
    dataset.DeidentificationMethodCodeSequence = [_dcm_code(*code) for code in codes]
    dataset.LongitudinalTemporalInformationModified = "MODIFIED" if intervals else "REMOVED"


def _dcm_code(value: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "DCM", meaning
    return item
