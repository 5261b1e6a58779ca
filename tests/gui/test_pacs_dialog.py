"""The archive dialog against a real Orthanc: search, retrieve, open, send."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtWidgets import QFileDialog, QLabel, QPushButton

for folder in ("fixtures", "unit/io"):
    sys.path.insert(0, str(Path(__file__).parents[1] / folder))
from orthanc_server import PASSWORD, Orthanc, _orthanc, orthanc  # noqa: E402
from small_archive import fill  # noqa: E402

from napari_clipmed.gui.pacs_dialog import NO_SERVER, PacsButton  # noqa: E402
from napari_clipmed.gui.pacs_jobs import KEYS, RETRIEVE  # noqa: E402
from napari_clipmed.gui.pacs_server_form import ServerForm  # noqa: E402
from napari_clipmed.gui.study_dock import StudyDock  # noqa: E402
from napari_clipmed.gui.worklist_desk import WorklistDesk  # noqa: E402
from napari_clipmed.pacs.link import connect  # noqa: E402
from napari_clipmed.pacs.servers import add_server, read_servers  # noqa: E402

__all__ = ["_orthanc", "orthanc"]


@pytest.fixture
def dock(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    dock = StudyDock(viewer)
    viewer.window.add_dock_widget(dock, name="Study", area="right")
    qtbot.wait(20)
    return dock


@pytest.fixture
def opened(dock, qtbot):
    """The dialog, as the button of the dock opens it."""
    button = dock.findChild(PacsButton, "pacs")
    button.click()
    done(qtbot, dock)
    return button.dialog


def done(qtbot, dock) -> None:
    keys = (*KEYS, "pacs servers")
    qtbot.waitUntil(lambda: not any(dock.session.jobs.running(key) for key in keys), timeout=30000)
    qtbot.wait(20)


def click(dialog, name: str) -> None:
    button = dialog.findChild(QPushButton, f"pacs_{name}")
    assert button.isEnabled(), button.toolTip()
    button.click()


def test_without_a_server_it_says_what_to_do(dock, opened):
    assert opened.status.text() == NO_SERVER
    for name in ("search", "retrieve", "open", "send", "echo"):
        button = opened.findChild(QPushButton, f"pacs_{name}")
        assert not button.isEnabled() and button.toolTip()


def test_a_server_is_added_and_its_password_goes_to_the_keyring(
    dock, opened, qtbot, monkeypatch, clipmed_home
):
    kept = []
    monkeypatch.setattr("keyring.set_password", lambda *what: kept.append(what))
    click(opened, "add")
    form = opened.findChild(ServerForm)
    form.save.click()
    assert "name of a server" in form.failure.message
    form.name.setText("main")
    form.url.setText("https://pacs.example/dicom-web")
    form.user.setText("me")
    form.password.setText(PASSWORD)
    form.save.click()
    qtbot.waitUntil(lambda: opened.chosen_server is not None, timeout=10000)
    assert kept == [("napari-clipmed https://pacs.example", "me", PASSWORD)]
    assert [server.name for server in read_servers(clipmed_home)] == ["main"]
    assert PASSWORD not in "".join(path.read_text() for path in clipmed_home.rglob("*.json"))


def test_from_a_search_to_results_in_the_archive(
    orthanc: Orthanc, dock, qtbot, tmp_path, clipmed_home, monkeypatch
):
    archive = fill(orthanc, tmp_path / "sources")
    add_server(clipmed_home, orthanc.web())
    button = dock.findChild(PacsButton, "pacs")
    button.click()
    done(qtbot, dock)
    dialog = button.dialog
    click(dialog, "echo")
    done(qtbot, dock)
    assert dialog.note.text() == "archive answers."

    click(dialog, "search")
    done(qtbot, dock)
    lines = [[dialog.table.item(row, c).text() for c in range(7)] for row in range(dialog.table.rowCount())]
    assert [line[:4] for line in lines] == [
        ["2024-03-01", "SMITH, MAX", "0815", "DX"],
        ["2024-01-31", "DOE, JANE", "4711", "XA"],
    ]
    dialog.fields["patient_name"].setText("doe")
    click(dialog, "search")
    done(qtbot, dock)
    assert dialog.table.rowCount() == 1

    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *a, **k: str(tmp_path / "in"))
    click(dialog, "choose")
    dialog.table.selectRow(0)
    click(dialog, "retrieve")
    done(qtbot, dock)
    assert "2 images, complete" in dialog.note.text()
    worklist = WorklistDesk.of(dock.session).model
    qtbot.waitUntil(lambda: worklist.rowCount() == 1, timeout=20000)
    click(dialog, "open")
    qtbot.waitUntil(lambda: dock.session.study is not None, timeout=30000)
    assert dock.session.study.identity.patient_id == "4711"

    click(dialog, "send")
    done(qtbot, dock)
    assert "Nothing was saved" in dialog.failure.message
    session = dock.session
    store = session.store()
    case, shape = store.case_for(session.study), session.study.views[0].pixels.shape[1:]
    store.add_label(case, "MMD", "corrected", author="AB")
    store.add_mask(case, 0, 1, np.indices(shape)[0] > 20, "stenosis", author="AB")
    click(dialog, "send")
    done(qtbot, dock)
    assert "stored 2 of 2" in dialog.note.text(), dialog.failure.message
    with connect(orthanc.web()) as link:
        assert {series.modality for series in link.series(archive.run)} == {"XA", "SR", "SEG"}


def test_a_cancelled_retrieval_says_what_is_kept(orthanc, dock, qtbot, tmp_path, clipmed_home):
    fill(orthanc, tmp_path / "sources")
    add_server(clipmed_home, orthanc.dimse())
    button = dock.findChild(PacsButton, "pacs")
    button.click()
    done(qtbot, dock)
    dialog = button.dialog
    dialog.folder = tmp_path / "in"
    click(dialog, "search")
    done(qtbot, dock)
    dialog.table.selectAll()
    click(dialog, "retrieve")
    dock.session.jobs.cancel(RETRIEVE)
    done(qtbot, dock)
    assert "goes on where it stopped" in dialog.note.text()


def test_a_failure_stays_until_dismissed(orthanc, dock, qtbot, clipmed_home):
    add_server(clipmed_home, orthanc.dimse(called_ae="NOBODY"))
    button = dock.findChild(PacsButton, "pacs")
    button.click()
    done(qtbot, dock)
    click(button.dialog, "search")
    done(qtbot, dock)
    # Refused by name; a slow server may drop the line before it has said so.
    assert any(words in button.dialog.failure.message for words in ("NOBODY", "agreed to no association"))
    assert button.dialog.findChild(QLabel, "failure_text").isVisible()
