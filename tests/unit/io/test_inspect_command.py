"""``napari-clipmed inspect``."""

from __future__ import annotations

import json

import pytest
import typer
from typer.testing import CliRunner

from napari_clipmed.cli.inspect_study import inspect
from napari_clipmed.errors import ClipmedError, UnreadableFileError
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


def test_a_folder_of_several_studies_is_listed_without_decoding(make_run, tmp_path, monkeypatch) -> None:
    who = PatientIdentity(name="Muster^Anna", patient_id="ID-77")
    for name, seed, angles in (("a", 1, (0, 0)), ("b", 1, (90, 0)), ("c", 2, (0, 0))):
        make_run(
            name=f"{name}.dcm", patient=who, uids=Uids.seeded(seed, "s", name), angles=angles, synthetic=True
        )
    (tmp_path / "letter.txt").write_text("no image")

    def refuse(*_: object) -> None:
        raise AssertionError("pixels were decoded for a list")

    monkeypatch.setattr("napari_clipmed.io.run_decoder.RunDecoder.__init__", refuse)
    monkeypatch.setattr("napari_clipmed.cli._app.console._width", 200)  # a narrow table breaks its lines
    output = run(tmp_path)
    assert "Patient 1, examination 1" in output
    assert "Patient 1, examination 2" in output
    assert "200 ms a frame, 1 s" in output
    assert "SIMULATED" in output
    assert "Muster" not in output
    assert "Muster^Anna" in run(tmp_path, "--identity")
    listed = json.loads(run(tmp_path, "--json"))
    assert [(row["patient"], row["examination"]) for row in listed] == [(1, 1), (1, 2)]
    assert [facts["projection"] for facts in listed[0]["headers"]] == ["AP", "LA"]


def test_one_entry_of_a_list_is_described(make_run, tmp_path) -> None:
    make_run(name="a.dcm", uids=Uids.seeded(1, "s", "a"))
    make_run(name="b.dcm", uids=Uids.seeded(2, "t", "b"), mask=MaskItem(mask_frames=(1,)))
    second = json.loads(run(tmp_path, "--entry", 2, "--json"))
    assert second["views"][0]["subtraction"]["items"][0]["mask_frames"] == [1]
    with pytest.raises(ClipmedError, match="no entry 3"):
        run(tmp_path, "--entry", 3)


def test_a_dicom_file_with_the_head_of_a_tiff_is_dicom(make_run) -> None:
    """Two files of the NEMA WG-04 set keep a TIFF header in the preamble."""
    path = make_run()
    path.write_bytes(b"II*\0" + path.read_bytes()[4:])
    assert json.loads(run(path, "--json"))["views"][0]["source"]["modality"] == "XA"


def test_what_is_set_is_kept_in_the_workspace_and_taken_back(make_run, tmp_path) -> None:
    paths = [
        make_run(name=f"{n}.dcm", uids=Uids.seeded(0, "s", n), mask=MaskItem(mask_frames=(1,))) for n in "ab"
    ]
    place = tmp_path / "workspace"

    def views(*words: object) -> list[dict]:
        return json.loads(run(*paths, "--json", "--workspace", place, *words))["views"]

    words = ("projection=AP,LA", "interval-ms=125", "mask=2-3,", "shift=0.3:-0.4,")
    first = views("--author", "Dr A", *(part for word in words for part in ("--set", word)))
    again = views()
    assert [view["projection"] for view in again] == ["AP", "LA"]
    assert [view["times_ms"][1] for view in again] == [125, 125]
    (item,) = again[0]["subtraction"]["items"]
    assert (item["mask_frames"], item["shift"]) == ([2, 3], [0.3, -0.4])
    assert again[1]["subtraction"]["items"][0]["mask_frames"] == [1]
    assert [view["source_hash"] for view in again] == [view["source_hash"] for view in first]
    reasons = {guess["what"]: guess["reason"] for guess in again[0]["guesses"]}
    assert reasons["projection"].startswith("as set by Dr A on ")
    back = views("--as-read", "projection", "--as-read", "mask")
    assert [view["projection"] for view in back] == ["AP", "AP"]
    assert back[0]["subtraction"]["items"][0]["mask_frames"] == [1]
    assert [view["projection"] for view in views()] == ["AP", "AP"]


@pytest.mark.parametrize("word", ["projection=UP", "colour=red", "interval-ms=soon", "mask=9", "projection="])
def test_a_word_that_makes_no_sense_keeps_nothing(make_run, tmp_path, word) -> None:
    path, place = make_run(), tmp_path / "workspace"
    with pytest.raises(ClipmedError):
        run(path, "--workspace", place, "--set", "kind=other", "--set", word)
    assert json.loads(run(path, "--json", "--workspace", place))["kind"] == "angiogram"
