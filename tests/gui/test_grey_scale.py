"""Windows, inversion, shutters and the graphics of a file, driven from the Study dock."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import Qt
from studies import biplane, make_view

from napari_clipmed.gui.grey_scale import auto_window
from napari_clipmed.gui.layers import Role
from napari_clipmed.gui.study_dock import StudyDock
from napari_clipmed.study import DisplayWindow, Overlay, Projection

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def dock(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window._qt_window.resize(1000, 480)
    dock = StudyDock(viewer)
    viewer.window.add_dock_widget(dock, name="Study", area="right")
    qtbot.wait(20)
    return dock


def limits(dock, index=0):
    return tuple(dock.session.image_layer(index).contrast_limits)


def choose(box, text):
    """Choose an entry as a click in the list does."""
    box.setCurrentText(text)
    box.activated.emit(box.currentIndex())


def show(dock, **changes):
    view = replace(make_view(Projection.AP), **changes)
    dock.session.show_study(biplane(views=(view, make_view(Projection.LA))))
    return dock.cards[0]


def test_the_files_windows_are_offered_by_name_and_act_on_one_view(dock):
    windows = (DisplayWindow(80, 220, "arteries"), DisplayWindow(60, 130, "veins"))
    card = show(dock, window=windows[0], windows=windows)
    names = [card.window_box.itemText(i) for i in range(card.window_box.count())]
    assert names == ["arteries", "veins", "more contrast", "less contrast"]
    choose(card.window_box, "veins")
    assert limits(dock) == (60, 130)
    assert limits(dock, 1) == (80, 220)
    assert card.window_box.currentText() == "veins"
    assert "60 (black) to 130 (white)" in card.window_box.toolTip()


def test_auto_invert_and_reset(dock, qtbot):
    card = show(dock)
    image = dock.session.image_layer(0)
    qtbot.mouseClick(card.auto_button, LEFT)
    assert card.window_box.currentText() == "auto"
    assert limits(dock) == (100, 101)  # the first frame has one grey value: the narrowest window there is
    qtbot.mouseClick(card.invert_button, LEFT)
    assert image.colormap.name == "gray_r"
    assert dock.session.image_layer(1).colormap.name == "gray"
    qtbot.mouseClick(card.reset_button, LEFT)
    assert image.colormap.name == "gray"
    assert not card.invert_button.isChecked()
    assert limits(dock) == (80, 220)


def test_napari_s_own_slider_is_noticed(dock):
    card = show(dock)
    dock.session.image_layer(0).contrast_limits = (90, 150)
    assert card.window_box.currentText() == "set by hand"
    dock.session.show_native(True)
    dock.session.show_native(False)
    assert limits(dock) == (90, 150)


def test_each_subtraction_state_keeps_its_own_window(dock):
    card = show(dock, native_windows=(DisplayWindow(20, 200, "fluoroscopy"),))
    choose(card.window_box, "more contrast")
    dock.session.show_native(True)
    assert limits(dock) == (20, 200)
    assert card.window_box.currentText() == "fluoroscopy"
    dock.session.show_native(False)
    assert limits(dock) == (108, 192)
    assert card.window_box.currentText() == "more contrast"


def test_a_window_for_each_frame_is_followed_until_another_is_chosen(dock, qtbot):
    each = tuple(DisplayWindow(10 * t, 100 + 10 * t, f"frame {t + 1}") for t in range(8))
    card = show(dock, native=None, window=each[0], windows=each[:1], frame_windows=each)
    for frame in (0, 3, 7):
        dock.session.go_to_frame(0, frame)
        assert limits(dock) == (10 * frame, 100 + 10 * frame)
    choose(card.window_box, "less contrast")
    kept = limits(dock)
    dock.session.go_to_frame(0, 2)
    assert limits(dock) == kept
    qtbot.mouseClick(card.reset_button, LEFT)
    assert limits(dock) == (20, 120)


def test_the_automatic_window_looks_past_the_shutter():
    frame = np.full((64, 64), 500, np.uint16)
    frame[:, :32] = np.arange(32) * 10
    shutter = np.zeros((64, 64), bool)
    shutter[:, 32:] = True
    assert auto_window(frame).high == 500
    window = auto_window(frame, shutter)
    assert (window.low, window.high) == (0, 280)
    assert auto_window(frame, np.ones_like(shutter)).high == 500


def test_a_shutter_covers_the_picture_and_can_be_lifted(dock, qtbot):
    shutter = np.ones((32, 32), bool)
    shutter[8:24, 8:24] = False
    show(dock, shutter=shutter)
    (layer,) = dock.session.layers_of(Role.SHUTTER)
    np.testing.assert_array_equal(layer.data, shutter)
    np.testing.assert_allclose(layer.extent.world, dock.session.image_layer(0).extent.world[:, 1:])
    assert layer.colormap.map(np.array([0.0, 1.0])).tolist() == [[0, 0, 0, 0], [0, 0, 0, 1]]
    button = dock.drawn_buttons[Role.SHUTTER]
    assert button.isVisible()
    assert not dock.drawn_buttons[Role.GRAPHICS].isVisible()
    qtbot.mouseClick(button, LEFT)
    assert not layer.visible
    qtbot.mouseClick(button, LEFT)
    assert layer.visible
    dock.session.link_zoom(True)
    assert dock.session.zoom_linked
    dock.session.relabel_view(0, Projection.OBLIQUE)
    (layer,) = dock.session.layers_of(Role.SHUTTER)
    assert layer.name == "OBLIQUE shutter"


def test_overlay_planes_lie_over_their_frames(dock, qtbot):
    plane = np.zeros((1, 32, 32), bool)
    plane[0, 4, 4:9] = True
    some = Overlay(np.repeat(plane, 2, axis=0), "roadmap", first_frame=3)
    show(dock, overlays=(Overlay(plane, "note"), some))
    note, roadmap = dock.session.layers_of(Role.GRAPHICS)
    assert (note.name, roadmap.name) == ("AP note", "AP roadmap")
    shown = []
    for frame in range(5):
        dock.session.go_to_frame(0, frame)
        shown.append(bool(roadmap._slice.image.raw.any()) and not roadmap._slice.empty)
    assert shown == [False, False, True, True, False]
    assert note.ndim == 2
    qtbot.mouseClick(dock.drawn_buttons[Role.GRAPHICS], LEFT)
    assert not note.visible
    assert not roadmap.visible
