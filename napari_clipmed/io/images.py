"""Plain pictures: PNG, JPEG and TIFF, 8 or 16 bit, colour turned to grey, pages taken as frames."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import tifffile
from numpy.typing import NDArray
from PIL import Image, ImageOps

from napari_clipmed.errors import UnreadableFileError
from napari_clipmed.io.dicom_pixels import luminance

LARGE_PICTURE, HIGHEST_RATIO = 2**28, 500
"""A picture of more than 256 MiB is believed only if its bytes are not absurdly few."""

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".tif", ".tiff"})


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture as grey frames.

    Parameters
    ----------
    frames : (T, H, W) array, uint8, uint16 or float32
        Bright is bright.
    warnings : tuple of str
        What was wrong and what was done.
    """

    frames: NDArray[Any]
    warnings: tuple[str, ...] = ()


def is_picture(path: Path) -> bool:
    """Whether the first bytes are those of PNG, JPEG or TIFF, whatever the file is called."""
    try:
        with path.open("rb") as file:
            head = file.read(132)
    except OSError:
        return False
    return looks_like_picture(head)


def looks_like_picture(head: bytes) -> bool:
    """Whether bytes begin as PNG, JPEG or TIFF do; some DICOM files keep a TIFF header in their preamble."""
    return head[128:132] != b"DICM" and head.startswith(
        (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
    )


def read_picture(path: Path) -> Picture:
    """Read a picture.

    Raises
    ------
    UnreadableFileError
        When it is damaged, or too large for the memory that is free.
    """
    try:
        with path.open("rb") as file:
            tiff = file.read(2) in (b"II", b"MM")
        return _read_tiff(path) if tiff else _read_pillow(path)
    except UnreadableFileError:
        raise
    except Exception as error:  # noqa: BLE001 - boundary: the codecs of Pillow and tifffile raise nearly any type
        raise UnreadableFileError(
            f"{path.name} is damaged or no image ({type(error).__name__}).", "Export or download it again."
        ) from error


def _read_pillow(path: Path) -> Picture:
    """PNG or JPEG."""
    with Image.open(path) as file:
        _check_memory(path, file.width * file.height * 4)
        image: Image.Image = ImageOps.exif_transpose(file)
        if image.mode in ("1", "P", "PA", "LA", "CMYK", "YCbCr", "HSV"):
            image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
        pixels = np.asarray(image)
    if pixels.dtype == np.int32:  # Pillow reads 16-bit grey PNG of some kinds as "I"
        pixels = np.clip(pixels, 0, 65535).astype(np.uint16)
    return Picture(_grey(pixels)[None])


def _read_tiff(path: Path) -> Picture:
    """All pages of the first series as frames; a stack inside one page as well."""
    notes = []
    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        page = series.keyframe
        tile = math.prod(int(length) for length in page.chunks) * series.dtype.itemsize
        whole = math.prod(int(length) for length in series.shape) * series.dtype.itemsize
        _check_memory(path, max(whole, tile))
        meaning = tifffile.PHOTOMETRIC(page.photometric)
        colour = meaning in (tifffile.PHOTOMETRIC.RGB, tifffile.PHOTOMETRIC.YCBCR)
        turned = meaning == tifffile.PHOTOMETRIC.MINISWHITE
        if not (colour or turned or meaning == tifffile.PHOTOMETRIC.MINISBLACK):
            return _read_pillow(path)  # palettes, CMYK and the like: one page, through Pillow
        pixels, axes = series.asarray(), series.axes
        if len(file.series) > 1:
            notes.append(f"{path.name} holds {len(file.series)} series of images; the first is shown.")
    if pixels.dtype.kind not in "uif" or pixels.ndim < 2:
        raise UnreadableFileError(
            f"{path.name} holds no grey or colour image.", "Choose an ordinary TIFF image."
        )
    if "S" in axes:
        samples = np.moveaxis(pixels, axes.index("S"), -1)
        pixels = luminance(samples) if colour else samples[..., 0]
    frames = pixels.reshape(-1, *pixels.shape[-2:])
    if turned and frames.dtype.kind == "u":
        frames = np.iinfo(frames.dtype).max - frames
    return Picture(_narrow(frames), tuple(notes))


def _grey(pixels: NDArray[Any]) -> NDArray[Any]:
    """(H, W) of a supported type."""
    return _narrow(luminance(pixels) if pixels.ndim == 3 else pixels)


def _narrow(pixels: NDArray[Any]) -> NDArray[Any]:
    """Native uint8, uint16 or float32; what is no number becomes black."""
    if pixels.dtype == bool:
        return pixels.astype(np.uint8) * 255
    if pixels.dtype.kind == "f":
        return np.nan_to_num(pixels.astype(np.float32), posinf=0.0, neginf=0.0)
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2:
        return np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("="))
    if pixels.size and pixels.min() >= 0 and pixels.max() <= 65535:
        return pixels.astype(np.uint16)
    return pixels.astype(np.float32)


def _check_memory(path: Path, needed: int) -> None:
    """Refuse a picture that claims more than its bytes can hold, or more than half of the free memory."""
    size = path.stat().st_size
    if needed > max(LARGE_PICTURE, HIGHEST_RATIO * size):
        raise UnreadableFileError(
            f"{path.name} claims {needed / 2**20:,.0f} MiB of pixels, which its {size:,} bytes cannot hold.",
            "The file is damaged; export or download it again.",
        )
    if needed > psutil.virtual_memory().available // 2:
        raise UnreadableFileError(
            f"{path.name} claims {needed / 2**30:.1f} GiB of pixels, more than half of the free memory.",
            "Save it at a smaller size, or open it on a machine with more memory.",
        )
