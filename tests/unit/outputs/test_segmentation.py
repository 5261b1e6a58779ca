"""DICOM SEG: every mask comes back bit for bit on its frame, and the validator has no complaint."""

from __future__ import annotations

import json
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from pydicom import Dataset, dcmread
from reviewed_studies import SECRETS, SEGMENTER, SEGMENTER_VERSION, Reviewed, complaints, draw, reviewed_run

from napari_clipmed.errors import ClipmedError
from napari_clipmed.io import open_study
from napari_clipmed.io.dicom_headers import read_dicom
from napari_clipmed.io.dicom_write import write_xa
from napari_clipmed.outputs.annotations import drawn_segments
from napari_clipmed.outputs.coco import write_coco
from napari_clipmed.outputs.segmentation import check_segmentation, segmentations_of
from napari_clipmed.outputs.sources import sources_of
from napari_clipmed.study import Study


def saved(dataset: Dataset, path: Path) -> Path:
    dataset.save_as(path, enforce_file_format=True)
    return path


def test_a_run_reads_back_frame_by_frame(run: Reviewed, tmp_path: Path) -> None:
    made = segmentations_of(run.store, run.case, run.study)
    assert len(made) == 2
    for index, dataset in enumerate(made):
        read = hd.seg.segread(saved(dataset, tmp_path / f"{index}.dcm"))
        names = {int(s.SegmentNumber): s.SegmentLabel for s in read.SegmentSequence}
        uid = run.study.views[index].source.sop_instance_uid
        wanted = {key: mask for key, mask in run.masks.items() if key[0] == index}
        for number, name in names.items():
            frames = sorted(frame for _, frame, title in wanted if title == name)
            found = read.get_pixels_by_source_frame(uid, [f + 1 for f in frames], segment_numbers=[number])
            for place, frame in enumerate(frames):
                np.testing.assert_array_equal(found[place, ..., 0].astype(bool), wanted[index, frame, name])
        assert read.NumberOfFrames == len(wanted)
        assert (read.Rows, read.Columns) == run.study.views[index].pixels.shape[1:]


def test_frames_refer_to_the_run_in_time(run: Reviewed) -> None:
    ap = segmentations_of(run.store, run.case, run.study)[0]
    header = read_dicom(Path(run.study.views[0].source.path), with_pixels=False).dataset
    instance = ap.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]
    assert ap.ReferencedSeriesSequence[0].SeriesInstanceUID == header.SeriesInstanceUID
    assert instance.ReferencedSOPClassUID == header.SOPClassUID
    assert instance.ReferencedSOPInstanceUID == header.SOPInstanceUID
    rows = []
    for group in ap.PerFrameFunctionalGroupsSequence:
        source = group.DerivationImageSequence[0].SourceImageSequence[0]
        assert source.ReferencedSOPClassUID == header.SOPClassUID
        content = group.FrameContentSequence[0]
        rows.append(
            (source.ReferencedFrameNumber, content.TemporalPositionIndex, *content.DimensionIndexValues)
        )
    assert rows == [(2, 1, 1, 1), (5, 2, 1, 2), (5, 2, 2, 2)]
    assert [int(index.DimensionIndexPointer) for index in ap.DimensionIndexSequence] == [
        0x0062000B,
        0x00209128,
    ]
    assert ap.SegmentsOverlap == "YES"


def test_segments_say_what_they_show_and_who_made_them(run: Reviewed, film: Reviewed) -> None:
    aneurysm, finding = segmentations_of(run.store, run.case, run.study)[0].SegmentSequence
    assert aneurysm.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Aneurysm"
    assert aneurysm.SegmentAlgorithmType == "SEMIAUTOMATIC"
    algorithm = aneurysm.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == (SEGMENTER, SEGMENTER_VERSION)
    assert finding.SegmentAlgorithmType == "MANUAL"
    assert finding.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Morphologically abnormal structure"
    (lung,) = segmentations_of(film.store, film.case, film.study)[0].SegmentSequence
    assert lung.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Opacity"
    # "left" meant the picture's, and this film is hung as usual: the patient's right lung
    assert lung.AnatomicRegionSequence[0].CodeMeaning == "Right lung"


def test_a_film_reads_back(film: Reviewed, tmp_path: Path) -> None:
    (dataset,) = segmentations_of(film.store, film.case, film.study)
    read = hd.seg.segread(saved(dataset, tmp_path / "film.dcm"))
    uid = film.study.views[0].source.sop_instance_uid
    found = read.get_pixels_by_source_instance([uid])
    np.testing.assert_array_equal(found[0, ..., 0].astype(bool), film.masks[0, 0, "left lung"])
    assert len(dataset.DimensionIndexSequence) == 1


def test_a_single_frame_of_an_angiograph_reads_back(run: Reviewed, tmp_path: Path) -> None:
    frame = np.random.default_rng(0).integers(0, 4000, (1, 33, 21)).astype(np.uint16)
    uids = write_xa(tmp_path / "single.dcm", frame, timing_ms=250.0)
    study = open_study(tmp_path / "single.dcm")
    found = Reviewed(run.store, run.store.case_for(study), study, tmp_path, {})
    draw(found, 0, 0, "finding", 8)
    (dataset,) = segmentations_of(run.store, found.case, study)
    path = saved(dataset, tmp_path / "seg.dcm")
    assert complaints(path) == []
    read = hd.seg.segread(path).get_pixels_by_source_instance([uids.sop])
    np.testing.assert_array_equal(read[0, ..., 0].astype(bool), found.masks[0, 0, "finding"])


