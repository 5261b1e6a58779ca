"""Pictures, films, tables and files without identity, as a user asks for them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from small_studies import bolus  # noqa: E402

from napari_clipmed.io.dicom_write import Uids, write_dx, write_xa  # noqa: E402
from napari_clipmed.study import MaskItem, PatientIdentity  # noqa: E402

WHO = PatientIdentity("Zebulon^Anna", "SECRET-77", "19610203", "F", "20240517")
RUN = np.random.default_rng(0).integers(0, 4000, (5, 40, 48)).astype(np.uint16)


def test_deidentify_writes_reports_and_never_names(call: Any, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    write_xa(tmp_path / "in" / "Zebulon.dcm", RUN, timing_ms=250.0, patient=WHO)
    write_dx(tmp_path / "in" / "film.dcm", RUN[0], patient=WHO)
    (tmp_path / "in" / "letter.txt").write_text("Dear Zebulon")
    code, out, err = call("deidentify", "in", "out", "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert (answer["written"], answer["left_out"], answer["failed"]) == (2, 1, 0)
    assert {file["output"] for file in answer["files"]} == {"P001/S01/0001.dcm", "P001/S02/0001.dcm", ""}
    assert json.loads((tmp_path / "out" / "deidentify-report.json").read_text())["written"] == 2
    assert "Zebulon" not in out + (tmp_path / "out" / "deidentify-report.json").read_text()
    code, _, err = call("deidentify", "in", "out")
    assert (code, "--force" in err) == (1, True)
    code, out, err = call("deidentify", "in", "out", "--force", "--keep-dates-relative")
    assert code == 0, err
    assert "look at every file" in out
    assert "does not say whether text" in out


def biplane(folder: Path) -> Path:
    """A simulated pair with a mask, subtracted by the reader."""
    folder.mkdir()
    ap, la = Uids.seeded(1, "s", "ap"), Uids.seeded(1, "s", "la")
    for name, own, other, plane, angle in (
        ("a", ap, la, "BIPLANE A", 0.0),
        ("b", la, ap, "BIPLANE B", 90.0),
    ):
        write_xa(
            folder / f"Zebulon-{name}.dcm",
            bolus(12, 64, 80, seed=int(angle)).astype(np.uint16) * 16,
            timing_ms=250.0,
            angles=(angle, 0.0),
            uids=own,
            patient=WHO,
            plane=plane,
            partner_sop=other.sop,
            mask=MaskItem(mask_frames=(1,)),
            imager_spacing_mm=(0.2, 0.2),
            synthetic=True,
            description="Zebulon's run",
        )
    return folder


def files_in(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_every_export_of_a_pair(call: Any, tmp_path: Path) -> None:
    source = biplane(tmp_path / "in")
    before = {path: path.read_bytes() for path in source.iterdir()}
    assert call("export", "frames", source, "--out", "out/png", "--view", "LA", "--invert")[0] == 0
    assert call("export", "frames", source, "--out", "out/deep", "--native", "--depth", "16")[0] == 0
    assert call("export", "tiff", source, "--out", "out/run.tif")[0] == 0
    assert call("export", "mp4", source, "--out", "out/run.mp4")[0] == 0
    code, printed, err = call("export", "maps", source, "--out", "out/maps", "--json")
    assert code == 0, err
    names = files_in(tmp_path / "out")
    assert {"png/0001.png", "png/frames.json", "deep/AP/0012.png", "deep/LA/0001.png"} <= names
    assert {"run-AP.tif", "run-LA.tif", "run-AP.mp4", "run-LA.mp4"} <= names
    assert len(json.loads(printed)["files"]) == 20
    times = tifffile.imread(tmp_path / "out" / "maps" / "AP-time_to_peak.tif")
    assert times.dtype == np.float32
    assert times.shape == (64, 80)
    assert np.nanmedian(times) == pytest.approx(1.5, abs=0.3), "the bolus peaks at frame 7 of 12"
    native = np.asarray(Image.open(tmp_path / "out" / "deep" / "AP" / "0006.png"))
    assert native[:32].max() > 2000, "stored values"
    for name in names:
        content = (tmp_path / "out" / name).read_bytes()
        assert b"Zebulon" not in content + name.encode()
        assert b"SECRET" not in content
    assert {path: path.read_bytes() for path in source.iterdir()} == before


def test_masks_shifts_and_what_cannot_be_done(call: Any, tmp_path: Path) -> None:
    source = biplane(tmp_path / "in") / "Zebulon-a.dcm"
    for words in (
        ["--mask-frames", "1,2"],
        ["--shift", "0.5,-1"],
        ["--shift", "auto"],
        ["--landmark", "0.2"],
    ):
        code, _, err = call("export", "tiff", source, "--out", "x.tif", "--force", *words)
        assert code == 0, err
    code, _, err = call("export", "tiff", source, "--out", "x.tif")
    assert (code, "--force" in err) == (1, True)
    for words, sentence in (
        (["tiff", source, "--out", "y.png"], "does not end in .tif"),
        (["mp4", source, "--out", "y.mp4", "--view", "LA"], "no view"),
        (["frames", source, "--out", "y", "--window", "lung"], "no window"),
        (["frames", source, "--out", "y", "--mask-frames", "40"], "no frame 40"),
        (["maps", source, "--out", "y", "--view", "7"], "no view"),
        (["frames", tmp_path / "none.dcm", "--out", "y"], "no file"),
    ):
        code, _, err = call("export", *words)
        assert (code, sentence in err) == (1, True), err
    write_dx(tmp_path / "film.dcm", RUN[0])
    code, _, err = call("export", "maps", tmp_path / "film.dcm", "--out", "y")
    assert code == 1
    assert "Traceback" not in err
    assert not (tmp_path / "y").exists()
