"""The table of broken files: whole frames are saved, the fault is said, nothing is believed blindly."""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc

import numpy as np
import pydicom
import pytest
from dicom_runs import run_frames
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames

from napari_clipmed.errors import UnreadableFileError
from napari_clipmed.io import open_study
from napari_clipmed.io.fragments import compressed_frames

COMPRESSED = ["rle", "jpegls", "jpeg2000", "jpeglossless"]


def the_view(path):
    (view,) = open_study(path).views
    return view


def no_offset_table(dataset: Dataset) -> None:
    streams = list(generate_frames(dataset.PixelData, number_of_frames=int(dataset.NumberOfFrames)))
    dataset.PixelData = encapsulate(streams, has_bot=False)
    dataset["PixelData"].is_undefined_length = True


@pytest.mark.parametrize("compress", COMPRESSED)
def test_number_of_frames_absent_and_no_offset_table(make_run, frames, compress) -> None:
    def change(dataset):
        no_offset_table(dataset)
        del dataset.NumberOfFrames

    view = the_view(make_run(change, compress=compress))
    assert np.array_equal(view.pixels, frames)
    assert any("does not say how many frames" in note and "6 were found" in note for note in view.warnings)


@pytest.mark.parametrize("compress", COMPRESSED)
@pytest.mark.parametrize("table", [True, False])
def test_number_of_frames_too_large(make_run, frames, compress, table) -> None:
    def change(dataset):
        if not table:
            no_offset_table(dataset)
        dataset.NumberOfFrames = 9

    view = the_view(make_run(change, compress=compress))
    assert np.array_equal(view.pixels, frames)
    assert any("claims 9 frames but holds 6" in note for note in view.warnings)
    assert view.timing.times_ms.tolist() == [0, 200, 400, 600, 800, 1000]


def test_native_with_too_few_bytes(make_run, frames) -> None:
    path = make_run()
    path.write_bytes(path.read_bytes()[:-1000])
    view = the_view(path)
    assert np.array_equal(view.pixels, frames[:5])
    assert any("claims 6 frames but holds 5 whole ones" in note for note in view.warnings)


def test_native_with_less_than_a_frame(make_run, frames) -> None:
    path = make_run()
    path.write_bytes(path.read_bytes()[: -frames.nbytes + 100])
    with pytest.raises(UnreadableFileError, match="less than one frame"):
        open_study(path)


@pytest.mark.parametrize("compress", COMPRESSED)
@pytest.mark.parametrize("table", [True, False])
def test_file_cut_in_the_last_frame(make_run, frames, compress, table) -> None:
    path = make_run(None if table else no_offset_table, compress=compress)
    path.write_bytes(path.read_bytes()[:-60])
    view = the_view(path)
    assert np.array_equal(view.pixels, frames[:5])
    assert any("claims 6 frames but holds 5" in note for note in view.warnings)


def test_file_cut_in_the_header(make_run) -> None:
    path = make_run()
    path.write_bytes(path.read_bytes()[:700])
    with pytest.raises(UnreadableFileError, match=r"run\.dcm"):
        open_study(path)


@pytest.mark.parametrize("compress", ["jpegls", "jpeg2000", "jpeglossless"])
def test_one_bad_frame_costs_one_frame(make_run, frames, compress) -> None:
    def change(dataset):
        streams = list(generate_frames(dataset.PixelData, number_of_frames=6))
        streams[2] = streams[2][:40] + b"\0" * 40
        dataset.PixelData = encapsulate(streams)
        dataset["PixelData"].is_undefined_length = True

    view = the_view(make_run(change, compress=compress))
    assert np.array_equal(view.pixels[[0, 1, 3, 4, 5]], frames[[0, 1, 3, 4, 5]])
    assert np.array_equal(view.pixels[2], frames[1])
    assert any("1 of 6 frames" in note and "frame 3" in note for note in view.warnings)


