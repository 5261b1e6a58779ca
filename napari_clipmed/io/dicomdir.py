"""DICOMDIR, the table of contents of a DICOM medium (PS3.3 F.3): the files it names, if they lie beside it.

Only the file names are used. What a file is, and whose, its own header tells: a directory may be out of date.
"""

from __future__ import annotations

from pathlib import Path

from pydicom import Dataset

from napari_clipmed.errors import UnreadableFileError
from napari_clipmed.io.dicom_headers import is_dicom, read_dicom
from napari_clipmed.io.dicom_values import items, text

STORAGE_DIRECTORY = "1.2.840.10008.1.3.10"
MOST_RECORDS = 100_000


def is_directory(path: Path) -> bool:
    """Whether a file is a DICOMDIR, by its first bytes."""
    try:
        with path.open("rb") as file:
            head = file.read(512)
    except OSError:
        return False
    return STORAGE_DIRECTORY.encode() in head and is_dicom(path)


def files_of_directory(path: Path) -> tuple[list[Path], tuple[str, ...]]:
    """The files that a DICOMDIR names, and what was wrong with it.

    A name that leads out of the folder of the DICOMDIR, by dots, a root or a link, is not followed.

    Raises
    ------
    UnreadableFileError
        When it cannot be read, or none of its files is there.
    """
    records = items(read_dicom(path, with_pixels=False).dataset, "DirectoryRecordSequence")[:MOST_RECORDS]
    named = [name for name in (_name_of(record) for record in records) if name]
    folder = path.parent.resolve()
    found: dict[Path, None] = {}
    missing = strange = 0
    for name in named:
        target = _beside(folder, name)
        if target is None:
            missing += 1
        elif not target.is_relative_to(folder):
            strange += 1
        else:
            found[target] = None
    if not found:
        raise UnreadableFileError(
            f"{path.name} is a directory of a DICOM medium; "
            f"none of the {len(named)} files that it names is there.",
            "Copy the whole medium, with its folders, and open it again.",
        )
    notes = []
    if missing:
        notes.append(f"{path.name} names {missing} of {len(named)} files that are not there.")
    if strange:
        notes.append(f"{path.name} names {strange} files outside its own folder; they were not opened.")
    return list(found), tuple(notes)


def _name_of(record: Dataset) -> tuple[str, ...]:
    """Referenced File ID as the parts of a path; empty for records without a file, or inactive ones."""
    if text(record, "RecordInUseFlag") == "0":
        return ()
    return tuple(part.strip() for part in text(record, "ReferencedFileID").split("\\") if part.strip())


def _beside(folder: Path, parts: tuple[str, ...]) -> Path | None:
    """The file with links followed, in any letter case, as media are copied; None where it is not there."""
    place = folder
    for part in parts:
        step = place / part
        if not step.exists():
            step = next((child for child in _children(place) if child.name.upper() == part.upper()), step)
        place = step
    try:
        return place.resolve(strict=True) if place.is_file() else None
    except (OSError, RuntimeError, ValueError):
        return None


def _children(place: Path) -> list[Path]:
    try:
        return list(place.iterdir())
    except (OSError, ValueError):
        return []
