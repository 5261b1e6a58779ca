"""Lines that break, servers that lie: a sentence each, and never half a study in its place."""

from __future__ import annotations

import json
import logging
import socket
from pathlib import Path
from threading import Timer

import pytest
from fault_proxy import Fault, answering, line_to, listening
from orthanc_server import PASSWORD
from pydicom import Dataset
from pynetdicom import build_context
from small_archive import result_for

from napari_clipmed.errors import Cancelled
from napari_clipmed.pacs import association, web
from napari_clipmed.pacs.dimse import FIND
from napari_clipmed.pacs.link import connect
from napari_clipmed.pacs.retrieve import UNFINISHED, retrieve, study_folder
from napari_clipmed.pacs.send import send
from napari_clipmed.pacs.servers import Server
from napari_clipmed.pacs.words import InstanceRef, InstanceRefused, PacsError, Query, Timeouts
from napari_clipmed.progress import Progress

SHORT = Timeouts(connect=3, answer=2)
PATIENT = Timeouts(connect=3, answer=60)


def through(orthanc, port, kind):
    """The archive at the other end of a line."""
    if kind == "web":
        return orthanc.web(url=f"http://127.0.0.1:{port}/dicom-web")
    return orthanc.dimse(port=port)


def port_of(orthanc, kind):
    return orthanc.web_port if kind == "web" else orthanc.dicom_port


def bytes_until(image, orthanc, archive, kind, folder):
    """Bytes that pass before the image of this number (from 0) is asked for."""
    fault, progress = Fault(), Progress()
    progress.report = lambda step: progress.cancel() if (step.done, step.total) == (image, 2) else None
    with line_to(port_of(orthanc, kind), fault) as port, pytest.raises(Cancelled):
        retrieve(through(orthanc, port, kind), [archive.run], folder, progress)
    return fault.passed


@pytest.mark.parametrize("kind", ["web", "dimse"])
@pytest.mark.parametrize("how", ["cut_after", "silent_after"])
def test_a_line_that_breaks_amid_an_image_loses_nothing_that_came(orthanc, archive, tmp_path, kind, how):
    fault = Fault(**{how: bytes_until(1, orthanc, archive, kind, tmp_path / "measured") + 4_000})
    with (
        line_to(port_of(orthanc, kind), fault) as port,
        pytest.raises(PacsError, match="of 2 images") as broken,
    ):
        retrieve(through(orthanc, port, kind), [archive.run], tmp_path, timeouts=SHORT)
    assert fault.reached.is_set()
    assert "goes on where it stopped" in broken.value.hint
    assert not study_folder(tmp_path, archive.run).exists()
    kept = sorted((tmp_path / UNFINISHED).rglob("*.dcm"))
    assert len(kept) == 1 and not list((tmp_path / UNFINISHED).rglob(".unfinished-*"))
    (study,) = retrieve(through(orthanc, port_of(orthanc, kind), kind), [archive.run], tmp_path)
    assert study.complete and study.instances == 2


@pytest.mark.parametrize("kind", ["web", "dimse"])
def test_a_transfer_is_cancelled_while_the_server_is_silent(orthanc, archive, tmp_path, kind):
    """On DIMSE at once; on DICOMweb at the latest when the server has been silent for the time allowed."""
    fault = Fault(silent_after=bytes_until(0, orthanc, archive, kind, tmp_path / "measured") + 4_000)
    progress = Progress()
    timeouts = PATIENT if kind == "dimse" else SHORT
    with line_to(port_of(orthanc, kind), fault) as port:
        Timer(0.5, progress.cancel).start()
        with pytest.raises((Cancelled, PacsError)) as stopped:
            retrieve(through(orthanc, port, kind), [archive.run], tmp_path, progress, timeouts)
    assert progress.cancelled
    if kind == "dimse":
        assert isinstance(stopped.value, Cancelled)
    assert not study_folder(tmp_path, archive.run).exists()


def test_a_request_made_while_its_association_is_aborted_does_not_wait_for_ever(orthanc):
    """The race, held still: the thread of the association has ended without saying that it pauses."""
    server, guard = orthanc.dimse(), association.Guard(Progress(), 5)
    with association.associated(server, [build_context(FIND)], guard, PATIENT) as line:
        line.abort()
        line.join(10)
        line._is_paused, line.is_established = False, True
        answers = list(line.send_c_find(Dataset(), FIND))
        line.is_established = False
    assert [answer for answer, _ in answers] == [Dataset()]


@pytest.mark.parametrize("kind", ["web", "dimse"])
def test_a_server_that_takes_the_call_and_says_nothing(orthanc, kind):
    with listening(lambda client: client.recv(1) and client.recv(1 << 20) and client.recv(1)) as port:
        timeouts = Timeouts(connect=1, answer=1)
        with (
            pytest.raises(PacsError) as silent,
            connect(through(orthanc, port, kind), timeouts=timeouts) as link,
        ):
            link.echo()
    assert silent.value.hint


def link_to(port):
    return connect(Server("x", url=f"http://127.0.0.1:{port}/"))


def http(body: bytes, kind: str = "application/dicom+json", status: str = "200 OK") -> bytes:
    fields = f"Content-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close"
    return f"HTTP/1.1 {status}\r\n{fields}\r\n\r\n".encode() + body


@pytest.mark.parametrize(
    "body",
    [b"<html>login</html>", b"[" * 100_000, b"[1, 2]", b"\xff\xfe", b'"text"', b'[{"0020000D": {"Value": '],
)
def test_an_answer_that_is_no_list_of_studies(body):
    with (
        answering(http(body)) as port,
        link_to(port) as link,
        pytest.raises(PacsError, match="something else than a DICOM list"),
    ):
        link.find(Query())


