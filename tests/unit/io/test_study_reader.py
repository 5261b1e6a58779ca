"""Files and folders become studies."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
from dicom_runs import run_frames
from pydicom.dataset import Dataset

from napari_clipmed.errors import Cancelled, UnreadableFileError
from napari_clipmed.io import is_dicom, list_studies, open_study
from napari_clipmed.io.dicom_write import Uids
from napari_clipmed.progress import Progress
from napari_clipmed.study import Intensity, Kind, MaskItem, MaskOperation, PatientIdentity, Projection


def pair(make_run, patient: str, **options):
    """AP and LA of one patient, without references or times: only the angles tell."""
    who = PatientIdentity(name=patient, patient_id=patient)
    return [
        make_run(
            name=f"{patient}-{name}.dcm",
            angles=(angle, 0),
            uids=Uids.seeded(0, patient, name),
            patient=who,
            **{"instance_number": angle + 1, **options},
        )
        for name, angle in (("AP", 0), ("LA", 90))
    ]


def test_two_files_are_paired_and_ordered(make_run) -> None:
    ap, la = pair(make_run, "one")
    study = open_study([la, ap])
    assert [view.projection for view in study.views] == [Projection.AP, Projection.LA]
    assert study.pairing.value == "angles" and any("paired by angles only" in note for note in study.warnings)
    assert study.title == "Angiogram AP + LA, 6 + 6 frames"


def test_a_folder_with_two_patients_never_mixes_them(make_run, tmp_path) -> None:
    pair(make_run, "one"), pair(make_run, "two")
    entries = list_studies(tmp_path)
    assert [[path.name for path in entry.paths] for entry in entries] == [
        ["one-AP.dcm", "one-LA.dcm"],
        ["two-AP.dcm", "two-LA.dcm"],
    ]
    study = open_study(tmp_path)
    assert study.identity.patient_id == "one" and len(study.views) == 2
    assert any(
        "holds 1 more to open" in note and "two-AP.dcm + two-LA.dcm" in note for note in study.warnings
    )


def test_chosen_files_of_two_patients_are_refused(make_run) -> None:
    (first, _), (_, second) = pair(make_run, "one"), pair(make_run, "two")
    with pytest.raises(UnreadableFileError, match="different patients"):
        open_study([first, second])


def test_patients_without_id_are_told_apart_by_name(make_run) -> None:
    first, second = (
        make_run(name=f"{name}.dcm", angles=None, patient=PatientIdentity(name=name))
        for name in ("one", "two")
    )
    with pytest.raises(UnreadableFileError, match="different patients"):
        open_study([first, second])


def test_chosen_files_that_no_rule_pairs_are_opened_as_chosen(make_run) -> None:
    first = make_run(name="a.dcm", angles=None)
    second = make_run(name="b.dcm", angles=None)
    study = open_study([first, second])
    assert len(study.views) == 2 and study.pairing.value == "chosen together"


def test_a_broken_plane_leaves_the_other(make_run, tmp_path) -> None:
    ap, la = pair(make_run, "one")
    la.write_bytes(la.read_bytes()[: -run_frames().nbytes])
    study = open_study([ap, la])
    assert [view.projection for view in study.views] == [Projection.AP] and study.pairing is None
    assert any("One view is missing" in note and "one-LA.dcm" in note for note in study.warnings)


def test_a_copy_of_a_file_is_no_second_view(make_run, tmp_path) -> None:
    path = make_run()
    (tmp_path / "copy.dcm").write_bytes(path.read_bytes())
    assert len(list_studies(tmp_path)) == 1


def test_other_files_in_a_folder_are_passed_over(make_run, tmp_path) -> None:
    make_run()
    (tmp_path / "truth.json").write_text("{}")
    (tmp_path / "truth.npz").write_bytes(b"PK\3\4 nothing")
    (tmp_path / ".hidden.dcm").write_bytes(b"x")
    assert open_study(tmp_path).warnings == ()


@pytest.mark.parametrize(
    "make", ["missing", "empty folder", "empty file", "text", "gzip", "folder of text", "no files"]
)
def test_what_is_no_image_is_one_sentence(make_run, tmp_path, make) -> None:
    path = tmp_path / "x"
    if make in ("empty folder", "folder of text"):
        path.mkdir()
        if make == "folder of text":
            (path / "readme.txt").write_text("hello")
    elif make == "empty file":
        path.touch()
    elif make == "text":
        path.write_text("This is not an image, whatever its name may say." * 20)
    elif make == "gzip":
        path = tmp_path / "x.gz"
        path.write_bytes(gzip.compress(make_run().read_bytes()))
    with pytest.raises(UnreadableFileError) as error:
        open_study([] if make == "no files" else path)
    assert error.value.message.endswith(".") and error.value.hint.endswith(".")


def test_the_mask_is_subtracted_and_the_raw_run_kept(make_run, frames) -> None:
    (view,) = open_study(make_run(mask=MaskItem(mask_frames=(1,)))).views
    assert np.array_equal(view.pixels, frames.astype(np.float32) - frames[0])
    assert np.array_equal(view.native, frames) and view.subtracted
    assert view.window.low < 0 < view.window.high
    assert view.pixels[3, :, 20].mean() < view.pixels[3, :, 2].mean() - 100  # the vessel is dark


def test_linear_pixels_are_logged_before_subtraction(make_run, frames) -> None:
    path = make_run(mask=MaskItem(mask_frames=(1,)), intensity=Intensity.LINEAR)
    (view,) = open_study(path).views
    np.testing.assert_allclose(view.pixels, np.log((1.0 + frames) / (1.0 + frames[0])), atol=1e-5)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_vessels_are_dark_whatever_the_direction_of_the_grey_scale(make_run, frames, photometric) -> None:
    def change(dataset):
        dataset.PhotometricInterpretation = photometric
        dataset.PixelIntensityRelationshipSign = -1
        dataset.PixelData = (4095 - frames).astype(np.uint16).tobytes()

    (view,) = open_study(make_run(change, mask=MaskItem(mask_frames=(1,)))).views
    assert view.pixels[3, :, 20].mean() < view.pixels[3, :, 2].mean() - 100


def test_recommended_viewing_mode_nat_wins(make_run, frames) -> None:
    (view,) = open_study(make_run(mask=MaskItem(mask_frames=(1,)), viewing_mode="NAT")).views
    assert np.array_equal(view.pixels, frames) and view.native is None and not view.subtracted
    assert any(guess.what == "subtraction" and "NAT" in guess.reason for guess in view.guesses)


def test_frames_outside_the_ranges_are_shown_unsubtracted_in_the_same_window(make_run) -> None:
    (view,) = open_study(make_run(mask=MaskItem(mask_frames=(1,), ranges=((2, 6),)))).views
    low, high = np.percentile(view.pixels[0], (0.5, 99.5))
    assert low == pytest.approx(view.window.low, rel=0.05) and high == pytest.approx(
        view.window.high, rel=0.05
    )
    assert any(guess.what == "unsubtracted frames" and guess.value == "1" for guess in view.guesses)


def test_a_mask_that_fits_no_frame_is_said(make_run, frames) -> None:
    (view,) = open_study(make_run(mask=MaskItem(mask_frames=(99,)))).views
    assert np.array_equal(view.pixels, frames) and not view.subtracted
    assert any("none of its frames" in note for note in view.warnings)


def test_operation_none_is_no_subtraction(make_run, frames) -> None:
    (view,) = open_study(make_run(mask=MaskItem(MaskOperation.NONE))).views
    assert np.array_equal(view.pixels, frames) and not view.subtracted


def test_a_rotational_run_has_no_projection(make_run) -> None:
    (view,) = open_study(make_run(lambda d: setattr(d, "FrameDimensionPointer", 0x00181520))).views
    assert view.projection is Projection.UNKNOWN
    assert any("not a bolus time series" in note for note in view.warnings)


@pytest.mark.parametrize(
    ("modality", "body", "kind"),
    [("DX", "CHEST", Kind.CHEST), ("CR", "", Kind.CHEST), ("DX", "HAND", Kind.OTHER), ("CT", "", Kind.OTHER)],
)
def test_kinds_of_films(make_film, modality, body, kind) -> None:
    def change(dataset):
        dataset.Modality, dataset.BodyPartExamined = modality, body

    assert open_study(make_film(change)).kind is kind


def test_a_single_frame_is_a_run_of_one(make_run, frames) -> None:
    study = open_study(make_run(pixels=frames[:1]))
    assert study.kind is Kind.ANGIOGRAM and study.views[0].n_frames == 1


def test_an_enhanced_run(make_run, frames) -> None:
    """Angles, window and spacing in functional groups, times a frame."""

    def group(**values):
        item = Dataset()
        for keyword, value in values.items():
            setattr(item, keyword, value)
        return item

    def change(dataset):
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.12.1.1"
        for keyword in ("FrameTime", "FrameIncrementPointer", "CineRate", "PositionerPrimaryAngle"):
            del dataset[keyword]
        del dataset.PositionerSecondaryAngle
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.SharedFunctionalGroupsSequence = [
            group(PositionerPositionSequence=[group(PositionerPrimaryAngle=88, PositionerSecondaryAngle=1)])
        ]
        dataset.PerFrameFunctionalGroupsSequence = [
            group(
                FrameContentSequence=[group(FrameReferenceDateTime=f"2024010112000{index}.5")],
                FrameVOILUTSequence=[group(WindowCenter=2000, WindowWidth=1001)],
            )
            for index in range(6)
        ]

    (view,) = open_study(make_run(change)).views
    assert view.projection is Projection.LA and view.angles == (88, 1)
    assert view.timing.times_ms.tolist() == [0, 1000, 2000, 3000, 4000, 5000]
    assert np.array_equal(view.pixels, 4095 - frames)
    assert (view.window.low, view.window.high) == (4095 - 2499.5, 4095 - 1499.5)


def test_opening_can_be_cancelled(make_run) -> None:
    progress = Progress()
    progress.report = lambda step: progress.cancel() if step.done == 2 else None
    with pytest.raises(Cancelled):
        open_study(make_run(compress="jpegls"), progress)


def test_the_hash_of_the_pixels_does_not_depend_on_the_encoding(make_run) -> None:
    plain, packed = open_study(make_run()), open_study(make_run(name="b.dcm", compress="rle"))
    assert plain.image_hash == packed.image_hash
    masked = open_study(make_run(name="c.dcm", mask=MaskItem(mask_frames=(1,))))
    assert masked.image_hash == plain.image_hash
    assert masked.views[0].pixel_hash != plain.views[0].pixel_hash


def test_is_dicom(make_run, tmp_path) -> None:
    (tmp_path / "x.txt").write_text("no")
    assert is_dicom(make_run()) and not is_dicom(tmp_path / "x.txt") and not is_dicom(tmp_path / "missing")