def test_a_cut_jpeg_ls_film_answers_at_once(make_film) -> None:
    """CharLS takes most of a minute over a stream without its end."""
    path = make_film(compress="jpegls")
    path.write_bytes(path.read_bytes()[:-400])
    began = time.monotonic()
    with pytest.raises(UnreadableFileError, match="could be decoded"):
        open_study(path)
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("compress", ["jpegls", "jpeg2000", "jpeglossless"])
def test_a_stream_of_another_size_than_the_header_is_not_decoded(make_run, monkeypatch, compress) -> None:
    from napari_clipmed.io import codecs

    path = make_run(lambda dataset: setattr(dataset, "Rows", 34), compress=compress)
    monkeypatch.setattr(codecs, "decode", lambda *_: pytest.fail("a decoder was called"))
    with pytest.raises(UnreadableFileError, match="None of the 6"):
        open_study(path)


def test_damaged_rle_is_a_bad_frame_and_no_panic(make_run, frames) -> None:
    def change(dataset):
        streams = list(generate_frames(dataset.PixelData, number_of_frames=6))
        streams[1] = streams[1][:64] + b"\x7f" * (len(streams[1]) - 64)
        dataset.PixelData = encapsulate(streams)
        dataset["PixelData"].is_undefined_length = True

    view = the_view(make_run(change, compress="rle"))
    assert np.array_equal(view.pixels[[0, 2, 3, 4, 5]], frames[[0, 2, 3, 4, 5]])


def test_no_frame_that_decodes_is_one_sentence(make_run) -> None:
    def change(dataset):
        dataset.PixelData = encapsulate([b"\xff\xd8\xff" + b"x" * 99] * 6)
        dataset["PixelData"].is_undefined_length = True

    with pytest.raises(UnreadableFileError, match="None of the 6 frame"):
        open_study(make_run(change, compress="jpegls"))


def test_high_bit_above_the_stored_bits(make_run, frames) -> None:
    def change(dataset):
        dataset.HighBit = 15
        dataset.PixelData = (frames << 4 | 5).tobytes()  # four bits of an old overlay below

    assert np.array_equal(the_view(make_run(change)).pixels, frames)


def test_overlay_bits_above_the_stored_ones_are_ignored(make_run, frames) -> None:
    def change(dataset):
        dataset.PixelData = (frames | 0xA000).tobytes()

    assert np.array_equal(the_view(make_run(change)).pixels, frames)


def test_signed_pixels(make_run) -> None:
    given = run_frames().astype(np.int16) - 2048

    def change(dataset):
        dataset.PixelRepresentation = 1
        dataset.PixelData = (given.view(np.uint16) & 0x0FFF).tobytes()

    view = the_view(make_run(change))
    assert view.pixels.dtype == np.float32 and np.array_equal(view.pixels, given)


def test_no_preamble(make_run, frames) -> None:
    path = make_run()
    path.write_bytes(path.read_bytes()[132:])
    assert np.array_equal(the_view(path).pixels, frames)


def test_no_file_meta(make_run, frames) -> None:
    path = make_run()
    raw = path.read_bytes()
    path.write_bytes(raw[144 + int.from_bytes(raw[140:144], "little") :])
    view = the_view(path)
    assert np.array_equal(view.pixels, frames)
    assert any("does not say how it is encoded" in note for note in view.warnings)


def test_the_icon_is_never_the_image(make_run) -> None:
    def change(dataset):
        icon = Dataset()
        icon.Rows = icon.Columns = 8
        icon.SamplesPerPixel, icon.PhotometricInterpretation = 1, "MONOCHROME2"
        icon.BitsAllocated = icon.BitsStored = 8
        icon.PixelRepresentation, icon.HighBit, icon.PixelData = 0, 7, bytes(64)
        dataset.IconImageSequence = [icon]
        del dataset.PixelData

    with pytest.raises(UnreadableFileError, match="holds no image"):
        open_study(make_run(change))


