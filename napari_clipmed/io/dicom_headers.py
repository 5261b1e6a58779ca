"""DICOM headers read in such a way that a broken file costs a sentence, never a traceback or the memory.

Pixel data are never left to pydicom's file reader: their place in the file is found, and the bytes that
really exist are handed on (`dicom_pixels`).
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import psutil
from pydicom import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from napari_clipmed.errors import UnreadableFileError
from napari_clipmed.io.dicom_values import text
from napari_clipmed.io.quiet import quiet_pydicom

PIXEL_TAGS = {Tag(0x7FE0, 0x0008): "float", Tag(0x7FE0, 0x0009): "double", Tag(0x7FE0, 0x0010): "integer"}
UNDEFINED = 0xFFFFFFFF
KNOWN_BY = ("SOPClassUID", "Rows", "Modality", "PatientID", "DirectoryRecordSequence")
"""A data set with none of these is taken for something else that only looked like DICOM."""

MOST_ELEMENTS, MOST_READS = 20_000, 600_000
"""Elements at the top of a header (a real one has hundreds), and reads of the parser, some three an element;
an enhanced run of 1,000 frames needs a sixth of them."""

INFLATED_SMALL, INFLATED_RATIO, INFLATED_LIMIT = 2**26, 100, 2**30
"""A deflated file may unpack to 64 MiB, or a hundred times its size (X-ray images: twice), but never to more
than a gibibyte; a run of 1,000 frames of 512² with 16 bits needs half of it."""


@dataclass(frozen=True)
class BytesOnDisk:
    """A part of a file that is read when it is asked for.

    Parameters
    ----------
    path : Path
    start, length : int
        In bytes; the file held that much when it was opened.
    """

    path: Path
    start: int
    length: int

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, part: slice) -> bytes:
        begin, end, _ = part.indices(self.length)
        with self.path.open("rb") as file:
            file.seek(self.start + begin)
            return file.read(end - begin)


@dataclass(frozen=True, eq=False)
class PixelElement:
    """The value of the pixel data element, as far as the file holds it.

    Parameters
    ----------
    data : bytes or BytesOnDisk
        Native: the pixels. Encapsulated: the items, starting with the offset table.
    encapsulated : bool
        Whether the length was undefined (PS3.5 A.4).
    declared : int
        The length that the header claims; `len(data)` may be smaller. 0 for encapsulated data.
    kind : str
        "integer", "float" or "double".
    """

    data: bytes | BytesOnDisk
    encapsulated: bool
    declared: int
    kind: str = "integer"

    def read(self) -> bytes:
        """All of it."""
        return self.data if isinstance(self.data, bytes) else self.data[:]


@dataclass(frozen=True, eq=False)
class DicomFile:
    """A DICOM header and, where asked for, the bytes of its pixels."""

    path: Path
    dataset: Dataset
    transfer_syntax: UID
    little_endian: bool
    pixels: PixelElement | None
    warnings: tuple[str, ...] = field(default=())


class _EndlessHeaderError(Exception):
    """Raised out of pydicom's parser."""


class _Patience:
    """Counts the reads of a parser: hundreds of megabytes of zeros are millions of empty elements to it."""

    def __init__(self) -> None:
        self.left = MOST_READS

    def spend(self) -> None:
        """Count one read; raises when there were too many for a real header."""
        self.left -= 1
        if self.left < 0:
            raise _EndlessHeaderError


class _HonestReader(io.BufferedReader):
    """A file that never allocates more than it holds, however long an element claims to be."""

    def __init__(self, path: Path) -> None:
        super().__init__(io.FileIO(path))
        self.size = path.stat().st_size
        self.patience = _Patience()

    def read(self, size: int | None = -1, /) -> bytes:
        """Read at most what is left."""
        self.patience.spend()
        if size is None or size < 0:
            return super().read()
        return super().read(min(size, max(self.size - self.tell(), 0)))


