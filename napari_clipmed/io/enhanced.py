"""Enhanced multi-frame headers: functional groups, shared by all frames or of each one (PS3.3 C.7.6.16)."""

from __future__ import annotations

from pydicom import Dataset

from napari_clipmed.io.dicom_values import elements, items

PER_FRAME, SHARED = "PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"


def flattened(dataset: Dataset) -> Dataset:
    """An enhanced multi-frame header with the macros of its first frame at the top, like a classic one.

    Functional groups are one level of sequences; what is at the top already stays. A classic header is
    returned as it is.
    """
    groups = [group for keyword in (PER_FRAME, SHARED) for group in items(dataset, keyword)[:1]]
    if not groups:
        return dataset
    flat = Dataset()
    flat.update(dataset)
    for group in groups:
        for macro in elements(group):
            for element in elements(next(iter(items(group, macro.keyword)), Dataset())):
                if element.tag not in flat:
                    flat.add(element)
    return flat


def of_each_frame(dataset: Dataset, macro: str, count: int) -> list[Dataset] | None:
    """The first item of a macro for every frame; None where the header does not give it frame by frame.

    Parameters
    ----------
    macro : str
        Keyword of the macro's sequence, such as "FrameVOILUTSequence".
    count : int
        Number of frames that are shown; groups beyond them are ignored.
    """
    groups = items(dataset, PER_FRAME)[:count]
    found = [item for group in groups for item in items(group, macro)[:1]]
    return found if len(found) == count and count > 0 else None
