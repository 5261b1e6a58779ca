"""AP and LA on one canvas, driven with the real mouse and keyboard."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import Qt
from studies import answers, biplane, canvas_of, chest, drag, make_view, point_over

from napari_clipmed.gui.layers import Role, tag_of
from napari_clipmed.gui.session import session_for
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
    qtbot.wait(50)
    session.frame_view()
    qtbot.wait(50)
    return session


def test_every_dock_of_a_window_finds_the_same_session(viewer):
    assert session_for(viewer) is session_for(viewer.__wrapped__)


def test_a_closed_viewer_takes_its_session_along(make_napari_viewer_proxy):
    from napari.components import ViewerModel

    model = ViewerModel()
    session = session_for(model)
    session.show_study(biplane())
    gone = weakref.ref(model)
    del model, session
    gc.collect()
    assert gone() is None


def test_another_study_lets_napari_tidy_up_once_for_every_layer(viewer, session, monkeypatch):
    session.labels_layer(0)
    session.heat.show(answers(session.study)[1])
    tidied = []
    collect = gc.collect
    monkeypatch.setattr("gc.collect", lambda *generation: tidied.append(collect(*generation)))
    session.show_study(chest())
    assert [tag_of(layer).role for layer in viewer.layers] == [Role.IMAGE, Role.TITLES]
    assert len(tidied) == 7  # two views with a mask and two maps, border, titles


def test_all_layers_agree_on_units_and_are_recognised_by_tag(viewer, session):
    session.labels_layer(0)
    session.heat.show(answers(session.study)[1])
    roles = [tag_of(layer).role for layer in viewer.layers]
    assert sorted(roles) == sorted(
        [Role.IMAGE, Role.IMAGE, Role.CAM, Role.CAM, Role.LABELS, Role.BORDER, Role.TITLES]
    )
    assert {tuple(map(str, layer.units[-2:])) for layer in viewer.layers} == {("millimeter", "millimeter")}
    assert roles[-2:] == [Role.BORDER, Role.TITLES]
    viewer.layers[0].name = "renamed by the person"
    assert session.image_layer(0).name == "renamed by the person"


def test_one_slider_in_milliseconds_shows_both_views_at_the_same_time(viewer, session, qtbot):
    with qtbot.waitSignal(session.frame_changed) as moved:
        session.go_to_frame(0, 4)
    assert moved.args == [{"AP": 4, "LA": 5}]
    assert viewer.dims.point[0] == pytest.approx(1000.0)
    assert session.image_layer(1)._slice.image.raw[0, 0] == session.study.views[1].pixels[5, 0, 0]


def test_the_first_picture_drawn_is_the_first_frame(viewer, session):
    """napari begins in the middle of a run; of one that is still being read that is a blank."""
    steps = session.hang_in_steps(biplane())
    seen = set()
    for _ in steps:
        seen |= {session.time_position for layer in viewer.layers if tag_of(layer).role is Role.IMAGE}
    assert seen == {0.0} and session.hanging.pictures_drawn


def test_behind_the_end_of_the_shorter_run_nothing_can_be_painted(viewer, session, qtbot):
    session.go_to_frame(0, 7)
    assert session.outside_run(1)
    assert session.frame_of(1) == 5
    mask = session.labels_layer(1)
    viewer.layers.selection.active = mask
    mask.mode = "paint"
    with qtbot.waitSignal(session.message) as said:
        drag(qtbot, viewer, session, 1, (10, 10), (12, 14))
    assert "LA run has ended" in said.args[0]
    assert not mask.data.any()


def test_before_a_plane_has_begun_nothing_of_it_is_shown_or_painted(viewer, session, qtbot):
    late = make_view(Projection.LA, times_ms=500 + 250.0 * np.arange(8))
    session.show_study(biplane(views=(make_view(Projection.AP), late)))
    session.go_to_frame(0, 1)
    assert session.outside_run(1) and session.frame_of(1) == 0
    assert not np.isin(session.image_layer(1)._slice.image.raw, late.pixels).any()
    mask = session.labels_layer(1)
    viewer.layers.selection.active = mask
    mask.mode = "paint"
    with qtbot.waitSignal(session.message) as said:
        drag(qtbot, viewer, session, 1, (10, 10), (12, 14))
    assert "LA run has not begun" in said.args[0] and not mask.data.any()
    with qtbot.waitSignal(session.frame_changed) as moved:
        session.go_to_frame(1, 3)
    assert moved.args == [{"AP": 5, "LA": 3}] and not session.outside_run(1)
    assert session.image_layer(1)._slice.image.raw[0, 0] == late.pixels[3, 0, 0]


def test_the_brush_follows_the_mouse_and_never_marks_the_other_view(viewer, session, qtbot):
    ap = session.labels_layer(0)
    viewer.layers.selection.active = ap
    ap.mode, ap.selected_label, ap.brush_size = "paint", 3, 4
    session.go_to_frame(0, 2)
    with qtbot.waitSignal(session.active_view_changed) as chosen:
        drag(qtbot, viewer, session, 1, (10, 10), (10, 20))
    la = session.labels_layer(1)
    assert chosen.args == ["LA"]
    assert not ap.data.any()
    assert set(np.unique(la.data)) == {0, 3}
    assert la.data[session.frame_of(1)].any()
    assert la.data.any(axis=(1, 2)).sum() == 1
    drag(qtbot, viewer, session, 0, (16, 16), (18, 18))
    assert ap.data[2].any()


def test_a_stroke_that_leaves_its_view_stays_in_it(viewer, session, qtbot):
    ap = session.labels_layer(0)
    viewer.layers.selection.active = ap
    ap.mode = "paint"
    drag(qtbot, viewer, session, 0, (16, 28), (16, 31), (16, 36), (16, 45))
    assert ap.data.any()
    assert not session.has_labels(1) or not session.labels_layer(1).data.any()


def test_a_click_chooses_the_pane(viewer, session, qtbot):
    qtbot.mouseMove(canvas_of(viewer), point_over(viewer, session, 1, 16, 16))
    qtbot.wait(20)
    with qtbot.waitSignal(session.active_view_changed) as chosen:
        qtbot.mouseClick(
            canvas_of(viewer), Qt.MouseButton.LeftButton, pos=point_over(viewer, session, 1, 16, 16)
        )
    assert chosen.args == ["LA"]
    assert viewer.layers.selection.active == session.image_layer(1)


def test_a_written_mask_is_one_step_of_undo(viewer, session, qtbot):
    session.go_to_frame(0, 3)
    hand = np.zeros((32, 32), bool)
    hand[2:4, 2:4] = True
    model = np.zeros((32, 32), bool)
    model[10:20, 10:20] = True
    assert session.write_mask(0, 3, hand, 2, "artefact") == 4
    with qtbot.waitSignal(session.mask_changed) as told:
        assert session.write_mask(0, 3, model, 1, "aneurysm") == 100
    assert told.args == [0]
    mask = session.labels_layer(0)
    assert mask.features["name"].tolist() == ["aneurysm", "artefact"]
    smaller = model.copy()
    smaller[10:15] = False
    session.write_mask(0, 3, smaller, 1)
    assert (mask.data[3] == 1).sum() == 50
    viewer.layers.selection.active = mask
    canvas_of(viewer).setFocus()
    for left in (100, 0):
        with qtbot.waitSignal(session.mask_changed):
            qtbot.keyClick(canvas_of(viewer), Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
        assert (mask.data[3] == 1).sum() == left
    assert (mask.data[3] == 2).sum() == 4
    with pytest.raises(ValueError, match="mask of"):
        session.write_mask(0, 0, np.zeros((3, 3), bool), 1)


def test_heat_maps_follow_the_slider_without_new_data(viewer, session):
    session.diagnosis, saliency = answers(session.study)
    session.heat.show(saliency, opacity=0.5)
    ap, la = session.heat.layers
    assert ap.opacity == 0.5
    data = ap.data
    session.go_to_frame(0, 3)
    assert ap.data is data
    assert ap._slice.image.raw.max() == 1.0
    session.go_to_frame(0, 7)
    assert ap._slice.image.raw.max() == 0.0
    session.heat.hide()
    assert session.heat.layers == ()
    assert session.heat.saliency is None


def test_another_class_exchanges_the_maps_and_keeps_the_layers(viewer, session):
    _, saliency = answers(session.study)
    session.heat.show(saliency)
    before = session.heat.layers
    session.heat.toggle()
    turned = replace(saliency, label="Control", maps={n: m[:, ::-1].copy() for n, m in saliency.maps.items()})
    session.heat.show(turned, opacity=0.4)
    assert all(now is then for now, then in zip(session.heat.layers, before, strict=True))
    assert all(layer.visible and layer.opacity == 0.4 for layer in before)
    session.go_to_frame(0, 2)
    hottest = np.unravel_index(before[0]._slice.image.raw.argmax(), before[0]._slice.image.raw.shape)
    assert (hottest[0] // 5, hottest[1] // 5) == (2, 2)
    only_la = replace(saliency, maps={"LA": saliency.maps["LA"]})
    session.heat.show(only_la)
    assert [tag_of(layer).view_index for layer in session.heat.layers] == [1]


@pytest.mark.parametrize("selected", [0, 1])
def test_keys_work_whatever_layer_is_chosen(viewer, session, qtbot, selected):
    session.heat.show(answers(session.study)[1])
    viewer.layers.selection.active = session.labels_layer(selected)
    canvas = canvas_of(viewer)
    canvas.setFocus()
    alt = Qt.KeyboardModifier.AltModifier
    whole = viewer.scene.camera.zoom
    qtbot.keyClick(canvas, Qt.Key.Key_2, alt)
    assert viewer.scene.camera.zoom > whole
    assert session.active_view == 1
    qtbot.keyClick(canvas, Qt.Key.Key_3, alt)
    assert viewer.scene.camera.zoom == pytest.approx(whole)
    qtbot.keyClick(canvas, Qt.Key.Key_G, alt)
    assert not any(layer.visible for layer in session.heat.layers)
    with qtbot.waitSignal(session.native_changed) as switched:
        qtbot.keyClick(canvas, Qt.Key.Key_S, alt)
    assert switched.args == [True]
    assert session.image_layer(0).data[0, 0, 0] == 255 - 100


def test_relabelling_keeps_pixels_and_masks_and_drops_the_answers(viewer, session, qtbot):
    session.diagnosis, saliency = answers(session.study)
    session.heat.show(saliency)
    session.write_mask(1, 0, np.ones((32, 32), bool), 1)
    with qtbot.waitSignals([session.study_changed, session.diagnosis_changed, session.heat.changed]):
        session.relabel_view(1, Projection.OBLIQUE)
    assert session.view_names == ("AP", "OBLIQUE")
    assert session.labels_layer(1).data[0].all()
    assert tag_of(session.labels_layer(1)).projection is Projection.OBLIQUE
    assert session.labels_layer(1).name == "OBLIQUE mask"
    assert session.diagnosis is None
    assert session.study.views[1].guesses[-1].reason.startswith("as set by you on")


def test_another_study_replaces_the_first_and_closing_leaves_foreign_layers(viewer, session):
    foreign = viewer.add_points(np.zeros((1, 2)), name="mine")
    session.write_mask(0, 0, np.ones((32, 32), bool), 1)
    session.show_study(chest())
    assert [tag_of(layer).role for layer in viewer.layers if tag_of(layer)] == [Role.IMAGE, Role.TITLES]
    words = viewer.layers["Pane titles"].features["words"].tolist()
    assert words == ["PA", "R", "L"]
    assert viewer.canvas.overlays.text.text == "Research use only, not for diagnosis"
    session.close_study()
    assert [layer.name for layer in viewer.layers] == [foreign.name]
    assert session.view_names == ()


def test_simulated_studies_say_so_on_the_canvas(viewer, session):
    assert viewer.canvas.overlays.text.visible
    assert viewer.canvas.overlays.text.text.startswith("SIMULATED")


def test_a_removed_image_is_no_disaster(viewer, session):
    viewer.layers.remove(session.image_layer(0))
    assert session.image_layer(0) is None
    with pytest.raises(LookupError):
        session.labels_layer(0)
    viewer.layers.remove(viewer.layers["Active pane"])
    viewer.layers.remove(viewer.layers["Pane titles"])
    session.activate_view(1)
    session.go_to_frame(1, 2)
    session.show_study(biplane())
    assert session.image_layer(0) is not None
