"""``napari-clipmed inspect``."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from napari_clipmed.cli.inspect_study import inspect
from napari_clipmed.errors import UnreadableFileError
from napari_clipmed.io.dicom_write import Uids
from napari_clipmed.study import MaskItem, PatientIdentity

WHO = PatientIdentity(name="Muster^Anna", patient_id="ID-77")


def run(*words: object) -> str:
    app = typer.Typer()
    app.command()(inspect)
    result = CliRunner().invoke(app, [str(word) for word in words])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.output


def test_json_says_what_was_understood(make_run) -> None:
    path = make_run(
        mask=MaskItem(mask_frames=(1,)), imager_spacing_mm=(0.2, 0.2), patient=WHO, synthetic=True
    )
    answer = json.loads(run(path, "--json"))
    (view,) = answer["views"]
    assert answer["synthetic"] and answer["kind"] == "angiogram" and "identity" not in answer
    assert view["frames"] == 6 and view["times_ms"] == [0, 200, 400, 600, 800, 1000]
    assert view["subtracted_here"] and view["calibration"] == "at the detector, uncalibrated"
    assert view["source"]["transfer_syntax"] == "Explicit VR Little Endian"


def test_identity_is_shown_on_request_only(make_run) -> None:
    path = make_run(patient=WHO)
    for words in ([path], [path, "--json"]):
        assert "Muster" not in run(*words) and "ID-77" not in run(*words)
        assert "Muster^Anna" in run(*words, "--identity")


def test_the_table_names_rule_and_warnings(make_run) -> None:
    ap = make_run(name="a.dcm", uids=Uids.seeded(0, "s", "a"))
    la = make_run(name="b.dcm", uids=Uids.seeded(0, "s", "b"), angles=(90, 0), instance_number=2)
    output = " ".join(run(ap, la).split())
    assert "Paired by angles" in output and "200 ms a frame" in output and "not for diagnosis" in output


def test_a_folder_is_listed(make_run, tmp_path) -> None:
    make_run(name="a.dcm")
    make_run(name="b.dcm")
    assert [entry["kind"] for entry in json.loads(run(tmp_path, "--list", "--json"))] == ["angiogram"] * 2


def test_an_error_is_left_to_the_one_place_that_words_it(tmp_path) -> None:
    with pytest.raises(UnreadableFileError):
        run(tmp_path / "missing.dcm")
