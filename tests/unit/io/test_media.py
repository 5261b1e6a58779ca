"""Zip archives, DICOMDIR and large folders: listed by headers, within limits, never outside their place."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_runs import run_frames
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.fileset import FileSet

from napari_clipmed.errors import UnreadableFileError
from napari_clipmed.io import archives, list_studies, listing, open_study
from napari_clipmed.io.dicom_write import Uids
from napari_clipmed.io.pairing import MOST_RUNS, RunHeader, pair_runs
from napari_clipmed.study import PatientIdentity


@pytest.fixture
def examinations(make_run):
    """AP and LA of two patients, two runs each; the planes of a run name each other."""

    def make():
        paths = []
        for patient in ("one", "two"):
            for run in (1, 2):
                uids = {plane: Uids.seeded(run, patient, plane) for plane in ("AP", "LA")}
                for plane, other, word, angle in (("AP", "LA", "A", 0), ("LA", "AP", "B", 90)):
                    paths.append(
                        make_run(
                            name=f"{patient}-{run}-{plane}.dcm",
                            angles=(angle, 0),
                            uids=uids[plane],
                            partner_sop=uids[other].sop,
                            plane=f"BIPLANE {word}",
                            patient=PatientIdentity(name=patient, patient_id=patient),
                        )
                    )
        return paths

    return make


def names(entries):
    return [[path.name for path in entry.paths] for entry in entries]


EXPECTED = [[f"{who}-{run}-AP.dcm", f"{who}-{run}-LA.dcm"] for who in ("one", "two") for run in (1, 2)]


def packed(tmp_path, members: dict[str, bytes], name="study.zip", **options) -> Path:
    path = tmp_path / name
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for member, content in members.items():
            archive.writestr(member, content)
    return path


# -- folders -----------------------------------------------------------------------------------------------


def test_runs_of_patients_and_acquisitions_are_sorted_apart(examinations, tmp_path) -> None:
    examinations()
    entries = list_studies(tmp_path)
    assert names(entries) == EXPECTED
    assert {entry.pairing.value for entry in entries} == {"mutual reference"}
    assert [entry.identity.patient_id for entry in entries] == ["one", "one", "two", "two"]


def test_a_list_reads_no_pixels(examinations, tmp_path, monkeypatch) -> None:
    """Cut right before the pixels, the files are listed just the same."""
    for path in examinations():
        raw = path.read_bytes()
        path.write_bytes(raw[: raw.index(b"\xe0\x7f\x10\x00")])
    assert names(list_studies(tmp_path)) == EXPECTED


def test_a_list_needs_only_some_attributes(make_run, tmp_path, monkeypatch) -> None:
    """What is not needed is not read: a modality LUT of megabytes costs nothing."""
    seen = []
    original = listing.read_dicom
    monkeypatch.setattr(listing, "read_dicom", lambda *a, **k: seen.append(original(*a, **k)) or seen[-1])
    make_run()
    list_studies(tmp_path)
    assert "ModalityLUTSequence" not in seen[0].dataset and "PatientID" in seen[0].dataset


def test_a_folder_of_too_many_files_is_listed_in_part_and_said(make_run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(listing, "MOST_FILES", 3)
    for index in range(5):
        make_run(name=f"{index}.dcm", angles=None)
    assert len(list_studies(tmp_path)) == 3
    assert any("more than 3 files" in note for note in open_study(tmp_path).warnings)


def test_the_search_for_pairs_has_a_bound() -> None:
    """Ten thousand runs that claim to be one examination are not compared each with each."""
    run = RunHeader(study="s", angles=(0, 0), frames=9)
    assert len(pair_runs([run] * (MOST_RUNS * 30))) == MOST_RUNS * 30


def test_the_nearest_run_in_time_is_the_partner_by_angles() -> None:
    ap, late, soon = (
        RunHeader(sop=name, study="s", angles=(angle, 0), frames=9, seconds=at)
        for name, angle, at in (("ap", 0, 100), ("late", 90, 300), ("soon", 90, 130))
    )
    assert [indices for indices, _ in pair_runs([ap, late, soon])] == [(0, 2), (1,)]


# -- zip ---------------------------------------------------------------------------------------------------


def test_a_zip_is_listed_and_opened_like_a_folder(examinations, tmp_path) -> None:
    members = {f"DICOM/{path.name}": path.read_bytes() for path in examinations()}
    path = packed(tmp_path, members | {"readme.txt": b"not for us", "__MACOSX/._x": b"\0\5\26\7"})
    before = path.read_bytes()
    assert names(list_studies(path)) == EXPECTED
    study = open_study(path)
    assert len(study.views) == 2 and np.array_equal(study.views[0].pixels, run_frames())
    assert path.read_bytes() == before


def test_the_private_folder_is_removed(make_run, tmp_path) -> None:
    path = packed(tmp_path, {"run.dcm": make_run().read_bytes()})
    archive = archives.unpacked(path)
    assert (
        archive.paths[0].stat().st_size
        and archive.folder.name.startswith("/")
        and (Path(archive.folder.name).stat().st_mode & 0o077 == 0)
    )
    archive.folder.cleanup()
    assert not archive.paths[0].exists()


@pytest.mark.parametrize(
    "name",
    [
        *("../../evil.dcm", "/evil.dcm", "a/../../../evil.dcm", "..\\..\\evil.dcm"),
        *("C:\\evil.dcm", "\n.dcm", "..", "x" * 300),
    ],
)
def test_names_in_a_zip_never_lead_outside(make_run, tmp_path, name) -> None:
    path = packed(tmp_path, {name: make_run().read_bytes()})
    archive = archives.unpacked(path)
    (target,) = archive.paths
    assert target.resolve().is_relative_to(Path(archive.folder.name).resolve()) and target.is_file()
    assert not list(tmp_path.parent.glob("evil*"))


def test_a_zip_bomb_is_stopped_while_it_unpacks(make_run, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(archives, "MOST_BYTES", 3 * archives.CHUNK)
    bomb = make_run().read_bytes() + bytes(50 * archives.CHUNK)
    path = packed(tmp_path, {"bomb.dcm": bomb})
    assert path.stat().st_size < 200_000
    made = []
    original = archives.tempfile.TemporaryDirectory
    monkeypatch.setattr(
        archives.tempfile, "TemporaryDirectory", lambda *a, **k: made.append(original(*a, **k)) or made[-1]
    )
    with pytest.raises(UnreadableFileError, match="more than fits"):
        open_study(path)
    assert made and not Path(made[0].name).exists()


def test_a_zip_in_a_zip_is_not_opened(make_run, tmp_path) -> None:
    run = make_run().read_bytes()
    inner = packed(tmp_path, {"run.dcm": run}, name="inner.zip").read_bytes()
    with pytest.raises(UnreadableFileError, match="holds other archives only: inner.zip"):
        open_study(packed(tmp_path, {"inner.zip": inner}, name="outer.zip"))
    study = open_study(packed(tmp_path, {"inner.zip": inner, "run.dcm": run}, name="both.zip"))
    assert any("inner.zip; unpack it first" in warning for warning in study.warnings)


def test_an_archive_without_images_is_not_called_empty(tmp_path) -> None:
    with pytest.raises(UnreadableFileError, match="holds no image"):
        open_study(packed(tmp_path, {"letter.txt": b"Dear colleague"}))


def test_too_many_members_are_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(archives, "MOST_MEMBERS", 3)
    with pytest.raises(UnreadableFileError, match="holds 4 files"):
        open_study(packed(tmp_path, {str(index): b"x" for index in range(4)}))


def test_a_damaged_member_costs_one_file(examinations, tmp_path) -> None:
    members = {path.name: path.read_bytes() for path in examinations()[:4]}
    path = packed(tmp_path, members)
    raw = bytearray(path.read_bytes())
    place = raw.index(b"one-2-LA.dcm") + 600
    raw[place : place + 40] = bytes(40)
    path.write_bytes(raw)
    study = open_study(path)
    assert any("1 files of study.zip could not be unpacked: one-2-LA.dcm" in note for note in study.warnings)
    assert names(list_studies(path)) == [EXPECTED[0], ["one-2-AP.dcm"]]


@pytest.mark.parametrize("fault", ["cut", "empty", "encrypted"])
def test_a_broken_zip_is_one_sentence(make_run, tmp_path, fault) -> None:
    path = packed(tmp_path, {} if fault == "empty" else {"run.dcm": make_run().read_bytes()})
    raw = bytearray(path.read_bytes())
    if fault == "cut":
        raw = raw[:200]
    elif fault == "encrypted":
        raw[6] |= 1
        raw[raw.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(raw)
    with pytest.raises(UnreadableFileError) as error:
        open_study(path)
    assert error.value.message.endswith(".") and "study.zip" in error.value.message


def test_an_archive_of_something_else_is_not_ours(make_run, tmp_path) -> None:
    assert archives.holds_dicom(packed(tmp_path, {"a.txt": b"x", "b/run.dcm": make_run().read_bytes()}))
    assert not archives.holds_dicom(packed(tmp_path, {"a.txt": b"x"}, name="other.zip"))
    (tmp_path / "cut.zip").write_bytes(b"PK\3\4")
    assert not archives.holds_dicom(tmp_path / "cut.zip")


# -- DICOMDIR ----------------------------------------------------------------------------------------------


def medium(examinations, tmp_path) -> Path:
    """A medium as pydicom writes it, in a folder of its own."""
    files = FileSet()
    for path in examinations():
        dataset = pydicom.dcmread(path)
        dataset.StudyDate, dataset.StudyTime, dataset.StudyID = "20200101", "120000", "1"
        files.add(dataset)
    root = tmp_path / "medium"
    files.write(root)
    return root / "DICOMDIR"


def test_a_dicomdir_opens_what_it_names(examinations, tmp_path) -> None:
    directory = medium(examinations, tmp_path)
    entries = list_studies(directory)
    assert [len(entry.paths) for entry in entries] == [2, 2, 2, 2]
    assert sorted(entry.identity.patient_id for entry in entries) == ["one", "one", "two", "two"]
    assert len(open_study(directory).views) == 2
    assert len(list_studies(directory.parent)) == 4  # the folder of a medium lists the same


def test_a_medium_copied_in_small_letters_is_found(examinations, tmp_path) -> None:
    directory = medium(examinations, tmp_path)
    for path in sorted(directory.parent.rglob("*"), key=lambda p: -len(p.parts)):
        if path.name != "DICOMDIR":
            path.rename(path.with_name(path.name.lower()))
    assert len(list_studies(directory)) == 4


def test_missing_files_of_a_medium_are_said(examinations, tmp_path) -> None:
    directory = medium(examinations, tmp_path)
    victim = next(
        path for path in sorted(directory.parent.rglob("*")) if path.is_file() and path != directory
    )
    victim.unlink()
    assert any("names 1 of 8 files that are not there" in note for note in open_study(directory).warnings)


def hostile_directory(path: Path, *ids) -> Path:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    dataset.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    records = []
    for parts in ids:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = parts
        records.append(record)
    dataset.DirectoryRecordSequence = records
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_a_dicomdir_never_leads_outside_its_folder(make_run, tmp_path) -> None:
    outside = make_run(name="secret.dcm")
    inside = tmp_path / "medium"
    inside.mkdir()
    shutil.copy(outside, inside / "own.dcm")
    (inside / "link.dcm").symlink_to(outside)
    ways = [["..", "secret.dcm"], ["link.dcm"], [str(outside)], ["own.dcm"]]
    directory = hostile_directory(inside / "DICOMDIR", *ways)
    entries = list_studies(directory)
    assert names(entries) == [["own.dcm"]]
    assert any("3 files outside its own folder" in note for note in entries[0].notes)


def test_a_dicomdir_alone_says_what_to_do(tmp_path) -> None:
    with pytest.raises(UnreadableFileError, match="none of the 1 files") as error:
        open_study(hostile_directory(tmp_path / "DICOMDIR", ["IMAGES", "IM1"]))
    assert "Copy the whole medium" in error.value.hint


def test_a_dicomdir_that_names_itself_ends(tmp_path) -> None:
    with pytest.raises(UnreadableFileError, match="holds nothing to open"):
        open_study(hostile_directory(tmp_path / "DICOMDIR", ["DICOMDIR"], ["DICOMDIR"]))