@pytest.mark.parametrize(
    "element", [5, None, {"Value": None}, {"Value": [{"Alphabetic": 7}]}, {"Value": [[]]}, {"vr": "UI"}]
)
def test_odd_elements_of_a_list_are_passed_over(element):
    items = [{"0020000D": {"vr": "UI", "Value": ["1.2.3"]}, "00100010": element, "00201208": element}]
    with answering(http(json.dumps(items).encode())) as port, link_to(port) as link:
        (study,) = link.find(Query(modalities=())).studies
    assert study.study_uid == "1.2.3" and study.instances in (None, 7)


def test_a_list_without_end_is_not_swallowed(monkeypatch):
    monkeypatch.setattr(web, "MOST_ANSWER_BYTES", 2**20)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n["
    with (
        answering(head, b"[" * 65536, times=10_000) as port,
        link_to(port) as link,
        pytest.raises(PacsError, match="more than 1 MiB"),
    ):
        link.find(Query())


def multipart(content: bytes, parts: int = 1) -> bytes:
    return (
        b"".join(b"--b\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n" for _ in range(parts))
        + b"--b--"
    )


MULTIPART = 'multipart/related; type="application/dicom"; boundary=b'


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (http(multipart(b"<html>"), MULTIPART), "not DICOM"),
        (http(multipart(b""), MULTIPART), "not DICOM"),
        (
            http(multipart(b"\0" * 128 + b"DICM" + b"\xff" * 500), MULTIPART),
            "cannot be read|another instance",
        ),
        (http(b"--b\r\nContent-Type: application/dicom\r\n\r\nabc", MULTIPART), "ended early"),
        (http(b"garbage", MULTIPART), "not put together"),
        (http(b"garbage", 'multipart/related; boundary=""'), "something else than DICOM"),
        (http(b"a page", "text/html"), "something else than DICOM"),
        (http(b"", status="404 Not Found"), "does not know"),
        (http(b"", status="302 Found"), "another address"),
    ],
)
def test_an_image_that_is_none_is_refused(tmp_path, answer, said):
    with answering(answer) as port, link_to(port) as link, pytest.raises(InstanceRefused, match=said):
        link.fetch(InstanceRef("1.2", "1.2.3", "1.2.3.4"), tmp_path / "image.dcm")


def test_another_instance_than_the_one_asked_for_is_refused(tmp_path, archive):
    answer = http(multipart(archive.film_file.read_bytes()), MULTIPART)
    with (
        answering(answer) as port,
        link_to(port) as link,
        pytest.raises(InstanceRefused, match="another instance"),
    ):
        link.fetch(InstanceRef(archive.film, "1.2.3", "1.2.3.4"), tmp_path / "image.dcm")


def test_dimse_nonsense_and_floods_end_at_once():
    accepts_everything = b"\x02\x00\xff\xff\xff\xff" + b"\0" * 1000  # an answer that claims to be 4 GiB long
    for nonsense in (b"HTTP/1.1 400 Bad Request\r\n\r\n", accepts_everything):

        def serve(client: socket.socket, nonsense: bytes = nonsense) -> None:
            client.recv(65536)
            client.sendall(nonsense)
            client.recv(1)

        with listening(serve) as port:
            server = Server("x", host="127.0.0.1", port=port, called_ae="X")
            with pytest.raises(PacsError), connect(server, timeouts=Timeouts(3, 3)) as link:
                link.echo()


def test_an_image_larger_than_the_memory_is_not_received(orthanc, archive, tmp_path, monkeypatch):
    monkeypatch.setattr(association, "MOST_INSTANCE_BYTES", 6_000)
    with pytest.raises(PacsError, match="more than can be received"):
        retrieve(orthanc.dimse(), [archive.run], tmp_path / "in", timeouts=SHORT)
    assert not list((tmp_path / "in").rglob("*.dcm"))


def test_a_disk_that_is_almost_full_is_said(orthanc, archive, tmp_path, monkeypatch):
    from napari_clipmed.pacs import retrieve as module

    monkeypatch.setattr(module, "LEAST_FREE_BYTES", 1 << 60)
    with pytest.raises(PacsError, match="disk is almost full") as full:
        retrieve(orthanc.web(), [archive.run], tmp_path)
    assert "Make room" in full.value.hint


@pytest.mark.parametrize("kind", ["web", "dimse"])
def test_neither_password_nor_patient_reaches_logs_or_our_files(
    orthanc, archive, tmp_path, kind, caplog, clipmed_home
):
    from napari_clipmed.pacs.servers import add_server

    server = orthanc.web() if kind == "web" else orthanc.dimse()
    add_server(clipmed_home, server)
    with caplog.at_level(logging.DEBUG):
        with connect(server) as link:
            link.find(Query(patient_id="4711", patient_name="DOE"))
        retrieve(server, [archive.run], tmp_path / "in")
        send(server, [result_for(archive.run_files[0])])
        with pytest.raises(PacsError) as broken:
            retrieve(server, ["1.2.3.4"], tmp_path / "in")
    said = caplog.text + str(broken.value)
    for secret in (PASSWORD, "4711", "DOE", archive.run):
        assert secret not in said
    written = b"".join(path.read_bytes() for path in Path(clipmed_home).rglob("*") if path.is_file())
    assert b"archive" in written and PASSWORD.encode() not in written and b"4711" not in written
