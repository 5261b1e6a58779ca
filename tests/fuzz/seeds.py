"""Sound little files of every kind the reader knows, made on the spot; what the fuzzer damages."""

from __future__ import annotations

import io
import zipfile
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import tifffile
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate

from napari_clipmed.io.dicom_write import MaskItem, Uids, write_dx, write_xa

JPEG_BASELINE, JPEG_EXTENDED, HTJ2K = (f"1.2.840.10008.1.2.4.{n}" for n in (50, 51, 201))
DEFLATED, BIG_ENDIAN, IMPLICIT = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2"


def make_seeds(folder: Path) -> dict[str, bytes]:
    """The seeds by name; `folder` is for scratch."""
    run, path = _run(), folder / "seed.dcm"
    seeds: dict[str, bytes] = {}

    def keep(name: str) -> None:
        seeds[name] = path.read_bytes()

    def xa(name: str, frames=run, **options) -> None:
        write_xa(path, frames, timing_ms=200.0, angles=(0, 0), uids=Uids.seeded(1, "fuzz", name), **options)
        keep(name)

    xa("native", mask=MaskItem(mask_frames=(1,)), window=(2000, 2000), imager_spacing_mm=(0.2, 0.2))
    for compress in ("rle", "jpegls", "jpeg2000", "jpeglossless"):
        xa(compress, compress=compress)
    eight = (run >> 4).astype(np.uint8)
    for name, syntax, frames, encode in (
        ("jpeg", JPEG_BASELINE, eight, lambda f: imagecodecs.jpeg_encode(f, level=90)),
        ("jpeg12", JPEG_EXTENDED, run, lambda f: imagecodecs.jpeg_encode(f, level=95, bitspersample=12)),
        ("htj2k", HTJ2K, run, lambda f: imagecodecs.htj2k_encode(f, reversible=True)),
    ):
        write_xa(path, frames, timing_ms=200.0, uids=Uids.seeded(1, "fuzz", name))
        _recode(path, syntax, [bytes(encode(frame)) for frame in frames])
        keep(name)
    for name, syntax in (("deflated", DEFLATED), ("big-endian", BIG_ENDIAN), ("implicit", IMPLICIT)):
        write_xa(path, run, timing_ms=200.0, uids=Uids.seeded(1, "fuzz", name))
        dataset = pydicom.dcmread(path)
        dataset.file_meta.TransferSyntaxUID = syntax
        del dataset.ModalityLUTSequence
        pydicom.dcmwrite(path, dataset, little_endian=syntax != BIG_ENDIAN, implicit_vr=syntax == IMPLICIT)
        keep(name)
    write_dx(path, run[0], photometric="MONOCHROME1", uids=Uids.seeded(1, "fuzz", "film"))
    _decorate(path)
    keep("film")
    write_xa(path, run, timing_ms=200.0, uids=Uids.seeded(1, "fuzz", "enhanced"))
    _enhance(path, len(run))
    keep("enhanced")
    seeds["dicomdir"] = _directory(path)
    seeds["zip"] = _zip({"a/run.dcm": seeds["jpegls"], "b/film.dcm": seeds["film"]})
    return seeds | _pictures(eight)


def deflate_bomb(megabytes: int) -> bytes:
    """A deflated stream of zeros: one packed block, repeated."""
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    first = engine.compress(bytes(2**20)) + engine.flush(zlib.Z_FULL_FLUSH)
    return first * megabytes


def _run() -> np.ndarray:
    rng = np.random.default_rng(5)
    rows, columns = np.mgrid[:33, :41]
    ground = 2000 + 1200 * np.sin(rows / 9) * np.cos(columns / 7)
    return np.clip(ground + rng.normal(0, 40, (4, 33, 41)), 0, 4095).astype(np.uint16)


def _recode(path: Path, syntax: str, streams: list[bytes]) -> None:
    dataset = pydicom.dcmread(path)
    dataset.PixelData = encapsulate(streams)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)


def _decorate(path: Path) -> None:
    """A film with a shutter, an overlay, padding and a VOI LUT."""
    dataset = pydicom.dcmread(path)
    dataset.ShutterShape = ["RECTANGULAR", "CIRCULAR", "POLYGONAL"]
    dataset.ShutterLeftVerticalEdge, dataset.ShutterRightVerticalEdge = 2, 40
    dataset.ShutterUpperHorizontalEdge, dataset.ShutterLowerHorizontalEdge = 2, 32
    dataset.CenterOfCircularShutter, dataset.RadiusOfCircularShutter = [16, 20], 19
    dataset.VerticesOfThePolygonalShutter = [1, 1, 1, 41, 33, 41, 33, 1]
    for element, vr, value in (
        (0x0010, "US", 33),
        (0x0011, "US", 41),
        (0x0040, "CS", "G"),
        (0x0050, "SS", [1, 1]),
        (0x0100, "US", 1),
        (0x0102, "US", 0),
        (0x3000, "OW", bytes([0xA5]) * 170),
    ):
        dataset.add_new((0x6000, element), vr, value)
    dataset.add_new("PixelPaddingValue", "US", 0)
    lut = Dataset()
    lut.add_new("LUTDescriptor", "US", [4096, 0, 8])
    lut.add_new("LUTData", "OW", (np.arange(4096) // 16).astype("<u2").tobytes())
    dataset.VOILUTSequence = [lut]
    del dataset.WindowCenter, dataset.WindowWidth
    dataset.save_as(path)


def _enhance(path: Path, count: int) -> None:
    dataset = pydicom.dcmread(path)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.12.1.1"
    del dataset.FrameTime, dataset.FrameIncrementPointer, dataset.CineRate
    groups = []
    for index in range(count):
        group, content, window = Dataset(), Dataset(), Dataset()
        content.FrameReferenceDateTime = f"2024010112000{index}.5"
        window.WindowCenter, window.WindowWidth = 2000 + index, 1001
        group.FrameContentSequence, group.FrameVOILUTSequence = [content], [window]
        groups.append(group)
    dataset.PerFrameFunctionalGroupsSequence = groups
    dataset.save_as(path)


def _directory(path: Path) -> bytes:
    dataset, record = Dataset(), Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    record.DirectoryRecordType, record.ReferencedFileID = "IMAGE", ["A", "RUN"]
    dataset.DirectoryRecordSequence = [record] * 3
    dataset.save_as(path, enforce_file_format=True)
    return path.read_bytes()


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()


def _pictures(frames: np.ndarray) -> dict[str, bytes]:
    answer = {}
    for kind in ("PNG", "JPEG"):
        buffer = io.BytesIO()
        Image.fromarray(frames[0]).save(buffer, kind)
        answer[f"picture-{kind.lower()}"] = buffer.getvalue()
    for name, options in (("tiff", {}), ("tiff-deflate", {"compression": "zlib", "tile": (16, 16)})):
        buffer = io.BytesIO()
        tifffile.imwrite(buffer, frames, photometric="minisblack", metadata=None, **options)
        answer[name] = buffer.getvalue()
    return answer
