"""What a folder, a DICOMDIR or a zip archive holds, by headers alone.

One entry is one thing that can be opened: a run, a biplane pair, a film or a sequence of pictures. Patients
and examinations are never mixed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from pydicom import Dataset

from napari_clipmed.errors import UnreadableFileError
from napari_clipmed.io.archives import is_zip, unpacked
from napari_clipmed.io.dicom_headers import is_dicom, read_dicom
from napari_clipmed.io.dicom_values import identity_of, text
from napari_clipmed.io.dicom_view import kind_of
from napari_clipmed.io.dicomdir import files_of_directory, is_directory
from napari_clipmed.io.enhanced import PER_FRAME, SHARED, flattened
from napari_clipmed.io.images import is_picture
from napari_clipmed.io.pairing import RunHeader, pair_runs
from napari_clipmed.io.quiet import quiet_pydicom
from napari_clipmed.progress import Progress
from napari_clipmed.study import Guess, Kind, PatientIdentity

MOST_FILES = 20_000
"""A folder with more files than this is not walked to its end."""

LISTED_TAGS = [
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber"),
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "SpecificCharacterSet"),
    *(
        "SyntheticData",
        "Modality",
        "ImageType",
        "BodyPartExamined",
        "ViewPosition",
        "SamplesPerPixel",
        "Rows",
    ),
    *("NumberOfFrames", "AcquisitionDate", "AcquisitionTime", "ContentDate", "ContentTime"),
    *("AcquisitionDateTime", "PlaneIdentification"),
    *("PositionerPrimaryAngle", "PositionerSecondaryAngle", "ReferencedImageSequence"),
    *("DirectoryRecordSequence", SHARED, PER_FRAME),
]
"""All that a list needs of a header; the rest is passed over unread."""


@dataclass(frozen=True)
class StudyEntry:
    """One thing that can be opened: a run, a biplane pair, a film or a sequence of pictures.

    Parameters
    ----------
    paths : tuple of Path
        Its files; planes in the order they were found.
    kind : Kind
        Angiogram, chest film or other.
    pairing : Guess or None
        The rule that made a pair.
    study_instance_uid : str
        Empty for plain pictures.
    identity : PatientIdentity
        For the screen only.
    sequence : bool
        True for numbered pictures that are the frames of one run.
    sops : tuple of str
        SOP Instance UIDs of the files; empty for plain pictures.
    synthetic : bool
        Whether one of the files says that it is simulated.
    notes : tuple of str
        What was wrong with the folder or archive that holds it.
    """

    paths: tuple[Path, ...]
    kind: Kind
    pairing: Guess | None = None
    study_instance_uid: str = ""
    identity: PatientIdentity = field(default_factory=PatientIdentity, repr=False)
    sequence: bool = False
    sops: tuple[str, ...] = ()
    synthetic: bool = False
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """File names, shortened; no identity beyond what they hold."""
        names = [path.name for path in self.paths]
        return f"{names[0]} … {names[-1]}" if self.sequence else " + ".join(names)


def holds_several(path: Path) -> bool:
    """Whether a path is a folder, a zip archive or a DICOMDIR, which `list_studies` looks into."""
    return path.is_dir() or is_zip(path) or is_directory(path)


@quiet_pydicom
def list_studies(path: str | Path, progress: Progress | None = None) -> list[StudyEntry]:
    """What a folder, a zip archive or a DICOMDIR holds, in order of file names; only headers are read.

    An archive is unpacked, within limits, into a private folder that is removed when the program ends.

    Raises
    ------
    UnreadableFileError
        When it holds nothing that can be opened, or an archive is damaged, encrypted or too large.
    """
    path, progress = Path(path), progress or Progress()
    paths, notes = _files_in(path, progress)
    entries = [replace(entry, notes=notes) for entry in entries_of(paths, progress)]
    if not entries:
        what = f"none of its {len(paths)} files is an image" if paths else "it is empty"
        word = "folder" if path.is_dir() else "archive" if is_zip(path) else "directory"
        raise UnreadableFileError(
            f"The {word} {path.name} holds nothing to open: {what}.",
            "Choose the folder that holds the DICOM, PNG, JPEG or TIFF files.",
        )
    return entries


def _files_in(path: Path, progress: Progress) -> tuple[list[Path], tuple[str, ...]]:
    """The files of a folder, archive or DICOMDIR, and what was wrong with it."""
    if path.is_dir():
        paths = list(_walk(path))
        if len(paths) == MOST_FILES:
            note = f"{path.name} holds more than {MOST_FILES:,} files; only the first ones were looked at."
            return sorted(paths), (note,)
        return sorted(paths), ()
    if is_zip(path):
        archive = unpacked(path, progress)
        return list(archive.paths), archive.notes
    return files_of_directory(path)


def _walk(folder: Path) -> Iterator[Path]:
    """All files below a folder, up to a limit; hidden ones and links to folders are passed over."""
    count = 0
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if not name.startswith(".") and path.is_file():
                yield path
                count += 1
            if count >= MOST_FILES:
                return


def entries_of(paths: Iterable[Path], progress: Progress) -> list[StudyEntry]:
    """Group files into entries: DICOM by the pairing rules, numbered pictures of one size into sequences."""
    runs: list[tuple[Path, Dataset]] = []
    pictures: list[Path] = []
    seen: set[str] = set()
    paths = list(paths)
    for index, path in enumerate(paths):
        progress.step("Reading headers", index, len(paths))
        if is_picture(path):
            pictures.append(path)
        elif is_dicom(path):
            header = _header_with_image(path)
            uid = text(header, "SOPInstanceUID") if header is not None else ""
            if header is not None and uid not in seen:
                runs.append((path, header))
                seen.update({uid} - {""})
    places = {path: place for place, path in enumerate(paths)}
    entries = [*_dicom_entries(runs), *_picture_entries(pictures)]
    return sorted(entries, key=lambda entry: places[entry.paths[0]])


def _header_with_image(path: Path) -> Dataset | None:
    """The flattened header of a file that claims an image; None for reports, directories and broken files."""
    try:
        dataset = flattened(read_dicom(path, with_pixels=False, only=LISTED_TAGS).dataset)
    except UnreadableFileError:
        return None
    return dataset if text(dataset, "Rows") and "DirectoryRecordSequence" not in dataset else None


def _dicom_entries(runs: list[tuple[Path, Dataset]]) -> list[StudyEntry]:
    """Runs in pairs where a rule pairs them; everything else is its own entry."""
    kinds = [kind_of(header)[0] for _, header in runs]
    angiograms = [index for index, kind in enumerate(kinds) if kind is Kind.ANGIOGRAM]
    groups = [
        (tuple(angiograms[index] for index in indices), pairing)
        for indices, pairing in pair_runs([RunHeader.of(runs[index][1]) for index in angiograms])
    ]
    groups += [((index,), None) for index, kind in enumerate(kinds) if kind is not Kind.ANGIOGRAM]
    return [
        StudyEntry(
            paths=tuple(runs[index][0] for index in indices),
            kind=kinds[indices[0]],
            pairing=pairing,
            study_instance_uid=text(runs[indices[0]][1], "StudyInstanceUID"),
            identity=identity_of(runs[indices[0]][1]),
            sops=tuple(text(runs[index][1], "SOPInstanceUID") for index in indices),
            synthetic=any(text(runs[index][1], "SyntheticData").upper() == "YES" for index in indices),
        )
        for indices, pairing in groups
    ]


def _picture_entries(pictures: list[Path]) -> list[StudyEntry]:
    """Three or more pictures with one name and consecutive numbers are a sequence; the others are films."""
    groups: dict[tuple[Path, str, str], list[tuple[int, Path]]] = {}
    for path in pictures:
        match = re.fullmatch(r"(.*?)(\d+)", path.stem)
        stem, number = (match[1], int(match[2])) if match else (path.stem, -1)
        groups.setdefault((path.parent, stem, path.suffix.lower()), []).append((number, path))
    entries = []
    for members in groups.values():
        members.sort()
        numbers_, paths = zip(*members, strict=True)
        if (
            len(paths) > 2
            and numbers_[0] >= 0
            and list(numbers_) == list(range(numbers_[0], numbers_[-1] + 1))
        ):
            entries.append(StudyEntry(tuple(paths), Kind.ANGIOGRAM, sequence=True))
        else:
            entries += [StudyEntry((path,), Kind.CHEST) for path in paths]
    return entries
