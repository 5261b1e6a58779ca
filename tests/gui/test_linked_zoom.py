"""Every view in a pane of its own, driven with the real mouse: nothing is written into the other view."""

from __future__ import annotations

import numpy as np
import pytest
from qtpy.QtCore import Qt
from studies import answers, biplane, canvas_of, chest, drag, make_view, point_over, stroke

from napari_clipmed.gui.layers import Role, tag_of
from napari_clipmed.gui.session import session_for
from napari_clipmed.gui.study_dock import StudyDock
from napari_clipmed.study import Projection


@pytest.fixture
def viewer(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window._qt_window.resize(800, 480)
    qtbot.wait(50)
    return viewer


@pytest.fixture
def session(viewer, qtbot):
    session = session_for(viewer)
    session.show_study(biplane())
    session.link_zoom(True)
    qtbot.wait(100)
    return session


def panes(viewer) -> list[set[int]]:
    """The views of the visible layers in each pane."""
    grid, layers = viewer.canvas.grid, viewer.layers
    return [
        {tag_of(layers[i]).view_index for i in inside if layers[i].visible}
        for _, inside in grid.iter_viewboxes(layers)
    ]


def brush(session, view_index=0):
    mask = session.labels_layer(view_index)
    session.viewer.layers.selection.active = mask
    mask.mode, mask.brush_size = "paint", 3
    return mask


def test_each_view_has_a_pane_and_the_masks_lie_over_their_images(viewer, session):
    assert panes(viewer) == [{0}, {1}]
    session.labels_layer(1)
    session.heat.show(answers(session.study)[1])
    assert panes(viewer) == [{0}, {1}]
    for index in (0, 1):
        image, cam = session.image_layer(index), session.heat.layers[index]
        np.testing.assert_allclose(image.extent.world[:, 1:].mean(0), [0, 8], atol=1e-6)
        np.testing.assert_allclose(cam.extent.world[:, 1:].mean(0), [0, 8], atol=1e-6)
    np.testing.assert_allclose(session.labels_layer(1).translate, session.image_layer(1).translate)
    assert [layer.bounding_box.visible for layer in session.hanging.images] == [True, False]
    assert all(layer.name_overlay.visible for layer in session.hanging.images)


def test_the_brush_writes_into_the_pane_under_the_mouse(viewer, session, qtbot):
    ap, la = brush(session), session.labels_layer(1)
    qtbot.wait(200)  # a new kind of layer in the list changes the size of the canvas
    drag(qtbot, viewer, session, 1, (10, 10), (10, 20))
    assert not ap.data.any()
    assert la.data[0, 10, 10:20].all()
    assert session.active_view == 1
    drag(qtbot, viewer, session, 0, (20, 5), (20, 9))
    assert ap.data[0, 20, 5:9].all()
    assert not la.data[0, 18:].any()
    assert panes(viewer) == [{0}, {1}]


def test_a_stroke_that_runs_into_the_other_pane_stays_in_its_view(viewer, session, qtbot):
    ap, la = brush(session), session.labels_layer(1)
    points = [point_over(viewer, session, 0, 16, column) for column in (24, 31)]
    points += [point_over(viewer, session, 1, 16, column) for column in (2, 16, 30)]
    stroke(qtbot, viewer, *points)
    assert ap.data[0, 16, 24:].any()
    assert not ap.data[0, :, :20].any()
    assert not la.data.any()
    # And where the mouse is let go, the brush belongs to that pane again.
    drag(qtbot, viewer, session, 1, (8, 8), (8, 10))
    assert la.data[0, 8, 8]


def test_in_a_grid_that_the_person_switched_on_the_brush_keeps_to_its_view_too(viewer, session, qtbot):
    session.link_zoom(False)
    viewer.add_points(np.zeros((1, 2)), name="mine")
    ap, la = brush(session), session.labels_layer(1)
    viewer.canvas.grid.stride = 1
    viewer.canvas.grid.shape = (1, -1)
    viewer.canvas.grid.enabled = True
    qtbot.wait(50)
    width = canvas_of(viewer).width()
    panes_shown = [inside for _, inside in viewer.canvas.grid.iter_viewboxes(viewer.layers)]
    place = next(i for i, inside in enumerate(panes_shown) if inside == (viewer.layers.index(la),))
    middle = point_over(viewer, session, 0, 16, 16)
    middle.setX(round((place + 0.5) * width / len(panes_shown)))
    stroke(qtbot, viewer, middle, middle)
    assert not ap.data.any()


def test_a_click_chooses_the_pane(viewer, session, qtbot):
    stroke(qtbot, viewer, point_over(viewer, session, 1, 16, 16))
    assert session.active_view == 1
    assert viewer.layers.selection.active == session.image_layer(1)
    assert [layer.bounding_box.visible for layer in session.hanging.images] == [False, True]


def test_behind_the_end_of_the_shorter_run_nothing_can_be_painted(viewer, session, qtbot):
    session.go_to_frame(0, 7)
    mask = brush(session, 1)
    with qtbot.waitSignal(session.message) as said:
        drag(qtbot, viewer, session, 1, (10, 10), (12, 14))
    assert "LA run has ended" in said.args[0]
    assert not mask.data.any()


def test_the_camera_moves_both_panes_and_fits_a_view_into_its_pane(viewer, session, qtbot):
    y0, x0, y1, x1 = session.hanging.placements[0].box
    pane = viewer.canvas.viewbox_size(viewer.layers)
    assert viewer.scene.camera.zoom * (x1 - x0) < pane[1]
    assert viewer.scene.camera.zoom * (y1 - y0) < pane[0]
    assert viewer.scene.camera.zoom * max(x1 - x0, y1 - y0) > 0.5 * min(pane)
    session.frame_view(1)
    assert session.active_view == 1
    assert viewer.scene.camera.center[1:] == pytest.approx(((y0 + y1) / 2, (x0 + x1) / 2))


def test_a_strangers_layer_ends_linked_zoom_cleanly(viewer, session, qtbot):
    before = [place.translate for place in session.hanging.linked._apart]
    session.labels_layer(0)
    with qtbot.waitSignal(session.message) as said:
        viewer.add_points(np.zeros((1, 2)), name="mine")
    assert said.args[0] == "Linked zoom was left. The layer “mine” belongs to no view."
    assert not session.zoom_linked
    assert not viewer.canvas.grid.enabled
    assert [place.translate for place in session.hanging.placements] == before
    assert session.image_layer(1).translate == pytest.approx(before[1])
    assert Role.SPACER not in {tag_of(layer).role for layer in viewer.layers if tag_of(layer)}
    assert viewer.layers["Pane titles"].visible
    with qtbot.waitSignal(session.message) as said:
        session.link_zoom(True)
    assert "not possible now" in said.args[0]
    viewer.layers.remove("mine")
    session.link_zoom(True)
    assert panes(viewer) == [{0}, {1}]


def test_napari_s_own_button_and_another_study_leave_it(viewer, session, qtbot):
    viewer.canvas.grid.enabled = False
    assert not session.zoom_linked
    session.link_zoom(True)
    session.show_study(chest())
    assert not session.zoom_linked
    assert not viewer.canvas.grid.enabled
    with qtbot.waitSignal(session.message) as said:
        session.link_zoom(True)
    assert "only one view" in said.args[0]


def test_different_matrices_share_one_scale(viewer, session, qtbot):
    views = (make_view(Projection.AP, size=64, mm=0.25), make_view(Projection.LA, size=32, mm=0.5))
    session.show_study(biplane(views=views))
    session.link_zoom(True)
    ap, la = session.hanging.placements
    assert ap.box == pytest.approx(la.box)
    brush(session), session.labels_layer(1)
    qtbot.wait(200)
    drag(qtbot, viewer, session, 1, (20, 10), (20, 12))
    assert session.labels_layer(1).data[0, 20, 10]
    assert not session.labels_layer(0).data.any()


def test_the_button_and_the_key_say_the_same(viewer, session, qtbot):
    dock = StudyDock(viewer)
    viewer.window.add_dock_widget(dock, name="Study", area="right")
    assert dock.linked_button.isChecked()
    assert dock.linked_button.text() == "Linked zoom (Alt+4)"
    qtbot.mouseClick(dock.linked_button, Qt.MouseButton.LeftButton)
    assert not session.zoom_linked
    canvas = canvas_of(viewer)
    canvas.setFocus()
    qtbot.keyClick(canvas, Qt.Key.Key_4, Qt.KeyboardModifier.AltModifier)
    assert session.zoom_linked
    assert dock.linked_button.isChecked()


def test_clearing_the_layer_list_ends_it(viewer, session, qtbot):
    session.labels_layer(1)
    viewer.layers.clear()
    qtbot.wait(20)
    assert not session.zoom_linked
    assert len(viewer.layers) == 0


def test_a_removed_mask_leaves_both_panes(viewer, session, qtbot):
    viewer.layers.remove(session.labels_layer(1))
    qtbot.wait(20)
    assert panes(viewer) == [{0}, {1}]
    assert [layer.name for layer in viewer.layers][:2] == ["AP", "LA"]
