"""Frames out of DICOM pixel data: every whole frame that exists is shown, whatever the header claims.

Nothing is allocated on the word of a header: native frames are counted in the bytes that were read, and room
for compressed frames is made only after the first one was decoded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels import apply_color_lut, get_decoder
from pydicom.pixels.decoders.base import Decoder
from pydicom.uid import UID

from napari_clipmed.errors import UnreadableFileError
from napari_clipmed.io import codecs
from napari_clipmed.io.dicom_headers import DicomFile, PixelElement
from napari_clipmed.io.dicom_values import integer, text
from napari_clipmed.io.streams import fault_of

Frames = NDArray[Any]

LARGE_FRAME, HIGHEST_RATIO = 2**26, 2_000
"""A frame of more than 64 MiB is believed only if its compressed bytes are not absurdly few."""


@dataclass(frozen=True)
class PixelLayout:
    """How the pixels of a frame are stored (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    photometric: str
    planar: bool
    declared_frames: int | None
    kind: str

    @property
    def plain_grey(self) -> bool:
        """Whether a decoded sample is a stored value, without sign, palette or colour."""
        return (
            self.samples == 1
            and not self.signed
            and self.kind == "integer"
            and self.photometric.startswith("MONOCHROME")
        )

    @property
    def frame_bits(self) -> int:
        """Bits that a native frame takes."""
        samples = 2 if self.halved_colour else self.samples
        return self.rows * self.columns * samples * self.allocated

    @property
    def halved_colour(self) -> bool:
        """Whether two neighbours share their colour: Y1 Y2 Cb Cr."""
        whole_pairs = self.samples == 3 and self.allocated == 8 and self.columns % 2 == 0
        return self.photometric == "YBR_FULL_422" and whole_pairs

    @classmethod
    def of(cls, dataset: Dataset, kind: str, name: str) -> PixelLayout:
        """Read the layout, or say what is missing."""
        rows, columns = integer(dataset, "Rows", 0), integer(dataset, "Columns", 0)
        if rows < 1 or columns < 1:
            raise UnreadableFileError(
                f"{name} does not say how many rows and columns its image has.", "Export the file again."
            )
        allocated = integer(dataset, "BitsAllocated", {"float": 32, "double": 64}.get(kind, 8))
        if allocated not in (1, 8, 16, 32, 64):
            raise UnreadableFileError(
                f"{name} stores {allocated} bits a pixel, which no angiograph or X-ray does.",
                "Export it again.",
            )
        samples = max(integer(dataset, "SamplesPerPixel", 1), 1)
        if samples > 4 or (allocated == 1 and samples > 1):
            raise UnreadableFileError(
                f"{name} claims {samples} samples a pixel, which is neither grey nor colour.",
                "Export it again.",
            )
        stored = integer(dataset, "BitsStored", allocated)
        stored = stored if 0 < stored <= allocated else allocated
        frames = integer(dataset, "NumberOfFrames", 0)
        return cls(
            rows=rows,
            columns=columns,
            samples=samples,
            allocated=allocated,
            stored=stored,
            high_bit=integer(dataset, "HighBit", stored - 1),
            signed=integer(dataset, "PixelRepresentation", 0) == 1,
            photometric=text(dataset, "PhotometricInterpretation") or "MONOCHROME2",
            planar=integer(dataset, "PlanarConfiguration", 0) == 1,
            declared_frames=frames if frames > 0 else None,
            kind=kind,
        )


@dataclass(frozen=True, eq=False)
class Decoded:
    """Stored values of every frame.

    Parameters
    ----------
    frames : (T, H, W) array
        Grey, native byte order; colour has become luminance.
    bad : tuple of int
        Indices (from 0) of frames that could not be decoded and show a neighbour instead.
    warnings : tuple of str
        What was wrong and what was saved.
    """

    frames: Frames
    bad: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()


def luminance(colour: Frames) -> Frames:
    """RGB to grey (ITU-R BT.601), of the same integer type; a grey picture stored as RGB comes back exactly.

    Parameters
    ----------
    colour : (..., 3 or 4) array
    """
    red, green, blue = colour[..., 0], colour[..., 1], colour[..., 2]
    if np.array_equal(red, green) and np.array_equal(green, blue):
        return np.ascontiguousarray(red)
    grey = colour[..., :3].astype(np.float32) @ np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return np.round(grey).astype(colour.dtype) if colour.dtype.kind in "ui" else grey


# -- native ------------------------------------------------------------------------------------------------


def decode_native(file: DicomFile, element: PixelElement, layout: PixelLayout) -> Decoded:
    """Frames straight from the bytes of the file."""
    count, notes = native_count(file, element, layout)
    return Decoded(native_frames(file, element.read(), layout, count), warnings=notes)


def native_frames(file: DicomFile, data: bytes, layout: PixelLayout, count: int) -> Frames:
    """The first `count` frames of native bytes."""
    return _to_grey(_unpack(data, layout, count, file.little_endian), layout, file.dataset, file.path.name)


def native_count(file: DicomFile, element: PixelElement, layout: PixelLayout) -> tuple[int, tuple[str, ...]]:
    """How many whole frames the bytes of a native element hold, and what is wrong with that.

    Raises
    ------
    UnreadableFileError
        When they hold less than one.
    """
    name = file.path.name
    whole = len(element.data) * 8 // layout.frame_bits
    declared = layout.declared_frames or 1
    if whole < 1:
        raise UnreadableFileError(
            f"{name} claims {layout.columns} × {layout.rows} pixels but holds only "
            f"{len(element.data):,} bytes of them, less than one frame.",
            "The file was cut or is damaged; export it again.",
        )
    notes = []
    count = min(declared, whole)
    exact = 0 <= element.declared * 8 - whole * layout.frame_bits < 16  # one byte of padding at most
    if layout.declared_frames is None and whole > 1 and exact:
        count = whole
        notes.append(f"{name} does not say how many frames it has; {whole} were found.")
    if whole < declared:
        notes.append(f"{name} claims {declared} frames but holds {whole} whole ones; those are shown.")
    return count, tuple(notes)


def _unpack(data: bytes, layout: PixelLayout, count: int, little: bool) -> Frames:
    """Native bytes as (T, H, W) or (T, H, W, samples), shifted and masked to the stored bits."""
    shape = (count, layout.rows, layout.columns)
    bits = count * layout.frame_bits
    if layout.allocated == 1:
        raw = np.frombuffer(data, np.uint8, count=(bits + 7) // 8)
        return np.unpackbits(raw, bitorder="little", count=bits).reshape(shape)
    letter = "f" if layout.kind != "integer" else "u"
    dtype = np.dtype(f"{'<' if little else '>'}{letter}{layout.allocated // 8}")
    values = np.frombuffer(data, dtype, count=bits // layout.allocated)
    values = values.astype(dtype.newbyteorder("="))  # a writable copy
    if layout.halved_colour:  # Y1 Y2 Cb Cr: the luminance is every first pair
        return values.reshape(*shape[:2], -1, 4)[..., :2].reshape(shape)
    if layout.samples > 1:
        if layout.planar:
            return np.moveaxis(values.reshape(count, layout.samples, *shape[1:]), 1, -1)
        return values.reshape(*shape, layout.samples)
    return _stored_bits(values.reshape(shape), layout)


def _stored_bits(values: Frames, layout: PixelLayout) -> Frames:
    """Keep the stored bits only: High Bit need not be Bits Stored − 1, and old overlays sit in the rest.

    Writes into `values` where it may, for a whole run is large.
    """
    if layout.kind != "integer" or (layout.stored == layout.allocated and not layout.signed):
        return values
    bits = 8 * values.dtype.itemsize
    signed = values.dtype.kind == "i" or layout.signed
    top = bits - 1 - min(max(layout.high_bit, layout.stored - 1), bits - 1)
    unsigned = (values if values.flags.writeable else values.copy()).view(f"u{values.dtype.itemsize}")
    if top:
        np.left_shift(unsigned, np.array(top, unsigned.dtype), out=unsigned)
    result = unsigned.view(f"i{values.dtype.itemsize}") if signed else unsigned
    return np.right_shift(result, np.array(bits - layout.stored, result.dtype), out=result)


def _to_grey(frames: Frames, layout: PixelLayout, dataset: Dataset, name: str) -> Frames:
    """Palette and colour frames as luminance; grey frames as they are."""
    if layout.photometric == "PALETTE COLOR" and frames.ndim == 3:
        try:
            frames = apply_color_lut(frames, dataset)
        except Exception as error:  # noqa: BLE001 - boundary: a damaged palette may raise anything
            raise UnreadableFileError(
                f"The colour palette of {name} is missing or damaged.", "Export it again, as a grey image."
            ) from error
    if frames.ndim == 3:
        return frames
    if layout.photometric.startswith("YBR") and layout.photometric not in ("YBR_RCT", "YBR_ICT"):
        return np.ascontiguousarray(frames[..., 0])
    return luminance(frames)


# -- compressed --------------------------------------------------------------------------------------------


def decoder_of(syntax: UID, name: str) -> Decoder:
    """The decoder of a transfer syntax, or a sentence."""
    codecs.register()
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        decoder = None
    if decoder is None or not decoder.is_available:
        label = syntax.name if syntax.name != str(syntax) else f"transfer syntax {syntax}"
        raise UnreadableFileError(
            f"{name} is compressed as {label}, which cannot be decoded here.",
            "Export it as JPEG lossless or uncompressed, for example with gdcmconv or dcmtk.",
        )
    return decoder


def decode_stream(
    decoder: Decoder, stream: bytes, layout: PixelLayout, dataset: Dataset, name: str
) -> Frames:
    """One compressed frame as grey (H, W)."""
    if layout.frame_bits // 8 > max(LARGE_FRAME, HIGHEST_RATIO * len(stream)):
        raise UnreadableFileError(
            f"{name} claims {layout.columns} × {layout.rows} pixels a frame, which its "
            f"{len(stream):,} bytes cannot hold.",
            "The header is wrong or the file is damaged; export it again.",
        )
    fault = fault_of(stream, (layout.rows, layout.columns))
    if fault:
        raise ValueError(fault)
    if codecs.decodes_alone(decoder.UID) and layout.plain_grey:
        return _stored_bits_only(codecs.decode_grey(stream, layout.rows, layout.columns), layout)
    options = {
        "rows": layout.rows,
        "columns": layout.columns,
        "number_of_frames": 1,
        "samples_per_pixel": layout.samples,
        "bits_allocated": layout.allocated,
        "bits_stored": layout.stored,
        "pixel_representation": int(layout.signed),
        "photometric_interpretation": layout.photometric,
        "planar_configuration": int(layout.planar),
        "pixel_keyword": "PixelData",
    }
    source = encapsulate([stream], has_bot=False)
    frame = codecs.decode(decoder, source, options)
    frame = frame.astype(frame.dtype.newbyteorder("="), copy=False)
    frame = _stored_bits_only(frame, layout)
    if layout.photometric == "PALETTE COLOR":
        return _to_grey(frame[None], layout, dataset, name)[0]
    return luminance(frame) if frame.ndim == 3 else frame  # pydicom has turned YBR into RGB


def _stored_bits_only(frame: Frames, layout: PixelLayout) -> Frames:
    """A frame without what its stream kept above High Bit or below the stored bits."""
    if frame.ndim == 2 and frame.dtype.kind == "u" and int(frame.max(initial=0)) >= 2**layout.stored:
        return _stored_bits(frame, layout)
    return frame
