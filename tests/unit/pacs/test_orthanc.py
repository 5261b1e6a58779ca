"""Query, retrieve and store against a real Orthanc, over DICOMweb, C-GET and C-MOVE alike."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fault_proxy import line_to
from orthanc_server import PASSWORD, USER, make_certificate
from pydicom import dcmread
from small_archive import result_for

from napari_clipmed.errors import Cancelled
from napari_clipmed.io import open_study
from napari_clipmed.pacs.dimse import DimseLink
from napari_clipmed.pacs.link import connect
from napari_clipmed.pacs.retrieve import UNFINISHED, retrieve, study_folder
from napari_clipmed.pacs.send import send
from napari_clipmed.pacs.web import WebLink
from napari_clipmed.pacs.words import PacsError, Query, Timeouts
from napari_clipmed.progress import Progress

SHORT = Timeouts(connect=5, answer=20)


@pytest.fixture(params=["web", "get", "move"])
def server(request, orthanc):
    """The archive as each protocol reaches it."""
    return orthanc.web() if request.param == "web" else orthanc.dimse(route=request.param)


def find(server, **query):
    with connect(server, timeouts=SHORT) as link:
        return link.find(Query(**query)).studies


def test_a_server_answers(server):
    with connect(server, timeouts=SHORT) as link:
        link.echo()


def test_studies_are_found_with_their_counts(server, archive):
    film, run = find(server)  # newest first
    assert (run.study_uid, film.study_uid) == (archive.run, archive.film)
    assert (run.patient_name, run.patient_id, run.study_date) == ("DOE^JANE", "4711", "20240131")
    assert (run.modalities, run.series, run.instances) == (("XA",), 1, 2)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"patient_id": "4711"}, "run"),
        ({"patient_name": "SMITH"}, "film"),
        ({"patient_name": "*JANE"}, "run"),
        ({"patient_name": "SMITH^M"}, "film"),
        ({"study_date": "2024-02-01 - 2024-04-01"}, "film"),
        ({"study_date": "-20240131"}, "run"),
        ({"modalities": ("XA",)}, "run"),
        ({"modalities": ("MR",)}, None),
        ({"patient_name": "nobody"}, None),
    ],
)
@pytest.mark.parametrize("kind", ["web", "dimse"])
def test_a_query_narrows_the_list(orthanc, archive, kind, query, found):
    server = orthanc.web() if kind == "web" else orthanc.dimse()
    assert [study.study_uid for study in find(server, **query)] == (
        [getattr(archive, found)] if found else []
    )


def test_a_study_comes_whole_and_opens(server, archive, tmp_path):
    steps = []
    (study,) = retrieve(server, [archive.run], tmp_path / "in", Progress(steps.append), SHORT)
    assert study.complete and study.instances == 2
    assert study.folder == study_folder(tmp_path / "in", archive.run)
    for source in archive.run_files:
        theirs = dcmread(source)
        (ours,) = [
            d for d in map(dcmread, study.folder.iterdir()) if d.SOPInstanceUID == theirs.SOPInstanceUID
        ]
        assert np.array_equal(ours.pixel_array, theirs.pixel_array)
        assert ours.file_meta.TransferSyntaxUID == theirs.file_meta.TransferSyntaxUID
    assert len(open_study(study.folder).views) == 2
    assert [(step.done, step.total) for step in steps if step.what == "Receiving image"] == [(0, 2), (1, 2)]


def test_what_is_here_already_is_not_asked_for_again(server, archive, tmp_path):
    (study,) = retrieve(server, [archive.run], tmp_path, timeouts=SHORT)
    before = {path: path.stat().st_mtime_ns for path in study.folder.iterdir()}
    send(server, [result_for(archive.run_files[0])], timeouts=SHORT)
    (again,) = retrieve(server, [archive.run], tmp_path, timeouts=SHORT)
    assert again.complete and again.instances == 3
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_cancelled_study_is_kept_apart_and_gone_on_with(server, archive, tmp_path):
    progress = Progress()
    progress.report = lambda step: progress.cancel() if step.done == 1 else None
    with pytest.raises(Cancelled):
        retrieve(server, [archive.run], tmp_path, progress, SHORT)
    assert not study_folder(tmp_path, archive.run).exists()
    (kept,) = (tmp_path / UNFINISHED).rglob("*.dcm")
    inode = kept.stat().st_ino
    (study,) = retrieve(server, [archive.run], tmp_path, timeouts=SHORT)
    assert study.complete and inode in [path.stat().st_ino for path in study.folder.iterdir()]
    assert not list((tmp_path / UNFINISHED).rglob("*.dcm"))


def test_a_result_lands_beside_its_study(server, archive):
    report = result_for(archive.run_files[0])
    (sent,) = send(server, [report], timeouts=SHORT)
    assert not sent.refused
    with connect(server, timeouts=SHORT) as link:
        assert {series.modality for series in link.series(archive.run)} == {"XA", "SR"}
        assert report.SOPInstanceUID in [instance.sop_uid for instance in link.instances(archive.run)]


def test_nothing_is_sent_to_a_study_that_is_not_there_or_of_another_patient(server, archive, orthanc):
    for changes, said in (
        ({"StudyInstanceUID": "1.2.3"}, "does not have"),
        ({"PatientID": "0815"}, "another patient"),
    ):
        with pytest.raises(PacsError, match=said):
            send(server, [result_for(archive.run_files[0], **changes)], timeouts=SHORT)
    assert orthanc.ask("GET", "/statistics").json()["CountInstances"] == 3


def test_half_a_study_is_said_and_kept_apart(server, archive, tmp_path, monkeypatch):
    """The archive lists an image that it then does not give."""
    kind = WebLink if server.url else DimseLink
    listed = kind.instances

    def and_one_more(link, study_uid):
        found = listed(link, study_uid)
        return [found[0], replace(found[0], sop_uid="1.2.3.4.5"), *found[1:]]

    monkeypatch.setattr(kind, "instances", and_one_more)
    (study,) = retrieve(server, [archive.run], tmp_path, timeouts=SHORT)
    assert (study.complete, study.instances, study.missing) == (False, 2, 1)
    assert study.reason and study.folder.parent.name == UNFINISHED
    assert not study_folder(tmp_path, archive.run).exists()


def test_an_image_gone_from_the_disk_of_the_archive(orthanc, archive, tmp_path):
    for item in orthanc.ask("GET", "/instances").json():
        if orthanc.ask("GET", f"/instances/{item}/tags?simplify").json()["InstanceNumber"] == "2":
            uuid = orthanc.ask("GET", f"/instances/{item}/attachments/dicom/info").json()["Uuid"]
            (orthanc.home / "storage" / uuid[:2] / uuid[2:4] / uuid).unlink()
    (study,) = retrieve(orthanc.dimse(), [archive.run], tmp_path, timeouts=SHORT)
    assert (study.complete, study.instances, study.missing) == (False, 1, 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"called_ae": "NOBODY"}, "NOBODY"),
        ({"calling_ae": "STRANGER"}, "STRANGER|did not answer|no association"),
    ],
)
def test_unknown_titles_are_named(orthanc, changes, said):
    with (
        pytest.raises(PacsError, match=said) as refused,
        connect(orthanc.dimse(**changes), timeouts=SHORT) as link,
    ):
        link.find(Query())
    assert refused.value.hint


def test_an_unknown_place_to_move_to_is_named(orthanc, archive, tmp_path, monkeypatch):
    """The archive knows us well enough to search, but not as a destination."""
    from pynetdicom.association import Association

    send_c_move = Association.send_c_move
    monkeypatch.setattr(
        Association,
        "send_c_move",
        lambda self, asked, title, model: send_c_move(self, asked, "ELSEWHERE", model),
    )
    with pytest.raises(PacsError, match="place to send to|did not give") as refused:
        (study,) = retrieve(orthanc.dimse(route="move"), [archive.run], tmp_path, timeouts=SHORT)
        raise PacsError(study.reason, "hint")
    assert refused.value.hint


def test_a_wrong_password_is_refused(orthanc, monkeypatch):
    monkeypatch.setenv("CLIPMED_PACS_PASSWORD", "wrong")
    with (
        pytest.raises(PacsError, match="refused the password of reader") as refused,
        connect(orthanc.web()) as link,
    ):
        link.echo()
    assert "pacs password archive" in refused.value.hint and "wrong" not in str(refused.value)


def test_a_server_that_is_off_is_named(orthanc):
    for server in (orthanc.web(url="http://127.0.0.1:9/dicom-web"), orthanc.dimse(port=9)):
        with pytest.raises(PacsError, match="cannot be reached"), connect(server, timeouts=SHORT) as link:
            link.echo()


def test_tls_is_verified_always(orthanc_tls, tmp_path, monkeypatch):
    monkeypatch.setenv("CLIPMED_PACS_PASSWORD", PASSWORD)
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    make_certificate(stranger)
    with line_to(orthanc_tls.web_port, certificate=orthanc_tls.home / "server.pem") as port:
        for known in (
            {"url": f"https://127.0.0.1:{port}/dicom-web", "user": USER, "host": "", "called_ae": ""},
            {"tls": True},
        ):
            for ca in ("", str(stranger / "certificate.pem")):
                server = orthanc_tls.dimse(**known, ca_file=ca)
                with pytest.raises(PacsError, match="not trusted") as refused, connect(server) as link:
                    link.echo()
                assert "--ca" in refused.value.hint
            with connect(orthanc_tls.dimse(**known, ca_file=str(orthanc_tls.ca)), timeouts=SHORT) as link:
                link.echo()
                assert link.find(Query()).studies == ()
