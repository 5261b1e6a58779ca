"""What is written: the training folder, the DICOM pair, the samples, the truth."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from typer.testing import CliRunner

from napari_clipmed.errors import Cancelled, ClipmedError, UnreadableFileError
from napari_clipmed.io import open_study
from napari_clipmed.phantoms import load_truth, sample_study, write_dsa_phantoms
from napari_clipmed.phantoms.dsa import simulate_sample
from napari_clipmed.phantoms.dsa.config import Ambient, load_ambient
from napari_clipmed.phantoms.dsa.diseases import LABELS
from napari_clipmed.phantoms.dsa.writer import plan_patients
from napari_clipmed.progress import Progress
from napari_clipmed.study import Kind, Projection

SIZE = 64


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "studies.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom")
    return write_dsa_phantoms(8, seed=4, out=out, size=SIZE, truth="full")


def test_folder_is_what_trainers_read(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["kind"] == "dsa" and manifest["synthetic"] and manifest["seed"] == 4
    rows = rows_of(folder)
    assert len(rows) == 8 and len({row["id"] for row in rows}) == 8
    for row in rows:
        with np.load(folder / row["file"]) as study:
            frames = study["AP"]
            assert frames.dtype == np.uint8 and frames.shape[1:] == (SIZE, SIZE) and 16 <= len(frames) <= 20
            assert study["LA"].shape == frames.shape
            assert study["visible_AP"].shape == (len(frames),)
            assert np.all(np.diff(study["times_ms_AP"]) > 0)
            assert study["lesion_LA"].any() == (row["label"] != "Control") or row["label"] in (
                "AS",
                "IA",
                "AM",
            )
            assert {"artery_AP", "vein_LA", "arrival_s_AP", "peak_s_LA", "motion_px_AP"} <= set(study)
        assert row["report"] and row["synthetic"] is True
        assert bool(row["severity"]) == (row["label"] != "Control")


def test_studies_follow_from_the_seed(folder: Path, tmp_path: Path) -> None:
    again = write_dsa_phantoms(8, seed=4, out=tmp_path, size=SIZE, truth="full", workers=2)
    assert rows_of(again) == rows_of(folder)
    row = rows_of(folder)[3]
    with np.load(folder / row["file"]) as one, np.load(again / row["file"]) as other:
        assert set(one) == set(other)
        for key in one:
            np.testing.assert_array_equal(one[key], other[key])


def test_patients_are_split_and_classes_are_in_balance() -> None:
    patients = plan_patients(1000, seed=2)
    studies = Counter()
    labels: dict[str, Counter] = defaultdict(Counter)
    for patient in patients:
        studies[patient.split] += len(patient.labels)
        labels[patient.split].update(patient.labels)
    assert studies == {"train": 700, "val": 120, "test": 180}
    for counts in labels.values():
        assert set(counts) == set(LABELS) and max(counts.values()) - min(counts.values()) <= 1
    assert len({p.name for p in patients}) == len({p.seed for p in patients}) == len(patients)
    assert all(len(p.labels) == 1 for p in patients if p.split != "train")
    assert sorted(i for p in patients for i in range(p.first, p.first + len(p.labels))) == list(range(1000))


def test_a_test_set_of_its_own_has_a_patient_a_study() -> None:
    patients = plan_patients(11, seed=2, only="test")
    assert [patient.split for patient in patients] == ["test"] * 11
    assert all(len(patient.labels) == 1 for patient in patients)


def test_cancelling_stops_between_patients_and_keeps_whole_studies(tmp_path: Path) -> None:
    progress = Progress()
    progress.report = lambda step: progress.cancel()
    with pytest.raises(Cancelled):
        write_dsa_phantoms(30, seed=1, out=tmp_path, size=SIZE, progress=progress)
    rows = rows_of(tmp_path)
    assert 0 < len(rows) < 30
    assert all((tmp_path / row["file"]).is_file() for row in rows)


def test_dicom_pair_is_legal_and_subtracts_to_what_was_simulated(tmp_path: Path) -> None:
    case = sample_study("AM", tmp_path, size=128)
    simulated = simulate_sample("AM", 128)
    study = open_study(case)
    assert study.kind is Kind.ANGIOGRAM and study.synthetic
    assert [view.projection for view in study.views] == [Projection.AP, Projection.LA]
    assert study.pairing is not None and "mutual" in study.pairing.value
    for view in study.views:
        assert view.subtracted and view.native is not None and not view.warnings
        name = str(view.projection)
        log = simulated.views[name].log
        expected = log[: simulated.mask_frames].mean(0) - log
        # A count of a few dozen behind teeth is rounded to a whole number; elsewhere the two agree.
        found = np.asarray(view.pixels)
        assert np.abs(found - expected).mean() < 0.003
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.995
        np.testing.assert_allclose(view.timing.times_ms / 1000, simulated.acquisition.times_s, atol=2e-3)
        assert view.spacing.row_mm == pytest.approx(simulated.views[name].camera.pixel_mm, rel=1e-3)
    header = dcmread(case / "AP.dcm", stop_before_pixels=True)
    other = dcmread(case / "LA.dcm", stop_before_pixels=True)
    assert header.SyntheticData == "YES" and header.PixelIntensityRelationship == "LIN"
    assert header.BitsStored == 12 and header.ImageType[2] == "BIPLANE A"
    assert header.ReferencedImageSequence[0].ReferencedSOPInstanceUID == other.SOPInstanceUID
    assert other.ReferencedImageSequence[0].ReferencedSOPInstanceUID == header.SOPInstanceUID
    assert header.MaskSubtractionSequence[0].MaskOperation == "AVG_SUB"
    assert abs(header.PositionerPrimaryAngle) < 30 and 60 < abs(other.PositionerPrimaryAngle) < 120


def test_mask_frames_are_free_of_contrast() -> None:
    study = simulate_sample("Control", SIZE)
    assert study.elements.concentration[:, : study.mask_frames].max() < 0.02


def test_truth_is_read_back(tmp_path: Path) -> None:
    truth = load_truth(sample_study("IA", tmp_path, size=SIZE))
    assert (truth.label, truth.site) == ("IA", "PComA") and truth.side in ("left", "right")
    assert "aneurysm" in truth.report and truth.severity["diameter_mm"] > 5
    view = truth.views["LA"]
    assert view.lesion.shape == (SIZE, SIZE) and view.lesion.any() and view.visible.any()
    assert view.artery is not None and view.vein is not None and view.peak_s is not None
    assert np.isnan(view.peak_s).any() and np.nanmax(view.peak_s) > 2


def test_truth_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFileError, match="no truth"):
        load_truth(tmp_path)


@pytest.mark.parametrize("label", LABELS)
def test_every_class_has_a_sample(label: str) -> None:
    study = simulate_sample(label, SIZE)
    assert study.label == label and len(study.acquisition.times_s) == 16
    shown = {name: view.truth.lesion.any() for name, view in study.views.items()}
    assert shown == dict.fromkeys(("AP", "LA"), label != "Control")


def test_unknown_names_are_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ClipmedError, match="no simulated sample"):
        sample_study("stroke", tmp_path)
    with pytest.raises(ClipmedError, match="preset"):
        load_ambient("sunny")


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ClipmedError, match="cannot be written"):
        write_dsa_phantoms(1, seed=0, out=tmp_path / "file" / "inside")


def test_presets_are_frozen_and_checked() -> None:
    ambient = load_ambient("training")
    with pytest.raises(ValueError, match="frozen"):
        ambient.noise = (0.0, 1.0)  # type: ignore[misc]
    with pytest.raises(ValueError, match="exceeds"):
        Ambient.model_validate(ambient.model_dump() | {"noise": (0.2, 0.1)})
    with pytest.raises(ValueError, match="Extra inputs"):
        Ambient.model_validate(ambient.model_dump() | {"nois": 1})


def test_command_line_writes_and_answers_json(tmp_path: Path) -> None:
    from napari_clipmed.cli.phantom import app

    out = tmp_path / "studies"
    answer = CliRunner().invoke(
        app,
        [
            "phantom",
            "dsa",
            "--n",
            "2",
            "--seed",
            "3",
            "--out",
            str(out),
            "--size",
            "64",
            "--format",
            "dicom",
            "--json",
        ],
    )
    assert answer.exit_code == 0, answer.output
    assert json.loads(answer.stdout)["studies"] == 2
    case = rows_of(out)[0]["file"]
    assert load_truth(out / case).label == rows_of(out)[0]["label"]
    assert open_study(out / case).synthetic


def test_another_hospital_looks_different_and_is_ill_elsewhere(tmp_path: Path) -> None:
    from napari_clipmed.phantoms.dsa.shift import load_shift

    shift = load_shift("shifted")
    write_dsa_phantoms(5, 3, tmp_path / "there", size=64, split="test", shift="shifted")
    rows = [json.loads(line) for line in (tmp_path / "there" / "studies.jsonl").read_text().splitlines()]
    for row in rows:
        sites = shift.presentation.sites.get(row["label"])
        assert sites is None or row["site"] in sites
        assert row["label"] != "MMD" or row["severity"]["stage"] >= 4
        with np.load(tmp_path / "there" / row["file"]) as arrays:
            assert not arrays["AP"][:, :4, :4].any()  # black outside the round field
    manifest = json.loads((tmp_path / "there" / "manifest.json").read_text())
    assert manifest["shifted"] == json.loads(shift.model_dump_json())
    with pytest.raises(ClipmedError, match="npz only"):
        write_dsa_phantoms(1, 3, tmp_path / "dicom", "dicom", shift="shifted")
    with pytest.raises(ClipmedError, match="No DSA phantom shift"):
        load_shift("nowhere")
