"""What a header says about subtraction: mask items, intensity relationship, the table to log space."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from napari_clipmed.io.dicom_values import integer, items, number, numbers, text
from napari_clipmed.io.grey import is_inverse, lut_table
from napari_clipmed.study import Intensity, MaskItem, MaskOperation, Subtraction

MOST_ITEMS = 1_000
"""Mask items that are read; a run has one or two."""

FAR = 2**31
"""Frame numbers beyond this are as good as this."""


def file_subtraction(dataset: Dataset) -> Subtraction:
    """Mask items (perhaps none) and how the grey values follow the X-ray intensity.

    Parameters
    ----------
    dataset : Dataset
        The flattened header.
    """
    return Subtraction(tuple(mask_items(dataset)), intensity_of(dataset), falls_with_intensity(dataset))


def recommended_subtraction(dataset: Dataset) -> Subtraction | None:
    """What to subtract when the run is opened: nothing without mask items, or where NAT is recommended."""
    offered = file_subtraction(dataset)
    native = text(dataset, "RecommendedViewingMode").upper() == "NAT"
    return offered if offered.active and not native else None


def mask_items(dataset: Dataset) -> list[MaskItem]:
    """The items of the Mask Subtraction Sequence that can be understood, in file order."""
    found = []
    for item in items(dataset, "MaskSubtractionSequence")[:MOST_ITEMS]:
        try:
            operation = MaskOperation(text(item, "MaskOperation").upper())
        except ValueError:
            continue
        ranges = _frame_numbers(item, "ApplicableFrameRange")
        shift = numbers(item, "MaskSubPixelShift")
        found.append(
            MaskItem(
                operation=operation,
                mask_frames=tuple(dict.fromkeys(_frame_numbers(item, "MaskFrameNumbers"))),
                ranges=tuple(zip(ranges[::2], ranges[1::2], strict=False)),
                averaging=max(integer(item, "ContrastFrameAveraging", 1), 1),
                shift=(shift[0], shift[1]) if len(shift) == 2 else (0.0, 0.0),
                tid_offset=next(iter(_frame_numbers(item, "TIDOffset")), 1),
            )
        )
    return found


def _frame_numbers(dataset: Dataset, keyword: str) -> list[int]:
    """Frame numbers as far as any run could have them."""
    return [int(min(max(number, -FAR), FAR)) for number in numbers(dataset, keyword)]


def intensity_of(dataset: Dataset) -> Intensity:
    """Pixel Intensity Relationship; DISP where it is not given."""
    try:
        return Intensity(text(dataset, "PixelIntensityRelationship").upper())
    except ValueError:
        return Intensity.DISPLAY


def falls_with_intensity(dataset: Dataset) -> bool:
    """Whether grey values, MONOCHROME1 turned over, fall where more X-rays arrive (0028,1041)."""
    sign = number(dataset, "PixelIntensityRelationshipSign")
    return sign is not None and (sign < 0) != is_inverse(dataset)


def log_table(dataset: Dataset) -> NDArray[np.float32] | None:
    """For each grey value its place in logarithmic space, as an enhanced file's own table says.

    Pixel Intensity Relationship LUT Sequence (0028,9422; PS3.3 C.7.6.16.2.13): an item with LUT Function
    TO_LOG is taken as it is; else one with TO_LINEAR leads back to the intensity, which is then logged.
    Values that are LOG already need neither.

    Returns
    -------
    (N,) float32 array or None
        Indexed by grey values, MONOCHROME1 turned over; None where no table applies.
    """
    groups = [
        group
        for keyword in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence")
        for group in items(dataset, keyword)[:1]
    ]
    tables = {
        text(item, "LUTFunction").upper(): item
        for place in (dataset, *groups)  # not flattened: a group may hold several
        for item in items(place, "PixelIntensityRelationshipLUTSequence")
    }
    function = next((name for name in ("TO_LOG", "TO_LINEAR") if name in tables), None)
    intensity = intensity_of(dataset)
    if function is None or intensity is Intensity.LOGARITHMIC:
        return None
    if function == "TO_LINEAR" and intensity is Intensity.LINEAR:
        return None  # linear already
    entries = lut_table(tables[function])
    if entries is None:
        return None
    table, first = entries
    highest = 2 ** min(max(integer(dataset, "BitsStored", 16), 1), 16) - 1
    stored = np.arange(highest + 1)
    values = table[np.clip(stored - first, 0, len(table) - 1)].astype(np.float32)
    if function == "TO_LINEAR":
        values = np.log1p(values)
    return values[::-1].copy() if is_inverse(dataset) else values
