"""Exporting from the Study dock: what is shown is what is written."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
from PIL import Image
from qtpy.QtWidgets import QFileDialog
from studies import biplane, chest

from napari_clipmed.gui.export_menu import EXPORT_KEY, ExportButton
from napari_clipmed.gui.study_dock import StudyDock


@pytest.fixture
def dock(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    dock = StudyDock(viewer)
    viewer.window.add_dock_widget(dock, name="Study", area="right")
    qtbot.wait(20)
    return dock


@pytest.fixture
def button(dock):
    return dock.findChild(ExportButton, "export")


def choose(button, name: str) -> None:
    """Open the menu and take an entry."""
    button.menu().aboutToShow.emit()
    next(action for action in button.menu().actions() if action.objectName() == f"export_{name}").trigger()


def done(qtbot, dock) -> None:
    qtbot.waitUntil(lambda: dock.session.jobs.running(EXPORT_KEY) is None, timeout=20000)
    qtbot.wait(20)


@pytest.fixture
def answer(monkeypatch, tmp_path):
    """Answer the file dialogs."""
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *a, **k: str(tmp_path))
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a, **k: (str(tmp_path / "run"), ""))
    return tmp_path


def test_it_is_there_with_a_study_only(dock, button):
    assert not button.isVisible()
    dock.session.show_study(biplane())
    assert button.isVisible()
    assert button.isEnabled()
    dock.session.close_study()
    assert not button.isVisible()


def test_frames_are_written_in_the_window_of_the_canvas(dock, button, answer, qtbot):
    dock.session.show_study(biplane(synthetic=False))
    dock.session.image_layer(0).contrast_limits = (100, 107)
    choose(button, "frames")
    done(qtbot, dock)
    shades = [int(np.asarray(Image.open(answer / "frames" / "AP" / f"{n:04d}.png")).mean()) for n in (1, 8)]
    assert shades == [0, 255]
    assert len(json.loads((answer / "frames" / "LA" / "frames.json").read_text())["frames"]) == 6
    assert "Written to" in dock.note.text()
    assert "not for diagnosis" in dock.note.text()
    choose(button, "frames")
    done(qtbot, dock)
    assert "exists already" in dock.failure.message


def test_the_stack_holds_values_and_follows_native(dock, button, answer, qtbot):
    dock.session.show_study(biplane())
    dock.session.show_native(True)
    choose(button, "stack")
    done(qtbot, dock)
    study = dock.session.study
    np.testing.assert_array_equal(tifffile.imread(answer / "run-AP.tif"), study.views[0].native)


def test_a_film_is_written(dock, button, answer, qtbot):
    study = biplane()
    dock.session.show_study(replace(study, views=study.views[:1]))
    choose(button, "film")
    done(qtbot, dock)
    assert (answer / "run.mp4").stat().st_size > 500


def test_a_film_has_no_maps_and_says_why(dock, button):
    dock.session.show_study(chest())
    button.menu().aboutToShow.emit()
    action = next(action for action in button.menu().actions() if action.objectName() == "export_maps")
    assert not action.isEnabled()
    assert "several frames" in action.toolTip()


def test_a_dialog_that_was_closed_does_nothing(dock, button, monkeypatch, tmp_path):
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *a, **k: "")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *a, **k: ("", ""))
    dock.session.show_study(biplane())
    for name in ("frames", "film"):
        choose(button, name)
    assert dock.session.jobs.running(EXPORT_KEY) is None
