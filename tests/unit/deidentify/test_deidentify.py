"""Identity in every place of the specification's list, and nowhere afterwards."""

from __future__ import annotations

import zipfile
from datetime import datetime
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image, ImageDraw, PngImagePlugin
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import generate_uid

from napari_clipmed.deidentify import Disguise, Outcome, deidentify, files_below
from napari_clipmed.deidentify.streams import without_comments, without_unused_bits
from napari_clipmed.errors import ClipmedError
from napari_clipmed.io import list_studies, open_study
from napari_clipmed.io.dicom_write import Uids, write_dx, write_xa
from napari_clipmed.study import PatientIdentity

SECRET = "Zebulon"
WHO = PatientIdentity(f"{SECRET}^Anna", f"{SECRET}-77", "19610203", "F", "20240517")
RNG = np.random.default_rng(0)
RUN = RNG.integers(0, 4000, (5, 40, 48)).astype(np.uint16)


FREE_TEXT = (
    "StudyDescription", "ProtocolName", "PatientComments", "ImageComments", "OtherPatientIDs", "StationName",
    "PatientAddress", "AdditionalPatientHistory", "ReferringPhysicianName", "OperatorsName", "StudyID",
    "InstitutionName", "AccessionNumber", "DeviceSerialNumber", "RequestedProcedureDescription",
    "DerivationDescription", "ContrastBolusAgent", "AcquisitionComments", "FrameComments",
)  # fmt: skip