@pytest.mark.parametrize("with_identity", [False, True])
@pytest.mark.parametrize("which", ["run", "film", "simulated"])
def test_the_validator_has_no_complaint(
    which: str, with_identity: bool, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    simulated = which == "simulated"
    found = reviewed_run(tmp_path / "s", synthetic=True) if simulated else request.getfixturevalue(which)
    for dataset in segmentations_of(found.store, found.case, found.study, with_identity=with_identity):
        assert complaints(saved(dataset, tmp_path / "seg.dcm")) == []
        assert dataset.SeriesDescription.startswith("SIMULATED") is simulated
        assert (dataset.ContentLabel == "SIMULATED") is simulated


def test_identity_travels_only_where_asked(run: Reviewed, tmp_path: Path) -> None:
    anonymous, named = (
        segmentations_of(run.store, run.case, run.study, with_identity=asked)[0] for asked in (False, True)
    )
    content = saved(anonymous, tmp_path / "anonymous.dcm").read_bytes()
    assert not [secret for secret in SECRETS if secret.encode() in content]
    assert anonymous.PatientIdentityRemoved == "YES"
    assert (named.PatientName, named.PatientID, named.StudyDate) == ("Zebulon^Anna", "SECRET-77", "20240517")
    assert "PatientIdentityRemoved" not in named
    assert anonymous.SOPInstanceUID != named.SOPInstanceUID
    assert anonymous.StudyInstanceUID == named.StudyInstanceUID


def test_illegal_values_of_the_source_are_left_empty(run: Reviewed, tmp_path: Path) -> None:
    for view in run.study.views:
        header = dcmread(view.source.path)
        header.AccessionNumber, header.PatientSex, header.PatientBirthDate = "d14a028c" * 7, "female", "1961"
        header.save_as(view.source.path)
    named = segmentations_of(run.store, run.case, run.study, with_identity=True)[0]
    assert (named.PatientID, named.AccessionNumber, named.PatientSex) == ("SECRET-77", "", "")
    assert complaints(saved(named, tmp_path / "seg.dcm")) == []


def test_unchanged_masks_make_the_same_object(run: Reviewed, tmp_path: Path) -> None:
    first, again = (segmentations_of(run.store, run.case, run.study)[0] for _ in range(2))
    assert saved(first, tmp_path / "1").read_bytes() == saved(again, tmp_path / "2").read_bytes()
    draw(run, 0, 4, "aneurysm", 99)
    assert segmentations_of(run.store, run.case, run.study)[0].SOPInstanceUID != first.SOPInstanceUID


def test_a_changed_bit_is_noticed(run: Reviewed) -> None:
    (source, _), (dataset, _) = sources_of(run.study), segmentations_of(run.store, run.case, run.study)
    segments = drawn_segments(run.store, run.case, 0, (37, 45))
    check_segmentation(dataset, segments, source)
    dataset.PixelData = bytes([dataset.PixelData[0] ^ 1]) + dataset.PixelData[1:]
    with pytest.raises(ClipmedError, match="does not read back as the mask 'aneurysm'"):
        check_segmentation(dataset, segments, source)


def test_rejected_and_empty_masks_stay_at_home(run: Reviewed) -> None:
    empty = np.zeros((37, 45), bool)
    run.store.add_mask(run.case, 1, 5, empty, name="finding")
    run.store.add_mask(run.case, 0, 4, ~empty, name="finding", verdict="rejected")
    (only,) = segmentations_of(run.store, run.case, run.study)
    assert [segment.SegmentLabel for segment in only.SegmentSequence] == ["aneurysm"]


def test_what_cannot_be_made_is_said(run: Reviewed, film: Reviewed) -> None:
    with pytest.raises(ClipmedError, match="not the one of this case"):
        segmentations_of(run.store, run.case, film.study)
    Path(run.study.views[0].source.path).unlink()
    with pytest.raises(ClipmedError, match="no longer where it was opened"):
        segmentations_of(run.store, run.case, run.study)


def test_a_picture_is_no_source(run: Reviewed, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(np.zeros((20, 20), np.uint8)).save(tmp_path / "film.png")
    study: Study = open_study(tmp_path / "film.png")
    case = run.store.case_for(study)
    with pytest.raises(ClipmedError, match="no DICOM file"):
        segmentations_of(run.store, case, study)


def test_a_projected_mask_says_over_which_frames(run: Reviewed, tmp_path: Path) -> None:
    shape = run.study.views[1].pixels.shape[1:]
    mask = np.zeros(shape, bool)
    mask[3:9, 4:12] = True
    run.store.add_mask(run.case, 1, 2, mask, name="projected nidus", projected=(1, 3))
    lateral = segmentations_of(run.store, run.case, run.study)[1]
    said = {s.SegmentLabel: s.SegmentDescription for s in lateral.SegmentSequence}
    assert said["projected nidus"] == "frame 3 accepted, projected over frames 2 to 4"
    content = json.loads(write_coco(run.store, [run.case], tmp_path / "masks.json").read_text())
    spans = [one["projected_over"] for one in content["annotations"]]
    assert spans.count([2, 4]) == 1 and spans.count(None) == len(spans) - 1
