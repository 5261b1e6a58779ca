"""Files in, files without identity out: new names, new UIDs, a report; the sources are never touched."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from PIL import Image
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, RLELossless

from napari_clipmed.deidentify.burned_in import warnings_for
from napari_clipmed.deidentify.rules import Disguise, Report, clean
from napari_clipmed.deidentify.streams import without_comments, without_unused_bits
from napari_clipmed.errors import ClipmedError, UnreadableFileError
from napari_clipmed.io import is_dicom, is_picture, open_study
from napari_clipmed.io.archives import is_zip, unpacked
from napari_clipmed.io.dicom_headers import DicomFile, read_dicom
from napari_clipmed.io.dicom_values import integer, items, text
from napari_clipmed.io.fragments import compressed_frames
from napari_clipmed.io.images import read_picture
from napari_clipmed.io.quiet import quiet_pydicom
from napari_clipmed.progress import Progress
from napari_clipmed.whole_files import refuse_existing, whole_file

PIXEL_KEYWORDS = {"integer": "PixelData", "float": "FloatPixelData", "double": "DoubleFloatPixelData"}


@dataclass(frozen=True)
class Outcome:
    """What became of one file.

    Parameters
    ----------
    number : int
        Place of the source in the list of files, from 1; its name, which may hold a patient's, is not kept.
    output : str
        New path below the output folder; empty where nothing was written.
    done : Report
        What was done to which attributes, without their values.
    warnings : tuple of str
        About burned-in text.
    problem : str
        Why nothing was written.
    left_out : bool
        True for files that are no image (reports, directories, text), which are left out by design.
    """

    number: int
    output: str = ""
    done: Report = field(default_factory=Counter)
    warnings: tuple[str, ...] = ()
    problem: str = ""
    left_out: bool = False


class Places:
    """New names: P001/S01/0001.dcm, by patient and study in the order in which they are met."""

    def __init__(self) -> None:
        self._studies: dict[tuple[str, str], int] = {}
        self._files: Counter[tuple[str, int]] = Counter()

    def next(self, patient: str, study: str, suffix: str) -> Path:
        """A path that was not given yet."""
        of_patient = sum(known == patient for known, _ in self._studies)
        number = self._studies.setdefault((patient, study), of_patient + 1)
        self._files[(patient, number)] += 1
        return Path(patient) / f"S{number:02d}" / f"{self._files[(patient, number)]:04d}{suffix}"


@quiet_pydicom
def deidentify(
    sources: Sequence[Path],
    out: Path,
    disguise: Disguise,
    progress: Progress | None = None,
    replace: bool = False,
) -> list[Outcome]:
    """Write every image among the sources anew, without the identity of its patient.

    Parameters
    ----------
    sources : sequence of Path
        Files; see `files_below`.
    out : Path
        Folder for the new files; not one that holds a source.
    disguise : Disguise
        Names and UIDs of this call, and what becomes of dates.
    replace : bool
        Whether files of an earlier call may be replaced.

    Raises
    ------
    ClipmedError
        When the output would lie among the sources, or would replace files.
    Cancelled
    """
    progress = progress or Progress()
    target = out.resolve()
    if any(target == source.resolve().parent for source in sources):
        raise ClipmedError("The output folder holds the sources.", "Choose an empty folder.")
    if out.is_dir() and any(out.iterdir()):
        refuse_existing(out, replace)
    places, outcomes = Places(), []
    for number, source in enumerate(sources, start=1):
        progress.step("Removing identity", number - 1, len(sources))
        try:
            outcomes.append(_one(source, number, out, disguise, places, replace))
        except UnreadableFileError as error:
            # Sentences name the file, and its name may be the patient's.
            outcomes.append(Outcome(number, problem=error.message.replace(source.name, f"file {number}")))
    return outcomes


def files_below(path: Path) -> list[Path]:
    """The file itself, all files below a folder, or the images of a zip archive, in order."""
    if not path.exists():
        raise UnreadableFileError(f"There is no file or folder {path}.", "Check the spelling of the path.")
    if is_zip(path):
        return list(unpacked(path).paths)
    return [path] if path.is_file() else sorted(part for part in path.rglob("*") if part.is_file())


def _one(source: Path, number: int, out: Path, disguise: Disguise, places: Places, replace: bool) -> Outcome:
    if not is_dicom(source):  # asked first: a DICOM file may have the head of a TIFF in its preamble
        if is_picture(source):
            return _picture(source, number, out, places, replace)
        return Outcome(number, problem="no DICOM file or picture", left_out=True)
    file = read_dicom(source)
    if file.pixels is None or items(file.dataset, "DirectoryRecordSequence"):
        return Outcome(
            number, problem="no image: reports, documents and directories are left out", left_out=True
        )
    return _dicom(file, number, out, disguise, places, replace)


def _dicom(
    file: DicomFile, number: int, out: Path, disguise: Disguise, places: Places, replace: bool
) -> Outcome:
    dataset = file.dataset
    study = text(dataset, "StudyInstanceUID")
    burned_in, modality = text(dataset, "BurnedInAnnotation"), text(dataset, "Modality")
    image_type = tuple(text(dataset, "ImageType").upper().split("\\"))
    place = places.next(disguise.patient(dataset), study, ".dcm")
    written = _without_identity(file, disguise)
    try:
        with whole_file(out / place, replace=replace) as unfinished:
            written.dataset.save_as(unfinished, enforce_file_format=True)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - boundary: pydicom raises nearly any type on values it cannot write
        raise UnreadableFileError(
            f"The header of file {number} cannot be written again ({type(error).__name__})."
        ) from error
    try:
        view = open_study(out / place).views[0]
    except UnreadableFileError:
        view = None
    warnings = warnings_for(burned_in, modality, image_type, view)
    return Outcome(number, place.as_posix(), written.done, tuple(warnings))


@dataclass(frozen=True)
class _Clean:
    dataset: Dataset
    done: Report


def _without_identity(file: DicomFile, disguise: Disguise) -> _Clean:
    """A new data set with clean header, clean pixel bytes, an empty preamble and new meta information."""
    dataset = Dataset()
    dataset.update(file.dataset)
    pixels, syntax = _pixels(file)
    try:
        done = clean(dataset, disguise)
    except Exception as error:  # noqa: BLE001 - boundary: a malformed value may raise anything; the file is refused
        raise UnreadableFileError(
            f"The header of {file.path.name} is damaged ({type(error).__name__}); nothing was written."
        ) from error
    for keyword in PIXEL_KEYWORDS.values():
        if keyword in dataset:
            del dataset[keyword]
    assert file.pixels is not None
    keyword = PIXEL_KEYWORDS[file.pixels.kind]
    setattr(dataset, keyword, pixels)
    if keyword == "PixelData":
        wide = integer(dataset, "BitsAllocated", 8) > 8
        dataset["PixelData"].VR = "OW" if wide and not file.pixels.encapsulated else "OB"
        dataset["PixelData"].is_undefined_length = file.pixels.encapsulated
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    done[("file meta information", "written anew")] += 1
    return _Clean(dataset, done)


def _pixels(file: DicomFile) -> tuple[bytes, Any]:
    """Pixel bytes without comments and overlay bits, and the transfer syntax that they are in."""
    element, dataset, syntax = file.pixels, file.dataset, file.transfer_syntax
    assert element is not None
    allocated = integer(dataset, "BitsAllocated", 16)
    if element.encapsulated:
        if syntax == RLELossless and any(
            element.tag.group & 0xFF00 == 0x6000 and element.tag.element == 0x0102 and element.value
            for element in dataset
        ):
            raise UnreadableFileError(
                f"{file.path.name} keeps overlays in the bits of compressed pixels; decompress it first."
            )
        frames = compressed_frames(
            element.read(), integer(dataset, "NumberOfFrames", 0) or None, syntax == RLELossless
        )
        if not frames:
            raise UnreadableFileError(f"{file.path.name} holds no whole frame.")
        streams = [without_comments(frame) for frame in frames]
        return encapsulate([stream + b"\0" * (len(stream) % 2) for stream in streams]), syntax
    data = element.read()
    if syntax == ExplicitVRBigEndian:
        if allocated == 16:
            data = np.frombuffer(data[: len(data) // 2 * 2], ">u2").astype("<u2").tobytes()
        elif allocated != 8:
            raise UnreadableFileError(f"{file.path.name} is big endian with {allocated} bits a pixel.")
    if allocated == 16 and element.kind == "integer":
        stored = integer(dataset, "BitsStored", 16)
        high = integer(dataset, "HighBit", stored - 1)
        data = without_unused_bits(data, stored, high, integer(dataset, "PixelRepresentation", 0) == 1)
    return data + b"\0" * (len(data) % 2), ExplicitVRLittleEndian


def _picture(source: Path, number: int, out: Path, places: Places, replace: bool) -> Outcome:
    """A picture as grey pixels only: no text, EXIF or profile travels along."""
    frames = read_picture(source).frames
    plain = len(frames) == 1 and frames.dtype != np.float32
    place = places.next("pictures", "", ".png" if plain else ".tif")
    with whole_file(out / place, replace=replace) as unfinished:
        if plain:
            Image.fromarray(frames[0]).save(unfinished)
        else:
            tifffile.imwrite(unfinished, frames, photometric="minisblack", metadata=None)
    view = open_study(out / place).views[0]
    done: Report = Counter({("text, EXIF and colour", "not copied"): 1})
    return Outcome(number, place.as_posix(), done, tuple(warnings_for("", "", (), view)))