def item(**values: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def stuffed(path: Path, uids: Uids | None = None, **options: object) -> Path:
    """A run with a name in every place where one was ever found."""
    write_xa(
        path,
        RUN,
        timing_ms=250.0,
        patient=WHO,
        uids=uids,
        description=f"Run of {SECRET}",
        compress="jpeglossless",
        acquired=datetime(2024, 5, 17, 9, 30, 15),
        **{"angles": (0.0, 0.0), **options},
    )
    dataset = pydicom.dcmread(path)
    dataset.preamble = SECRET.encode().ljust(128, b"\0")
    dataset.file_meta.SourceApplicationEntityTitle = SECRET
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3"
    dataset.file_meta.PrivateInformation = SECRET.encode() + b"\0"
    for keyword in FREE_TEXT:
        setattr(dataset, keyword, f"{SECRET} text")
    dataset.PatientMotherBirthName = f"{SECRET}^Mother"
    dataset.InstanceCreatorUID = f"1.2.826.0.1.{SECRET.__hash__() % 10**9}"
    dataset.RequestAttributesSequence = [
        item(RequestedProcedureID=SECRET, ScheduledProcedureStepDescription=SECRET)
    ]
    dataset.OriginalAttributesSequence = [
        item(
            ModifyingSystem=SECRET,
            SourceOfPreviousValues=SECRET,
            ModifiedAttributesSequence=[item(PatientName=SECRET)],
        )
    ]
    dataset.PerformedProtocolCodeSequence = [
        item(CodeValue="X", CodingSchemeDesignator="99HERE", CodeMeaning=SECRET)
    ]
    dataset.AnatomicRegionSequence = [
        item(CodeValue="Y", CodingSchemeDesignator="99HERE", CodeMeaning=SECRET),
        item(CodeValue="69536005", CodingSchemeDesignator="SCT", CodeMeaning="Head"),
    ]
    if "MaskSubtractionSequence" in dataset:
        dataset.MaskSubtractionSequence[0].MaskOperationExplanation = SECRET
    icon = item(Rows=2, Columns=8, PixelData=SECRET.encode().ljust(16, b"\0"))
    icon["PixelData"].VR = "OB"
    dataset.IconImageSequence = [icon]
    dataset.add_new((0x6000, 0x3000), "OW", SECRET.encode().ljust(240, b"\0"))
    dataset.add_new((0x6000, 0x1500), "LO", SECRET)
    dataset.add_new((0x6002, 0x0022), "LO", SECRET)
    dataset.add_new((0x5000, 0x0022), "LO", SECRET)
    dataset.add_new((0x5000, 0x3000), "OW", SECRET.encode() + b"\0")
    block = dataset.private_block(0x0029, SECRET, create=True)
    block.add_new(0x10, "UN", SECRET.encode() + b"\0")
    block.add_new(0x11, "SQ", [item(PatientName=SECRET)])
    dataset.add_new((0x0008, 0x9FFE), "LO", SECRET)  # no attribute of the standard
    dataset.add_new((0xFFFC, 0xFFFC), "OB", SECRET.encode() + b"\0")
    frames = list(generate_frames(dataset.PixelData, number_of_frames=len(RUN)))
    comment = b"\xff\xfe" + (len(SECRET) + 2).to_bytes(2, "big") + SECRET.encode()
    dataset.PixelData = encapsulate([frame[:2] + comment + frame[2:] for frame in frames])
    dataset["PixelData"].VR = "OB"
    dataset.save_as(path)
    assert path.read_bytes().count(SECRET.encode()) > 30
    return path


def everything(folder: Path) -> bytes:
    """All bytes and all names below a folder."""
    return b"".join(
        str(path.relative_to(folder)).encode() + path.read_bytes() for path in files_below(folder)
    )


def run(folder: Path, out: Path, **options: bool) -> list[Outcome]:
    return deidentify(files_below(folder), out, Disguise(**options))


def test_nothing_of_the_name_is_left_anywhere_and_the_pixels_are_the_same(tmp_path: Path) -> None:
    source = tmp_path / SECRET / f"{SECRET}.dcm"
    source.parent.mkdir()
    stuffed(source)
    before = source.read_bytes()
    (outcome,) = run(source.parent, tmp_path / "out")
    assert not outcome.problem
    assert source.read_bytes() == before
    left = everything(tmp_path / "out")
    assert SECRET.encode() not in left
    for number in (b"19610203", b"20240517", b"093015"):
        assert number not in left
    assert SECRET not in repr(outcome)
    view = open_study(tmp_path / "out" / outcome.output).views[0]
    np.testing.assert_array_equal(np.asarray(view.pixels), RUN)
    assert view.timing.interval_ms == 250
    done = dict(outcome.done)
    assert done[("RequestAttributesSequence", "removed")] == 1
    assert done[("IconImageSequence", "removed")] == 1
    assert ("private attributes", "removed") in done


def test_the_file_says_what_was_done_to_it(tmp_path: Path) -> None:
    stuffed(tmp_path / "in.dcm")
    (outcome,) = deidentify([tmp_path / "in.dcm"], tmp_path / "out", Disguise())
    dataset = pydicom.dcmread(tmp_path / "out" / outcome.output)
    assert dataset.PatientIdentityRemoved == "YES"
    assert "PS3.15" in dataset.DeidentificationMethod
    assert [code.CodeValue for code in dataset.DeidentificationMethodCodeSequence] == ["113100"]
    assert dataset.LongitudinalTemporalInformationModified == "REMOVED"
    assert dataset.PatientID == "P001"
    assert dataset.StudyDate == ""
    assert [code.CodeMeaning for code in dataset.AnatomicRegionSequence] == ["Head"]
    assert dataset.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID


def test_a_biplane_pair_still_pairs_and_no_uid_is_the_old_one(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    ap, la = Uids.seeded(1, "s", "ap"), Uids.seeded(1, "s", "la")
    stuffed(tmp_path / "in" / "a.dcm", ap, plane="BIPLANE A", partner_sop=la.sop)
    stuffed(tmp_path / "in" / "b.dcm", la, plane="BIPLANE B", partner_sop=ap.sop, angles=(90.0, 0.0))
    run(tmp_path / "in", tmp_path / "out")
    (entry,) = list_studies(tmp_path / "out")
    assert entry.pairing is not None
    assert entry.pairing.value == "mutual reference"
    assert len(entry.paths) == 2
    left = everything(tmp_path / "out")
    assert not any(uid.encode() in left for uid in (ap.study, ap.series, ap.sop, la.sop))


def test_two_calls_give_unrelated_uids_and_patients_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, patient in (("a", "one"), ("b", "two"), ("c", "one")):
        write_dx(tmp_path / "in" / f"{name}.dcm", RUN[0], patient=PatientIdentity(patient_id=patient))
    first, second = run(tmp_path / "in", tmp_path / "x"), run(tmp_path / "in", tmp_path / "y")
    assert [Path(outcome.output).parts[0] for outcome in first] == ["P001", "P002", "P001"]
    uids = {pydicom.dcmread(tmp_path / "x" / outcome.output).SOPInstanceUID for outcome in first}
    assert not uids & {pydicom.dcmread(tmp_path / "y" / outcome.output).SOPInstanceUID for outcome in second}


def test_intervals_stay_where_asked_and_dates_do_not(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for day in (17, 27):
        write_xa(
            tmp_path / "in" / f"{day}.dcm",
            RUN,
            timing_ms=250.0,
            patient=PatientIdentity("A", "1", "19610203"),
            acquired=datetime(2024, 5, day, 9, 30),
        )
    outcomes = run(tmp_path / "in", tmp_path / "out", keep_intervals=True)
    headers = [pydicom.dcmread(tmp_path / "out" / outcome.output) for outcome in outcomes]
    days = [datetime.strptime(str(header.AcquisitionDate), "%Y%m%d") for header in headers]
    assert (days[1] - days[0]).days == 10
    assert days[1] < datetime(2023, 6, 1)
    assert headers[0].PatientBirthDate == ""
    assert headers[0].LongitudinalTemporalInformationModified == "MODIFIED"
    assert [code.CodeValue for code in headers[0].DeidentificationMethodCodeSequence] == ["113100", "113107"]


def test_frame_times_of_an_enhanced_run_stay_as_intervals(tmp_path: Path) -> None:
    path = tmp_path / "in.dcm"
    write_xa(path, RUN, timing_ms=250.0, patient=WHO)
    dataset = pydicom.dcmread(path)
    del dataset.FrameTime, dataset.FrameIncrementPointer, dataset.CineRate
    dataset.PerFrameFunctionalGroupsSequence = [
        item(FrameContentSequence=[item(FrameReferenceDateTime=f"20240517093015.{k}00000")])
        for k in range(len(RUN))
    ]
    dataset.save_as(path)
    (outcome,) = deidentify([path], tmp_path / "out", Disguise())
    view = open_study(tmp_path / "out" / outcome.output).views[0]
    assert view.timing.times_ms.tolist() == [0, 100, 200, 300, 400]
    assert b"20240517" not in (tmp_path / "out" / outcome.output).read_bytes()


def test_what_is_no_image_is_left_out_and_a_broken_file_stops_nobody(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "letter.txt").write_text(f"Dear {SECRET}")
    (folder / f"{SECRET}.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x02\0\0\0UL\4\0")
    write_dx(folder / "z.dcm", RUN[0], patient=WHO)
    report = pydicom.dcmread(folder / "z.dcm")
    del report.PixelData
    report.SOPInstanceUID = report.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    report.save_as(folder / "report.dcm")
    outcomes = run(folder, tmp_path / "out")
    assert sum(bool(outcome.output) for outcome in outcomes) == 1
    assert sum(outcome.left_out for outcome in outcomes) == 2
    failed = [outcome for outcome in outcomes if outcome.problem and not outcome.left_out]
    assert len(failed) == 1
    assert SECRET not in failed[0].problem


def test_pictures_lose_their_text_and_exif(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    about = PngImagePlugin.PngInfo()
    about.add_text("Patient", SECRET)
    grey = RNG.integers(0, 255, (30, 40)).astype(np.uint8)
    Image.fromarray(grey).save(tmp_path / "in" / f"{SECRET}.png", pnginfo=about)
    exif = Image.Exif()
    exif[0x010E] = SECRET
    Image.fromarray(grey).save(tmp_path / "in" / "b.jpg", exif=exif)
    outcomes = run(tmp_path / "in", tmp_path / "out")
    assert len(outcomes) == 2
    assert SECRET.encode() not in everything(tmp_path / "out")
    assert any(np.array_equal(np.asarray(Image.open(path)), grey) for path in files_below(tmp_path / "out"))


def test_an_archive_is_looked_into(tmp_path: Path) -> None:
    write_dx(tmp_path / f"{SECRET}.dcm", RUN[0], patient=WHO)
    with zipfile.ZipFile(tmp_path / "disc.zip", "w") as archive:
        archive.write(tmp_path / f"{SECRET}.dcm", f"{SECRET}/film.dcm")
    (outcome,) = deidentify(files_below(tmp_path / "disc.zip"), tmp_path / "out", Disguise())
    assert outcome.output == "P001/S01/0001.dcm"
    assert SECRET.encode() not in everything(tmp_path / "out")


def test_files_are_not_replaced_unasked_and_sources_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_dx(tmp_path / "in" / "a.dcm", RUN[0])
    run(tmp_path / "in", tmp_path / "out")
    with pytest.raises(ClipmedError, match="exists already"):
        run(tmp_path / "in", tmp_path / "out")
    with pytest.raises(ClipmedError, match="holds the sources"):
        run(tmp_path / "in", tmp_path / "in")


def written_on(text: str) -> np.ndarray:
    picture = Image.fromarray((RNG.normal(120, 25, (256, 256)).clip(5, 240)).astype(np.uint8))
    ImageDraw.Draw(picture).text((6, 6), text, fill=255, font_size=14)
    return np.asarray(picture)


def test_burned_in_text_is_warned_of_and_never_called_clean(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_dx(tmp_path / "in" / "a.dcm", written_on("DOE JANE 1961"))
    write_dx(tmp_path / "in" / "b.dcm", written_on(""))
    write_xa(tmp_path / "in" / "c.dcm", RUN, timing_ms=100.0)
    written, plain, undeclared = (outcome.warnings for outcome in run(tmp_path / "in", tmp_path / "out"))
    assert any("line of text" in warning for warning in written)
    assert not plain
    assert any("does not say" in warning for warning in undeclared)


def test_comments_leave_every_kind_of_stream() -> None:
    note = b"\xff\xfe\x00\x06" + b"Anna"
    app = b"\xff\xe1\x00\x06" + b"Exif"
    table = b"\xff\xdb\x00\x04\x01\x02"
    scan = b"\xff\xda\x00\x04\x01\x02" + note + b"\xff\xd9"
    assert without_comments(b"\xff\xd8" + app + table + note + scan) == b"\xff\xd8" + table + scan
    size = b"\xff\x51\x00\x04\x00\x00"
    tile = b"\xff\x90\x00\x04\x00\x00" + note
    jpeg_2000 = b"\xff\x4f" + size + b"\xff\x64\x00\x06" + b"Anna" + tile
    assert without_comments(jpeg_2000) == b"\xff\x4f" + size + tile
    assert without_comments(b"RLE as it is") == b"RLE as it is"


@pytest.mark.parametrize(
    ("stored", "high", "signed", "value", "expected"),
    [(12, 11, False, 0xF123, 0x0123), (12, 15, False, 0x123F, 0x1230), (12, 11, True, 0x0801, 0xF801)],
)
def test_bits_that_are_no_pixels_are_cleared(
    stored: int, high: int, signed: bool, value: int, expected: int
) -> None:
    raw = value.to_bytes(2, "little")
    assert without_unused_bits(raw, stored, high, signed) == expected.to_bytes(2, "little")
