"""What is written is legal DICOM, the same every time, and comes back as it was."""

from __future__ import annotations

import shutil
import subprocess
from datetime import datetime

import numpy as np
import pydicom
import pytest

from napari_clipmed.io import open_study
from napari_clipmed.io.dicom_write import Uids, write_dx, write_xa
from napari_clipmed.io.mask_module import mask_items
from napari_clipmed.study import Calibration, Kind, MaskItem, MaskOperation, PatientIdentity, Projection

WHO = PatientIdentity(name="Sim^One", patient_id="P1", birth_date="19700101", sex="F")
WHEN = datetime(2024, 5, 6, 7, 8, 9)


def write_pair(folder, frames):
    ap, la = Uids.seeded(3, "case", "AP"), Uids.seeded(3, "case", "LA")
    for name, own, other, plane, angle in (("AP", ap, la, "A", 0), ("LA", la, ap, "B", 90)):
        write_xa(
            folder / f"{name}.dcm",
            frames,
            timing_ms=200,
            angles=(angle, 0),
            uids=own,
            partner_sop=other.sop,
            plane=f"BIPLANE {plane}",
            patient=WHO,
            acquired=WHEN,
            mask=MaskItem(mask_frames=(1,), shift=(0.5, -0.25)),
            imager_spacing_mm=(0.2, 0.2),
            distances_mm=(1200, 800),
            synthetic=True,
        )


def test_a_simulated_biplane_run_comes_back(tmp_path, frames) -> None:
    write_pair(tmp_path, frames)
    study = open_study(tmp_path)
    ap, la = study.views
    assert (ap.projection, la.projection) == (Projection.AP, Projection.LA)
    assert study.pairing.value == "mutual reference"
    assert study.synthetic and study.kind is Kind.ANGIOGRAM
    assert study.identity == PatientIdentity("Sim^One", "P1", "19700101", "F", "20240506")
    assert ap.subtracted and np.array_equal(ap.native, frames)
    assert ap.timing.times_ms.tolist() == [0, 200, 400, 600, 800, 1000]
    assert ap.spacing.calibration is Calibration.GEOMETRY
    assert ap.spacing.row_mm == pytest.approx(0.2 / 1.5)


def test_identity_is_nowhere_but_in_identity(tmp_path, frames) -> None:
    write_pair(tmp_path, frames)
    study = open_study(tmp_path)
    words = repr([study.title, study.pairing, study.guesses, study.warnings, [v.source for v in study.views]])
    assert "Sim" not in words.replace("SIM", "") and "P1" not in words and "19700101" not in words


def test_the_same_arguments_give_the_same_bytes(tmp_path, frames) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        write_pair(tmp_path / name, frames)
    assert (tmp_path / "one/AP.dcm").read_bytes() == (tmp_path / "two/AP.dcm").read_bytes()


def test_seeded_uids_share_the_study_and_part_the_instances() -> None:
    ap, la, other = (Uids.seeded(1, *words) for words in (("a", "AP"), ("a", "LA"), ("b", "AP")))
    assert ap == Uids.seeded(1, "a", "AP") and ap.study == la.study and ap.sop != la.sop
    assert other.study != ap.study and Uids.seeded(2, "a", "AP").study != ap.study


def test_mask_items_survive_the_file(tmp_path, frames) -> None:
    given = [
        MaskItem(mask_frames=(1, 2), ranges=((3, 4), (6, 6)), averaging=2, shift=(0.5, -0.25)),
        MaskItem(MaskOperation.TID, ranges=((5, 5),), tid_offset=-2),
    ]
    write_xa(tmp_path / "run.dcm", frames, timing_ms=100, mask=given)
    assert mask_items(pydicom.dcmread(tmp_path / "run.dcm")) == given


def test_uneven_times_become_a_vector(tmp_path, frames) -> None:
    times = [0, 100, 300, 600, 1000, 1500]
    write_xa(tmp_path / "run.dcm", frames, timing_ms=times)
    timing = open_study(tmp_path / "run.dcm").views[0].timing
    assert timing.source == "Frame Time Vector" and timing.times_ms.tolist() == times


def test_a_film_comes_back(tmp_path, frames) -> None:
    write_dx(tmp_path / "film.dcm", frames[0], view_position="AP", spacing_mm=(0.1, 0.2), synthetic=True)
    study = open_study(tmp_path / "film.dcm")
    (view,) = study.views
    assert study.kind is Kind.CHEST and study.synthetic and view.projection is Projection.AP
    assert np.array_equal(view.pixels[0], frames[0])
    assert (view.spacing.row_mm, view.spacing.column_mm) == (0.1, 0.2)
    assert view.spacing.calibration is Calibration.DETECTOR
    assert (view.window.low, view.window.high) == (0, 4095)


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_only_unsigned_frames_are_written(tmp_path, frames, dtype) -> None:
    with pytest.raises(ValueError, match="uint8 or uint16"):
        write_xa(tmp_path / "run.dcm", frames.astype(dtype), timing_ms=100)


def test_a_biplane_run_names_its_partner(tmp_path, frames) -> None:
    with pytest.raises(ValueError, match="partner"):
        write_xa(tmp_path / "run.dcm", frames, timing_ms=100, plane="BIPLANE A")


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (Debian dicom3tools) is not installed")
def test_dciodvfy_finds_no_error(tmp_path, frames) -> None:
    write_pair(tmp_path, frames)
    write_xa(tmp_path / "vector.dcm", frames, timing_ms=[0, 10, 30, 60, 100, 150], compress="jpeglossless")
    write_dx(tmp_path / "film.dcm", frames[0], synthetic=True)
    for path in sorted(tmp_path.glob("*.dcm")):
        answer = subprocess.run(["dciodvfy", path], capture_output=True, text=True, check=False).stderr
        errors = [line for line in answer.splitlines() if line.startswith("Error")]
        # (0008,001C) Synthetic Data is younger than the dictionary of the validator in Debian.
        assert [line for line in errors if "(0x0008,0x001c)" not in line] == [], path.name
