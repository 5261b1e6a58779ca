"""The Study dock and the time strip, driven as a person drives them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QLabel
from studies import answers, biplane, canvas_of, chest, make_view

from napari_clipmed.errors import UnreadableFileError
from napari_clipmed.gui.study_dock import StudyDock
from napari_clipmed.study import Projection


@pytest.fixture
def dock(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window._qt_window.resize(1000, 480)
    dock = StudyDock(viewer)
    viewer.window.add_dock_widget(dock, name="Study", area="right")
    qtbot.wait(20)
    return dock


@pytest.fixture
def strip(dock):
    return dock.session.strip


def choose(box: QComboBox, text: str) -> None:
    """Choose an entry as a click in the list does."""
    box.setCurrentText(text)
    box.activated.emit(box.currentIndex())


def test_an_empty_dock_says_what_to_do(dock, strip):
    assert dock.empty.isVisible()
    assert "Open a DICOM run" in dock.empty.text()
    assert not dock.look_box.isVisible()
    assert not strip.play_button.isEnabled()
    assert "open a run" in strip.play_button.toolTip()


def test_it_tells_what_was_understood(dock):
    study = biplane(warnings=("Pixel size is at the detector.",))
    dock.session.show_study(study)
    assert not dock.empty.isVisible()
    assert dock.title.text() == "Left internal carotid"
    assert dock.identity.text() == "DOE^JANE  ·  4711"
    assert "SIMULATED" in dock.simulated.text()
    assert dock.warnings.text() == "Pixel size is at the detector."
    assert "same frame of reference" in dock.conclusions.text()
    assert "Projection: AP (positioner angles)" in dock.conclusions.text()
    facts = [card.findChild(QLabel, "facts").text() for card in dock.cards]
    assert "8 frames in 1.75 s, 4.0 fps (Frame Time)" in facts[0]
    assert "6 frames in 1.00 s, 5.0 fps (Frame Time)" in facts[1]
    dock.session.close_study()
    assert dock.empty.isVisible()
    assert dock.identity.text() == ""


def test_a_view_is_relabelled_by_hand(dock):
    dock.session.show_study(biplane())
    choose(dock.cards[0].projection_box, "LA")
    choose(dock.cards[1].projection_box, "AP")
    assert [str(view.projection) for view in dock.session.study.views] == ["LA", "AP"]
    assert dock.session.view_names == ("LA", "AP")
    assert dock.frame_buttons[0].text() == "LA (Alt+1)"
    assert dock.title.text() == "Left internal carotid"


def test_buttons_frame_views_and_switch_the_subtraction(dock, qtbot):
    session = dock.session
    session.show_study(biplane())
    qtbot.mouseClick(dock.frame_buttons[1], Qt.MouseButton.LeftButton)
    assert session.active_view == 1
    y0, x0, y1, x1 = session.hanging.placements[1].box
    assert session.viewer.scene.camera.center[1:] == pytest.approx(((y0 + y1) / 2, (x0 + x1) / 2))
    qtbot.mouseClick(dock.unsubtracted, Qt.MouseButton.LeftButton)
    assert session.image_layer(0).data is session.study.views[0].native
    session.show_native(False)
    assert dock.subtracted.isChecked()
    views = tuple(replace(view, native=None) for view in session.study.views)
    session.show_study(biplane(views=views))
    assert not dock.unsubtracted.isEnabled()
    assert dock.unsubtracted.toolTip()


def test_a_window_preset_changes_one_view_only(dock):
    dock.session.show_study(biplane())
    before = list(dock.session.image_layer(0).contrast_limits)
    choose(dock.cards[1].window_box, "more contrast")
    assert dock.session.image_layer(1).contrast_limits == pytest.approx([108.0, 192.0])
    assert list(dock.session.image_layer(0).contrast_limits) == before


def test_a_film_has_no_time_and_no_panes(dock, strip):
    dock.session.show_study(chest())
    assert not strip.play_button.isEnabled()
    assert not dock.frame_buttons[0].isVisible()
    assert dock.frame_buttons[2].text() == "Fit (Alt+3)"
    assert not dock.subtraction_row.isVisible() or not dock.unsubtracted.isEnabled()


def test_a_file_that_is_no_image_gets_a_sentence(dock, qtbot, tmp_path):
    path = tmp_path / "letter.dcm"
    path.write_text("Dear colleague")
    with qtbot.waitSignal(dock.session.open_failed, timeout=60_000) as failed:
        dock.session.open_paths([path])
    assert isinstance(failed.args[0], UnreadableFileError)
    assert "letter.dcm" in dock.failure.message
    assert dock.failure.isVisible()
    dock.session.show_study(biplane())
    assert dock.failure.message == ""


def test_it_fits_a_small_screen(dock, qtbot):
    dock.session.show_study(biplane())
    qtbot.wait(20)
    assert 300 <= dock.width() <= 420
    for button in (*dock.frame_buttons, dock.open_file, dock.open_folder, dock.unsubtracted):
        right = button.mapTo(dock, button.rect().topRight()).x()
        assert right <= dock.width(), button.objectName()


def test_keys_step_and_play(dock, strip, qtbot):
    session = dock.session
    session.show_study(biplane())
    canvas = canvas_of(session.viewer)
    canvas.setFocus()
    qtbot.keyClick(canvas, ".")
    qtbot.keyClick(canvas, ".")
    assert session.frame_of(0) == 2
    qtbot.keyClick(canvas, ",")
    assert session.frame_of(0) == 1
    qtbot.keyClick(canvas, ",")
    qtbot.keyClick(canvas, ",")
    assert session.frame_of(0) == 7
    qtbot.keyClick(canvas, Qt.Key.Key_Space)
    assert strip.cine.playing
    qtbot.keyClick(canvas, Qt.Key.Key_Space)
    assert not strip.cine.playing


def test_the_curve_shows_the_answers_and_a_click_goes_there(dock, strip, qtbot):
    session = dock.session
    session.show_study(biplane())
    assert strip.curve_hint.isVisible()
    session.diagnosis, saliency = answers(session.study)
    session.heat.show(saliency)
    assert not strip.curve_hint.isVisible()
    drawn = strip.curve.getPlotItem().listDataItems()
    assert len(drawn) == 4
    np.testing.assert_allclose(drawn[-2].xData, [0.0, 0.5, 1.75])
    qtbot.wait(50)
    qtbot.mouseClick(
        strip.curve.viewport(), Qt.MouseButton.LeftButton, pos=strip.curve.position_of(0.5).toPoint()
    )
    qtbot.waitUntil(lambda: session.frame_of(0) == 2, timeout=5000)
    assert strip.curve.now == pytest.approx(0.5)
    assert strip.time_label.text() == "AP  0.50 s  3/8"
    session.close_study()
    assert strip.curve.getPlotItem().listDataItems() == []


def test_unknown_times_are_called_assumed(dock, strip):
    dock.session.show_study(biplane(views=(make_view(Projection.AP, known=False),)))
    assert strip.rate_label.text() == "4.0 fps assumed"
    assert strip.time_label.text() == "1/8"
