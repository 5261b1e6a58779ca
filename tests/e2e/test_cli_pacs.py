"""What a person types about the archive, from adding a server to results in it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

for folder in ("fixtures", "unit/io"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))
from orthanc_server import AE_TITLE, PASSWORD, USER, Orthanc, _orthanc, orthanc  # noqa: E402
from small_archive import fill, result_for  # noqa: E402

from napari_clipmed.cli import main  # noqa: E402

__all__ = ["_orthanc", "orthanc"]


@pytest.fixture
def clipmed(monkeypatch, capsys):
    """Call the command line in this process: exit code, standard output and error."""

    def call(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["napari-clipmed", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, " ".join(told.err.split())

    return call


@pytest.mark.parametrize("kind", ["web", "dimse"])
def test_a_day_with_the_archive(clipmed, orthanc: Orthanc, tmp_path, kind, clipmed_home):
    archive = fill(orthanc, tmp_path / "sources")
    how = (
        ("--url", f"{orthanc.base}/dicom-web", "--user", USER)
        if kind == "web"
        else ("--host", "127.0.0.1", "--port", orthanc.dicom_port, "--called", AE_TITLE)
    )
    assert clipmed("pacs", "add", "main", *how)[0] == 0
    assert clipmed("pacs", "add", "main", *how)[0] == 1
    assert json.loads(clipmed("pacs", "list", "--json")[1])[0]["name"] == "main"
    assert clipmed("pacs", "echo", "main") == (0, "main answers.\n", "")

    code, told, _ = clipmed("pacs", "find", "--patient-name", "doe", "--series", "--json")
    (study,) = json.loads(told)["studies"]
    assert code == 0 and study["study_uid"] == archive.run and study["parts"][0]["instances"] == 2
    assert "DOE, JANE" in clipmed("pacs", "find", "--date", "2024-01-31")[1].replace("\n", " ")

    code, told, _ = clipmed("pacs", "get", archive.run, "--out", tmp_path / "in", "--json")
    (came,) = json.loads(told)
    assert code == 0 and came["complete"] and came["instances"] == 2

    report = tmp_path / "report.dcm"
    result_for(archive.run_files[0]).save_as(report, enforce_file_format=True)
    code, told, _ = clipmed("pacs", "send", report, "--json")
    assert code == 0 and json.loads(told)[0]["refused"] == ""
    stranger = tmp_path / "stranger.dcm"
    result_for(archive.run_files[0], PatientID="0815").save_as(stranger, enforce_file_format=True)
    code, _, said = clipmed("pacs", "send", stranger)
    assert code == 1 and "nothing was sent" in said

    assert clipmed("pacs", "remove", "main")[0] == 0
    assert clipmed("pacs", "find")[0] == 1
    written = b"".join(path.read_bytes() for path in clipmed_home.rglob("*") if path.is_file())
    assert PASSWORD.encode() not in written and b"4711" not in written


def test_sentences_instead_of_traces(clipmed, tmp_path):
    (tmp_path / "text.dcm").write_text("no DICOM")
    for words in (
        ("find", "--date", "yesterday"),
        ("send", tmp_path / "text.dcm"),
        ("get", "1.2.3", "--out", tmp_path),
        ("add", "x", "--url", "https://me:secret@pacs.example/"),
        ("password", "x"),
    ):
        code, told, said = clipmed("pacs", *words)
        assert code == 1 and "What to do:" in said and "secret" not in told + said, words
