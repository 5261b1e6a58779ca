"""Every transfer syntax of the specification, against another decoder or the pixels that went in."""

from __future__ import annotations

import io

import gdcm
import imagecodecs
import numpy as np
import pydicom
import pytest
from dicom_runs import run_frames
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLSNearLossless,
)

from napari_clipmed.errors import UnreadableFileError
from napari_clipmed.io import open_study


def read(path):
    (view,) = open_study(path).views
    return view.native if view.native is not None else view.pixels


def gdcm_frames(path, shape, dtype):
    """The same file through GDCM alone."""
    reader = gdcm.ImageReader()
    reader.SetFileName(str(path))
    assert reader.Read()
    raw = reader.GetImage().GetBuffer().encode("utf-8", errors="surrogateescape")
    return np.frombuffer(raw, dtype).reshape(shape)


def recode(path, syntax, encode):
    """Replace the pixels of a file by streams of another encoder."""
    dataset = pydicom.dcmread(path)
    frames = dataset.pixel_array
    dataset.PixelData = encapsulate([bytes(encode(frame)) for frame in frames])
    dataset["PixelData"].is_undefined_length = True
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path)
    return frames


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian]
)
@pytest.mark.parametrize("bits", [8, 12])
def test_native_encodings(make_run, syntax, bits) -> None:
    given = run_frames(bits=bits)
    path = make_run(pixels=given)
    dataset = pydicom.dcmread(path)
    if syntax == ExplicitVRBigEndian and bits > 8:
        dataset.PixelData = given.astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset["ModalityLUTSequence"].value[0].pop("LUTData")  # pydicom does not swap OW values by itself
    pydicom.dcmwrite(
        path,
        dataset,
        little_endian=syntax != ExplicitVRBigEndian,
        implicit_vr=syntax == ImplicitVRLittleEndian,
    )
    pixels = read(path)
    assert pixels.dtype == given.dtype and pixels.dtype.isnative
    assert np.array_equal(pixels, given)


@pytest.mark.parametrize("compress", ["rle", "jpegls", "jpeg2000", "jpeglossless"])
@pytest.mark.parametrize("bits", [8, 10, 12, 16])
def test_lossless_encodings_agree_with_gdcm(make_run, compress, bits) -> None:
    given = run_frames(bits=bits)
    path = make_run(pixels=given, compress=compress)
    assert np.array_equal(read(path), given)
    assert np.array_equal(gdcm_frames(path, given.shape, given.dtype), given)


def test_jpeg_lossless_of_any_predictor(make_run) -> None:
    path = make_run()
    given = recode(
        path, JPEGLossless, lambda f: imagecodecs.jpeg_encode(f, lossless=True, predictor=6, bitspersample=12)
    )
    assert np.array_equal(read(path), given)


def test_jpeg_baseline_agrees_with_gdcm(make_run) -> None:
    def encode(frame):
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=90)
        return buffer.getvalue()

    path = make_run(pixels=run_frames(bits=8))
    given = recode(path, JPEGBaseline8Bit, encode)
    pixels = read(path)
    assert np.abs(pixels.astype(int) - given).max() < 30
    assert np.abs(pixels.astype(int) - gdcm_frames(path, given.shape, given.dtype)).max() <= 1


def test_twelve_bit_extended_jpeg(make_run) -> None:
    path = make_run()
    given = recode(path, JPEGExtended12Bit, lambda f: imagecodecs.jpeg_encode(f, level=98, bitspersample=12))
    difference = np.abs(read(path).astype(int) - given)
    assert difference.max() < 40 and difference.mean() < 8


def test_jpeg_ls_near_lossless(make_run) -> None:
    path = make_run()
    given = recode(path, JPEGLSNearLossless, lambda f: imagecodecs.jpegls_encode(f, level=2))
    assert 0 < np.abs(read(path).astype(int) - given).max() <= 2


def test_lossy_jpeg_2000(make_run) -> None:
    path = make_run()
    given = recode(path, JPEG2000, lambda f: imagecodecs.jpeg2k_encode(f, level=60, codecformat="j2k"))
    pixels = read(path).astype(int)
    assert 0 < np.abs(pixels - given).max() < 400
    assert np.abs(pixels - gdcm_frames(path, given.shape, given.dtype)).max() <= 1


@pytest.mark.parametrize("bits", [8, 12])
@pytest.mark.parametrize("syntax", [HTJ2KLossless, HTJ2KLosslessRPCL])
def test_high_throughput_jpeg_2000_of_grey_runs(make_run, bits, syntax) -> None:
    path = make_run(pixels=run_frames(bits=bits))
    given = recode(path, syntax, lambda f: imagecodecs.htj2k_encode(f, reversible=True))
    assert np.array_equal(read(path), given)


@pytest.mark.parametrize(
    "syntax",
    ["1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.100", "1.2.3.4"],
    ids=["MPEG-4", "JPEG XL", "MPEG-2", "unknown"],
)
def test_what_nobody_decodes_is_refused_with_a_sentence(make_run, syntax) -> None:
    path = make_run(compress="jpegls")
    rename_syntax(path, syntax)
    with pytest.raises(UnreadableFileError, match="cannot be decoded here") as error:
        open_study(path)
    assert "gdcmconv" in error.value.hint


def rename_syntax(path, syntax) -> None:
    """Write another Transfer Syntax UID in place; pydicom would not write one that it does not know."""
    raw, old = path.read_bytes(), pydicom.dcmread(path).file_meta.TransferSyntaxUID.encode()
    new = syntax.encode() + b"\0" * (len(syntax) % 2)
    length = int.from_bytes(raw[140:144], "little") + len(new) - len(old)
    raw = raw.replace(
        b"UI" + len(old).to_bytes(2, "little") + old, b"UI" + len(new).to_bytes(2, "little") + new, 1
    )
    path.write_bytes(raw[:140] + length.to_bytes(4, "little") + raw[144:])


EXACT = ("UNC", "JLSL", "JPLL", "J2KR", "RLE")


@pytest.mark.shared_data
@pytest.mark.parametrize(
    ("name", "tolerance"), [*((n, 0) for n in EXACT), ("JLSN", 20), ("J2KI", 80), ("JPLY", 120)]
)
def test_one_real_frame_in_eight_syntaxes(shared_data, name, tolerance) -> None:
    folder = shared_data / "xa/wg04_xa1_all_syntaxes"
    truth = np.frombuffer(pydicom.dcmread(folder / "XA1_UNC.dcm").PixelData, "<u2").reshape(1, 1024, 1024)
    pixels = read(folder / f"XA1_{name}.dcm")
    difference = np.abs(pixels.astype(int) - truth)
    assert difference.max() <= tolerance
    assert difference.mean() <= tolerance / 8


@pytest.mark.shared_data
def test_high_throughput_jpeg_2000(shared_data) -> None:
    assert read(shared_data / "bad_dicom/pydicomdata_HTJ2K_08_RGB.dcm").shape == (1, 480, 640)