class _Unpacked(io.BytesIO):
    """An inflated data set; bytes in memory are honest about their size."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.patience = _Patience()

    def read(self, size: int | None = -1, /) -> bytes:
        """Read, and count it."""
        self.patience.spend()
        return super().read(size)


def is_dicom(path: str | Path) -> bool:
    """Whether a file looks like DICOM, with or without the preamble; never raises for a readable path."""
    try:
        with Path(path).open("rb") as file:
            head = file.read(256)
    except OSError:
        return False
    return looks_like_dicom(head)


def looks_like_dicom(head: bytes) -> bool:
    """Whether bytes begin as DICOM does, with or without the preamble."""
    return head[128:132] == b"DICM" or _starts_with_element(head)


def _starts_with_element(head: bytes) -> bool:
    """Whether the first bytes are a data element of group 0002 or 0008, as in files without preamble."""
    if len(head) < 16 or head[:2] not in (b"\x02\x00", b"\x08\x00", b"\x00\x08"):
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return explicit or int.from_bytes(head[4:8], "little") < 256


@quiet_pydicom
def read_dicom(
    path: Path, with_pixels: bool = True, only: Sequence[str] | None = None, *, pixels_later: bool = False
) -> DicomFile:
    """Read a header, and the bytes of the pixels where wanted.

    Parameters
    ----------
    pixels_later : bool
        Native pixels may stay on the disk until they are asked for.
    only : sequence of str, optional
        Keywords of the attributes to read; the others are passed over, which makes lists of many files fast.

    Raises
    ------
    UnreadableFileError
        When the file cannot be understood as DICOM.
    """
    name = path.name
    try:
        size = path.stat().st_size
        if size > psutil.virtual_memory().available // 2:
            raise UnreadableFileError(
                f"{name} is {size / 2**30:.1f} GiB, more than half of the free memory.",
                "Close other programs, or open it on a machine with more memory.",
            )
        with _HonestReader(path) as file:
            return _read(path, file, with_pixels, only, pixels_later)
    except UnreadableFileError:
        raise
    except (RecursionError, MemoryError, _EndlessHeaderError) as error:
        raise UnreadableFileError(
            f"The header of {name} is too deep or too long to be that of a real image.", "Export it again."
        ) from error
    except Exception as error:  # noqa: BLE001 - boundary: pydicom raises nearly any type on a broken header
        raise UnreadableFileError(
            f"The DICOM header of {name} is damaged ({type(error).__name__}).",
            "Export the file again from where it came from.",
        ) from error


def _read(
    path: Path, file: _HonestReader, with_pixels: bool, only: Sequence[str] | None, pixels_later: bool
) -> DicomFile:
    """Parse header and pixel element of an open file."""
    notes: list[str] = []
    source: BinaryIO = file
    preamble = file.read(132)[128:] == b"DICM"
    file.seek(132 if preamble else 0)
    meta = read_dataset(file, False, True, stop_when=_after_meta)
    syntax = text(meta, "TransferSyntaxUID")
    if syntax == DeflatedExplicitVRLittleEndian:
        source = _Unpacked(_inflate(file, path.name))
    tags: list[BaseTag | int] | None = None if only is None else [Tag(keyword) for keyword in only]
    dataset = read_dataset(source, *_encoding(source, syntax), stop_when=_pixels_or_end(), specific_tags=tags)
    implicit, little = (bool(flag) for flag in dataset.original_encoding)
    if not any(keyword in dataset for keyword in KNOWN_BY):
        raise UnreadableFileError(
            f"{path.name} is a DICOM file without an image."
            if preamble
            else f"{path.name} is not a DICOM file.",
            "Choose a DICOM, PNG, JPEG or TIFF image.",
        )
    if not syntax:
        syntax = (
            ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        )
        notes.append(f"{path.name} does not say how it is encoded; {UID(syntax).name} was found.")
    later = path if pixels_later and source is file else None
    element = _pixel_element(source, implicit, little, later) if with_pixels else None
    return DicomFile(path, dataset, UID(syntax), little, element, tuple(notes))


def _pixels_or_end() -> Callable[[BaseTag, str | None, int], bool]:
    """Where to stop reading a header: at the pixels; a header of too many elements raises."""
    left = iter(range(MOST_ELEMENTS))

    def stop(tag: BaseTag, _vr: str | None, _length: int) -> bool:
        if next(left, None) is None:
            raise _EndlessHeaderError
        return tag in PIXEL_TAGS

    return stop


def _after_meta(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return tag >> 16 != 2


def _encoding(file: BinaryIO, syntax: str) -> tuple[bool, bool]:
    """Whether the header is implicit and whether it is little endian; looked up in its first element.

    pydicom's `dcmread` would do this as well, but it also unpacks a deflated file of any size.
    """
    place = file.tell()
    head = file.read(6)
    file.seek(place)
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    big = explicit and (syntax == ExplicitVRBigEndian or (not syntax and head[1:2] > b"\3"))
    return not explicit, not big


def _inflate(file: BinaryIO, name: str) -> bytes:
    """Unpack a deflated data set, up to a limit: a small file can claim to be gigabytes of zeros."""
    packed = file.read()
    engine = zlib.decompressobj(-zlib.MAX_WBITS)
    limit = min(max(INFLATED_SMALL, INFLATED_RATIO * len(packed)), INFLATED_LIMIT)
    unpacked = engine.decompress(packed, limit)
    if engine.unconsumed_tail:
        raise UnreadableFileError(
            f"{name} unpacks to more than {limit / 2**20:,.0f} MiB.", "Export it without deflation."
        )
    return unpacked


def _pixel_element(file: BinaryIO, implicit: bool, little: bool, later: Path | None) -> PixelElement | None:
    """The pixel element at the place where header reading stopped; None where the file has no pixels.

    Native pixels stay on the disk where `later` names the file.
    """
    order = "little" if little else "big"
    head = file.read(8)
    if len(head) < 8:
        return None
    tag = Tag(int.from_bytes(head[:2], order), int.from_bytes(head[2:4], order))  # type: ignore[arg-type]
    if tag not in PIXEL_TAGS:
        return None
    length_bytes = head[4:8] if implicit else head[6:8] if head[4:6] == b"US" else file.read(4)
    declared = int.from_bytes(length_bytes, order)  # type: ignore[arg-type]
    encapsulated = declared == UNDEFINED
    data: bytes | BytesOnDisk
    if later is not None and not encapsulated:
        place = file.tell()
        data = BytesOnDisk(later, place, min(declared, max(later.stat().st_size - place, 0)))
    else:
        data = file.read() if encapsulated else file.read(declared)
    return PixelElement(data, encapsulated, 0 if encapsulated else declared, PIXEL_TAGS[tag])