@pytest.mark.parametrize("compress", [None, "jpegls", "rle"])
def test_a_claim_of_gigabytes_allocates_nothing(make_run, compress) -> None:
    def change(dataset):
        dataset.Rows = dataset.Columns = 65535
        dataset.NumberOfFrames = 1000

    path = make_run(change, compress=compress)
    tracemalloc.start()
    with pytest.raises(UnreadableFileError) as error:
        open_study(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20e6
    assert "65535" in error.value.message


CLAIMS = {
    "native": {"Rows": 65535, "Columns": 65535},
    "native frames": {"NumberOfFrames": 2**31 - 1},
    "rle": {"Rows": 65535, "Columns": 65535},
    "jpegls": {"Rows": 65535, "Columns": 65535},
    "jpeg2000": {"NumberOfFrames": 2**31 - 1},
}


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX limits")
@pytest.mark.parametrize("claim", sorted(CLAIMS))
def test_a_claim_of_eight_gigabytes_takes_little_of_a_process(make_run, claim) -> None:
    """In a process of its own, where codecs count as well: at most 200 MB more than before."""

    def change(dataset):
        for keyword, value in CLAIMS[claim].items():
            setattr(dataset, keyword, value)

    path = make_run(change, compress=None if claim.startswith("native") else claim)
    code = """
import resource, sys
from napari_clipmed.errors import UnreadableFileError
from napari_clipmed.io import codecs, open_study
from napari_clipmed.io import dicom_view, study_reader
def used(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = used()
try:
    open_study(sys.argv[1])
except UnreadableFileError:
    pass
print(used() - before)
"""
    answer = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=True, timeout=60
    )
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(answer.stdout) * unit < 200e6


def test_a_deflated_bomb_is_not_unpacked(make_run, monkeypatch) -> None:
    from napari_clipmed.io import dicom_headers

    path = make_run(pixels=np.zeros((64, 128, 128), np.uint16))
    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.99"
    dataset.save_as(path)
    monkeypatch.setattr(dicom_headers, "INFLATED_LIMIT", 100_000)
    with pytest.raises(UnreadableFileError, match="unpacks to more"):
        open_study(path)
    path.write_bytes(path.read_bytes()[132:])  # without the preamble just the same
    with pytest.raises(UnreadableFileError, match="unpacks to more"):
        open_study(path)


def test_malformed_values_count_as_absent(make_run, frames) -> None:
    path = make_run()
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"200.0 ", b"2O0.0 ", 1).replace(b"200.0", b"2O0.0", 1))
    view = the_view(path)
    assert np.array_equal(view.pixels, frames) and view.timing.source == "Cine Rate"


def test_values_of_another_type_count_as_absent() -> None:
    from napari_clipmed.io.dicom_values import numbers, text

    dataset, inner = Dataset(), Dataset()
    inner.PatientName = "Nobody"
    dataset.add_new("Modality", "SQ", [inner])
    dataset.add_new("ViewPosition", "UN", b"PA")
    dataset.add_new("InstanceNumber", "UL", 10**400)
    dataset.add_new("FrameIncrementPointer", "PN", "Nobody")
    assert text(dataset, "Modality") == ""
    assert text(dataset, "ViewPosition") == "PA"  # unknown to the writer, known to the dictionary
    assert numbers(dataset, "InstanceNumber") == numbers(dataset, "FrameIncrementPointer") == ()


def test_nothing_is_written_to_the_source(make_run) -> None:
    path = make_run(compress="jpegls")
    before = path.read_bytes(), path.stat().st_mtime_ns
    path.chmod(0o444)
    open_study(path)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == before


def test_no_remark_of_pydicom_reaches_the_outside(make_run, recwarn, caplog) -> None:
    path = make_run(lambda dataset: setattr(dataset, "StudyDate", "20200101"))
    path.write_bytes(path.read_bytes().replace(b"20200101", b"Smith^Jo"))
    open_study(path)
    assert not recwarn.list and "Smith" not in caplog.text


@pytest.mark.parametrize(
    ("bodies", "declared", "expected"),
    [
        ([b"\xff\xd8\xffa", b"b", b"\xff\xd8\xffc", b"d"], None, [b"\xff\xd8\xffab", b"\xff\xd8\xffcd"]),
        ([b"\xff\xd8\xffa", b"b"], 1, [b"\xff\xd8\xffab"]),
        ([b"x1", b"y1"], 2, [b"x1", b"y1"]),
        ([b"\xff\x4f\xff\x51a", b"\xff\x4f\xff\x51b"], 7, [b"\xff\x4f\xff\x51a", b"\xff\x4f\xff\x51b"]),
    ],
    ids=["by markers", "one frame of two fragments", "as declared", "declared too many"],
)
def test_fragments_become_frames(bodies, declared, expected) -> None:
    def item(body):
        return b"\xfe\xff\x00\xe0" + len(body).to_bytes(4, "little") + body

    data = item(b"") + b"".join(item(body) for body in bodies) + b"\xfe\xff\xdd\xe0\0\0\0\0"
    assert compressed_frames(data, declared) == expected
