"""DICOM objects as bytes and back, with a look at whether they are what they should be."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmread, dcmwrite
from pydicom.errors import InvalidDicomError

from napari_clipmed.errors import UnreadableFileError
from napari_clipmed.io.dicom_headers import read_dicom
from napari_clipmed.io.dicom_values import text
from napari_clipmed.io.quiet import quiet_pydicom
from napari_clipmed.pacs.words import InstanceRef, InstanceRefused, PacsError

UIDS = ("StudyInstanceUID", "SOPInstanceUID", "SOPClassUID")


def check_instance(path: Path, wanted: InstanceRef) -> None:
    """Raise where a file is not DICOM, or another instance than the one that was asked for.

    Raises
    ------
    InstanceRefused
    """
    try:
        with path.open("rb") as file:
            marked = file.read(132)[128:] == b"DICM"
        if not marked:
            raise InstanceRefused(
                "The server sent something that is not DICOM.", "Tell whoever looks after it."
            )
        header = read_dicom(path, with_pixels=False, only=list(UIDS)).dataset
    except UnreadableFileError as error:
        raise InstanceRefused("The server sent DICOM that cannot be read.", error.hint) from error
    came = (text(header, "StudyInstanceUID"), text(header, "SOPInstanceUID"))
    if came != (wanted.study_uid, wanted.sop_uid):
        raise InstanceRefused(
            "The server sent another instance than the one it was asked for; it was thrown away.",
            "Tell whoever looks after the server.",
        )


@quiet_pydicom
def encoded(dataset: Dataset) -> bytes:
    """A DICOM file (PS3.10) in memory; the object itself is left as it is.

    Raises
    ------
    PacsError
        When it cannot be written.
    """
    content = BytesIO()
    try:
        dcmwrite(content, dataset, enforce_file_format=True)
    except (ValueError, TypeError, AttributeError, KeyError, OverflowError) as error:
        raise PacsError(
            "An object to send is not complete DICOM, or lacks its transfer syntax.", "Export it anew."
        ) from error
    return content.getvalue()


@quiet_pydicom
def read_object(path: Path) -> Dataset:
    """An object that lies in a file, with everything in it.

    Raises
    ------
    PacsError
        When it is not DICOM, or does not say what it is.
    """
    try:
        dataset = dcmread(path)
    except (InvalidDicomError, OSError, EOFError, ValueError, NotImplementedError) as error:
        raise PacsError(f"{path.name} cannot be read as DICOM.", "Choose DICOM files.") from error
    if not all(text(dataset, uid) for uid in UIDS):
        raise PacsError(f"{path.name} does not say which study it belongs to.", "Choose images, SEG or SR.")
    return dataset
