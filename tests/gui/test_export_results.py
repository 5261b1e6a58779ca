"""Taking saved labels and masks out of the window, off the GUI thread."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from pydicom import dcmread
from qtpy.QtWidgets import QFileDialog
from studies import biplane

from napari_clipmed.gui.export_menu import ExportButton
from napari_clipmed.gui.export_results import NO_SALIENCY, NOT_DICOM, RESULTS_KEY, ResultsMenu
from napari_clipmed.gui.settings import write_setting
from napari_clipmed.gui.study_dock import StudyDock
from napari_clipmed.inference.results import Diagnosis, Saliency

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from reviewed_studies import reviewed_run  # noqa: E402


@pytest.fixture
def found(tmp_path):
    reviewed = reviewed_run(tmp_path / "case", synthetic=True)
    reviewed.store.close()
    write_setting("workspace", str(tmp_path / "case" / "workspace"))
    write_setting("classify_on_open", False)
    return reviewed


@pytest.fixture
def dock(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    dock = StudyDock(viewer)
    viewer.window.add_dock_widget(dock, name="Study", area="right")
    qtbot.wait(20)
    return dock


@pytest.fixture
def menu(dock):
    return dock.findChild(ExportButton, "export").menu().findChild(ResultsMenu, "export_results")


@pytest.fixture
def answer(monkeypatch, tmp_path):
    """Answer the file dialogs."""
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *a, **k: str(tmp_path))
    monkeypatch.setattr(
        QFileDialog, "getSaveFileName", lambda *a, **k: (str(tmp_path / "out"), "JSON lines (*.jsonl)")
    )
    return tmp_path


def action(menu, name):
    menu.aboutToShow.emit()
    return next(one for one in menu.actions() if one.objectName() == f"export_{name}")


def choose(menu, name, dock, qtbot):
    action(menu, name).trigger()
    qtbot.waitUntil(lambda: dock.session.jobs.running(RESULTS_KEY) is None, timeout=30000)
    qtbot.wait(20)


def test_every_result_is_written(dock, menu, found, answer, qtbot):
    dock.session.show_study(found.study)
    for name, count in (("seg", 2), ("sr", 2), ("capture", 2), ("masks", 5), ("nifti", 3)):
        choose(menu, name, dock, qtbot)
        assert "Written to" in dock.note.text(), dock.failure.message
        assert "not for diagnosis" in dock.note.text()
        assert len([path for path in (answer / name).rglob("*") if path.is_file()]) == count
    choose(menu, "table", dock, qtbot)
    assert (answer / "out.jsonl").read_text().count("\n") == 5
    assert {dcmread(path).PatientID for path in (answer / "seg").iterdir()} == {""}
    choose(menu, "seg", dock, qtbot)
    assert "exists already" in dock.failure.message


def test_identity_travels_only_while_it_is_ticked(dock, menu, found, answer, qtbot):
    dock.session.show_study(found.study)
    action(menu, "identity").trigger()
    choose(menu, "sr", dock, qtbot)
    assert "name the patient" in dock.note.text()
    assert {dcmread(path).PatientID for path in (answer / "sr").iterdir()} == {"SECRET-77"}
    dock.session.show_study(biplane())
    assert not menu.identity.isChecked()


def test_saliency_is_exported_as_it_is_shown(dock, menu, found, answer, qtbot, monkeypatch):
    dock.session.show_study(found.study)
    assert (action(menu, "saliency").isEnabled(), action(menu, "saliency").toolTip()) == (False, NO_SALIENCY)
    sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "outputs"))
    from test_capture import answer_of

    diagnosis, saliency = answer_of(found)
    assert isinstance(diagnosis, Diagnosis)
    assert isinstance(saliency, Saliency)
    dock.session.diagnosis = diagnosis
    dock.session.heat.show(saliency)
    choose(menu, "saliency", dock, qtbot)
    captures = [dcmread(path) for path in (answer / "saliency").iterdir()]
    assert {str(capture.SeriesDescription) for capture in captures} == {
        "SIMULATED AI saliency, research use only"
    }


def test_what_cannot_be_exported_says_why(dock, menu, answer, qtbot):
    dock.session.show_study(biplane())
    for name in ("seg", "sr", "capture", "saliency", "identity"):
        assert not action(menu, name).isEnabled()
    assert action(menu, "seg").toolTip() == NOT_DICOM
    choose(menu, "masks", dock, qtbot)
    assert "Nothing was saved of this study" in dock.failure.message
    assert not (answer / "masks").exists()
