"""Servers as data: checked, listed, and without any password."""

from __future__ import annotations

import json

import pytest

from napari_clipmed.pacs.link import connect
from napari_clipmed.pacs.servers import (
    FILE,
    Server,
    add_server,
    find_server,
    read_servers,
    remove_server,
)
from napari_clipmed.pacs.words import PacsError, Query, dicom_dates

WEB = {"name": "main", "url": "https://pacs.example/dicom-web"}
DIMSE = {"name": "old", "host": "pacs.example", "called_ae": "ARCHIVE"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (WEB | {"name": "with space"}, "name of a server"),
        (WEB | {"name": ""}, "name of a server"),
        (WEB | {"host": "pacs.example"}, "either"),
        ({"name": "main"}, "either"),
        (WEB | {"url": "ftp://pacs.example"}, "not one of DICOMweb"),
        (WEB | {"url": "https://"}, "not one of DICOMweb"),
        (WEB | {"url": "https://pacs.example:99999/"}, "not one of DICOMweb"),
        (WEB | {"url": "https://me:secret@pacs.example/"}, "a user or a password"),
        (WEB | {"url": "http://pacs.example/", "user": "me"}, "unencrypted"),
        (DIMSE | {"called_ae": ""}, "AE title"),
        (DIMSE | {"called_ae": "SEVENTEEN_LETTERS"}, "AE title"),
        (DIMSE | {"calling_ae": "A\\B"}, "AE title"),
        (DIMSE | {"port": 0}, "port"),
        (DIMSE | {"port": "104"}, "right kind"),
        (DIMSE | {"route": "push"}, "get or move"),
        (DIMSE | {"user": "me"}, "no users"),
    ],
)
def test_what_cannot_be_a_server_is_said(values, said):
    with pytest.raises(PacsError, match=said):
        Server(**values)


def test_a_password_over_http_is_allowed_on_request_and_on_this_computer():
    assert Server("a", url="http://pacs.example/", user="me", unencrypted=True)
    assert Server("a", url="http://127.0.0.1:8042/dicom-web", user="me")


def test_servers_are_added_found_replaced_and_removed(tmp_path):
    web, dimse = Server(**WEB), Server(**DIMSE)
    with pytest.raises(PacsError, match="No server was named"):
        find_server(tmp_path, "")
    add_server(tmp_path, web)
    assert find_server(tmp_path, "") == web
    add_server(tmp_path, dimse)
    assert read_servers(tmp_path) == [web, dimse]
    with pytest.raises(PacsError, match="already"):
        add_server(tmp_path, web)
    add_server(tmp_path, Server("main", url="https://new.example/"), replace=True)
    assert find_server(tmp_path, "main").url == "https://new.example/"
    remove_server(tmp_path, "main")
    assert read_servers(tmp_path) == [dimse]
    with pytest.raises(PacsError, match="no server 'main'") as missing:
        remove_server(tmp_path, "main")
    assert "old" in missing.value.hint


@pytest.mark.parametrize("content", ["{", "[1]", '[{"name": "x", "colour": 1}]', '[{"name": "x"}]', "3"])
def test_a_damaged_list_is_said(tmp_path, content):
    (tmp_path / FILE).write_text(content)
    with pytest.raises(PacsError, match=FILE):
        read_servers(tmp_path)


def test_passwords_come_from_environment_or_keyring_and_follow_the_address(tmp_path, monkeypatch):
    server = Server("main-1", url="https://pacs.example/dicom-web", user="me")
    asked = []
    monkeypatch.setattr("keyring.get_password", lambda service, user: asked.append((service, user)) or "kept")
    assert server.password() == "kept"
    assert asked == [("napari-clipmed https://pacs.example", "me")]
    monkeypatch.setenv("CLIPMED_PACS_PASSWORD", "general")
    assert server.password() == "general"
    monkeypatch.setenv("CLIPMED_PACS_PASSWORD_MAIN_1", "own")
    assert server.password() == "own"
    add_server(tmp_path, server)
    assert set(json.loads((tmp_path / FILE).read_text())[0]) == set(Server.__dataclass_fields__)


def test_a_user_without_a_password_is_told_where_to_put_it(monkeypatch):
    monkeypatch.setattr("keyring.get_password", lambda service, user: None)
    with pytest.raises(PacsError, match="no password for me") as missing:
        connect(Server("main", url="https://pacs.example/", user="me"))
    assert "pacs password main" in missing.value.hint


def test_a_file_that_vouches_for_nobody_is_refused(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    for name in ("ca.pem", "absent.pem"):
        server = Server(**WEB, ca_file=str(tmp_path / name))
        for use in (lambda s=server: connect(s), lambda s=server: add_server(tmp_path, s)):
            with pytest.raises(PacsError, match="holds no certificates"):
                use()


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("", ""),
        ("20240131", "20240131"),
        ("2024-01-31", "20240131"),
        ("20240101-20240131", "20240101-20240131"),
        ("2024-01-01 - 2024-01-31", "20240101-20240131"),
        ("2024-01-01-", "20240101-"),
        ("-2024-01-31", "-20240131"),
    ],
)
def test_dates(written, meant):
    assert dicom_dates(written) == meant


@pytest.mark.parametrize("written", ["2024", "yesterday", "20241301", "20240131-20240101", "-", "1-2-3", "*"])
def test_what_is_no_date_is_said(written):
    with pytest.raises(PacsError, match="is no date"):
        Query(study_date=written).keys()


def test_the_words_of_a_query_do_not_show_whom_it_is_about():
    assert "DOE" not in repr(Query(patient_name="DOE", patient_id="4711"))
    assert Query(patient_name="DOE").keys() == {"PatientName": "DOE*"}
    assert Query(patient_name="*JANE").keys() == {"PatientName": "*JANE"}
