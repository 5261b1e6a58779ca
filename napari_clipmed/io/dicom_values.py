"""Values of a DICOM header as plain Python: what is absent, malformed or endless counts as not there."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.dataelem import RawDataElement
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence as SequenceOfItems

from napari_clipmed.study import PatientIdentity

LONGEST_SEQUENCE, MOST_ITEMS = 2**22, 20_000
"""Bytes and items of a sequence that is looked into; the groups of 5,000 frames take half of either."""


def value(dataset: Dataset, keyword: str) -> Any:
    """A value, or None where it is absent, empty or malformed."""
    try:
        if _is_endless(dataset.get_item(keyword) if keyword in dataset else None):
            return None
        found = dataset.get(keyword)
    except Exception:  # noqa: BLE001 - boundary: a malformed value may raise anything; it counts as absent
        return None
    return None if found is None or found == "" else found


def _is_endless(element: DataElement | RawDataElement | None) -> bool:
    """Whether a sequence that was not parsed yet is too long to be real."""
    raw = element.value if isinstance(element, RawDataElement) else None
    if raw is None or len(raw) <= MOST_ITEMS * 8:
        return False
    return len(raw) > LONGEST_SEQUENCE or raw.count(b"\xfe\xff\x00\xe0") > MOST_ITEMS


def elements(dataset: Dataset) -> Iterator[DataElement]:
    """The elements of a data set; malformed ones are passed over."""
    for tag in list(dataset.keys()):
        try:
            yield dataset[tag]
        except Exception:  # noqa: BLE001 - boundary: a malformed value may raise anything; it counts as absent
            continue


def text(dataset: Dataset, keyword: str) -> str:
    """A value as text; several values joined by a backslash; empty where absent or no text at all."""
    found = value(dataset, keyword)
    if isinstance(found, SequenceOfItems | Dataset | bytes):
        return ""
    if isinstance(found, MultiValue | list):
        return "\\".join(str(part) for part in found)
    return "" if found is None else str(found).strip()


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """A value as finite numbers; empty where absent or where one is not a number."""
    found = value(dataset, keyword)
    parts = found if isinstance(found, MultiValue | list | tuple) else [] if found is None else [found]
    try:
        result = tuple(float(part) for part in parts)
    except (TypeError, ValueError, OverflowError):
        return ()
    return result if all(math.isfinite(number) for number in result) else ()


def number(dataset: Dataset, keyword: str) -> float | None:
    """The first number of a value, or None."""
    found = numbers(dataset, keyword)
    return found[0] if found else None


def integer(dataset: Dataset, keyword: str, default: int) -> int:
    """The first number of a value as an integer."""
    found = number(dataset, keyword)
    return default if found is None else int(found)


def items(dataset: Dataset, keyword: str) -> list[Dataset]:
    """The items of a sequence; empty where it is absent or is no sequence."""
    found = value(dataset, keyword)
    try:
        return [item for item in found if isinstance(item, Dataset)] if found is not None else []
    except TypeError:
        return []


def identity_of(dataset: Dataset) -> PatientIdentity:
    """Who this is; for the screen only."""
    return PatientIdentity(
        name=text(dataset, "PatientName"),
        patient_id=text(dataset, "PatientID"),
        birth_date=text(dataset, "PatientBirthDate"),
        sex=text(dataset, "PatientSex"),
        study_date=text(dataset, "StudyDate"),
    )
