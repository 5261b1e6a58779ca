"""Correcting masks with clicks, strokes and Ctrl+Z, in a real window."""

from __future__ import annotations

import numpy as np
import pytest
from dock_fakes import FakeEngine, biplane, film, registry_with
from qtpy.QtCore import Qt
from studies import canvas_of, point_over

from napari_clipmed.gui.layers import Role, tag_of
from napari_clipmed.gui.segment_dock import SegmentDock
from napari_clipmed.gui.session import session_for
from napari_clipmed.gui.settings import Settings
from napari_clipmed.inference.mask_edit import grow
from napari_clipmed.inference.results import Saliency


@pytest.fixture
def viewer(make_napari_viewer_proxy, qtbot):
    viewer = make_napari_viewer_proxy(show=True)
    viewer.window._qt_window.resize(900, 560)
    return viewer


@pytest.fixture
def session(viewer, monkeypatch, tmp_path):
    session = session_for(viewer)
    engine = FakeEngine()
    registry = registry_with(tmp_path / "models", **{"causal-clipseg-compact": "segmentation"})
    monkeypatch.setattr(session, "engine", lambda: engine)
    monkeypatch.setattr(session, "registry", lambda: registry)
    monkeypatch.setattr(type(session), "settings", property(lambda self: Settings(author="reader")))
    yield session
    session.jobs.shutdown()


@pytest.fixture
def dock(session, qtbot):
    dock = SegmentDock(session.viewer)
    qtbot.addWidget(dock)
    dock.resize(340, 1000)
    dock.show()
    return dock


def click(qtbot, widget):
    qtbot.mouseClick(widget, Qt.MouseButton.LeftButton)


def check(qtbot, box):
    qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=box.rect().center() - box.rect().center() / 2)


def take(qtbot, dock):
    click(qtbot, dock.proposal.take_button)
    qtbot.waitUntil(lambda: not dock.session.turns.busy, timeout=60_000)


def wait_for(qtbot, condition):
    qtbot.waitUntil(condition, timeout=60_000)


def stroke(qtbot, session, view_index, *cells):
    """Press over the first pixel (row, column), move over the others, let go."""
    viewer = session.viewer
    session.frame_view()
    qtbot.wait(30)
    widget, points = canvas_of(viewer), [point_over(viewer, session, view_index, *cell) for cell in cells]
    qtbot.mouseMove(widget, points[0])
    qtbot.wait(20)
    qtbot.mousePress(widget, Qt.MouseButton.LeftButton, pos=points[0])
    for point in points[1:]:
        qtbot.mouseMove(widget, point)
        qtbot.wait(10)
    qtbot.mouseRelease(widget, Qt.MouseButton.LeftButton, pos=points[-1])
    qtbot.wait(20)


def undo(qtbot, session):
    session.viewer.layers.selection.active = session.labels_layer(session.active_view)
    qtbot.keyClick(canvas_of(session.viewer), Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)


def square(session, row, column, side=10):
    mask = np.zeros(session.study.views[0].pixels.shape[1:], bool)
    mask[row : row + side, column : column + side] = True
    return mask


def test_without_a_mask_it_says_why_and_the_brush_makes_one(dock, session, qtbot):
    edit = dock.edit
    assert not edit.grow_button.isEnabled() and "Open a study" in edit.grow_button.toolTip()
    session.show_study(film())
    assert not edit.grow_button.isEnabled() and "no mask on PA yet" in edit.grow_button.toolTip()
    assert not edit.heat_button.isEnabled() and "classify" in edit.heat_button.toolTip()
    assert edit.brush_button.text() == "Brush (2)"
    assert edit.fill_button.text() == "Fill (4)"
    click(qtbot, edit.brush_button)
    layer = session.viewer.layers.selection.active
    assert layer == session.labels_layer(0)
    assert str(layer.mode) == "paint"
    assert edit.grow_button.isEnabled()
    stroke(qtbot, session, 0, (30, 30), (30, 40))
    assert layer.data[0, 30, 30:40].all()
    click(qtbot, edit.fill_button)
    assert str(layer.mode) == "fill"
    click(qtbot, edit.look_button)
    assert str(layer.mode) == "pan_zoom"
    undo(qtbot, session)
    assert not layer.data.any()
    assert dock.minimumSizeHint().width() <= 320


def test_every_edit_is_one_step_and_quick_clicks_follow_one_another(dock, session, qtbot):
    session.show_study(film())
    edit = dock.edit
    session.write_mask(0, 0, square(session, 20, 20) | square(session, 60, 60, 3), 1)
    layer, before = session.labels_layer(0), np.array(session.labels_layer(0).data[0])
    edit.amount.setValue(1.0)
    click(qtbot, edit.grow_button)
    click(qtbot, edit.grow_button)
    wanted = grow(grow(before == 1, 1), 1)
    wait_for(qtbot, lambda: np.array_equal(layer.data[0] == 1, wanted))
    click(qtbot, edit.largest_button)
    wait_for(qtbot, lambda: not layer.data[0, 55:].any())
    assert "Ctrl+Z" in edit.note.text()
    undo(qtbot, session)
    assert np.array_equal(layer.data[0] == 1, wanted)
    undo(qtbot, session)
    undo(qtbot, session)
    assert np.array_equal(layer.data[0], before)
    click(qtbot, edit.small_button)
    wait_for(qtbot, lambda: not layer.data[0, 55:].any())


def test_pieces_are_split_clicked_into_classes_and_merged(dock, session, qtbot):
    session.show_study(film())
    edit = dock.edit
    session.write_mask(0, 0, square(session, 20, 20) | square(session, 60, 60, 6), 2, "opacity")
    layer = session.labels_layer(0)
    click(qtbot, edit.split_button)
    wait_for(qtbot, lambda: layer.data[0, 62, 62] == 3)
    assert session.classes[3] == "opacity 2"
    assert [dock.sentences.item(i).text() for i in range(2)] == ["2  opacity", "3  opacity 2"]
    undo(qtbot, session)
    assert layer.data[0, 62, 62] == 2
    edit.target.setEditText("effusion")
    click(qtbot, edit.piece_button)
    stroke(qtbot, session, 0, (62, 62))
    wait_for(qtbot, lambda: layer.data[0, 62, 62] == 4)
    assert session.classes[4] == "effusion"
    assert layer.data[0, 22, 22] == 2
    stroke(qtbot, session, 0, (5, 5))
    assert "no mask at this place" in edit.note.text()
    click(qtbot, edit.look_button)
    assert not dock.picker.picking
    edit.target.setEditText("effusion")
    click(qtbot, edit.move_button)  # merged, as one step
    wait_for(qtbot, lambda: layer.data[0, 22, 22] == 4)
    undo(qtbot, session)
    assert layer.data[0, 22, 22] == 2


def test_the_brush_leaves_out_what_is_too_bright_while_it_paints(dock, session, qtbot):
    session.show_study(film())
    edit, grey = dock.edit, np.asarray(session.study.views[0].pixels[0])
    check(qtbot, edit.limit)
    assert edit.limit.isChecked()
    edit.darker.setCurrentIndex(0)
    edit.darker.activated.emit(0)
    edit.level.setValue(50)
    wait_for(qtbot, lambda: "of this frame is dark enough" in edit.limit_note.text())
    click(qtbot, edit.brush_button)
    layer = session.labels_layer(0)
    layer.brush_size = 9
    stroke(qtbot, session, 0, (48, 10), (48, 48))
    painted = layer.data[0] > 0
    assert painted.any()
    assert grey[painted].max() <= 0.5 * 255
    assert (grey[44:52, 10:48] > 0.5 * 255).any()  # it had something to leave out
    undo(qtbot, session)
    assert not layer.data.any()
    check(qtbot, edit.limit)
    stroke(qtbot, session, 0, (48, 10), (48, 20))
    assert layer.data[0, 48, 10:20].all()


def test_a_mask_of_a_run_is_of_one_frame_or_projected_and_saved_as_what_it_is(dock, session, qtbot):
    session.show_study(biplane())
    edit = dock.edit
    for frame, column in ((2, 10), (4, 30)):
        session.write_mask(0, frame, square(session, 20, column), 2, "nidus")
    session.go_to_frame(0, 2)
    assert "of this frame only" in edit.where.text()
    layer, before = session.labels_layer(0), np.array(session.labels_layer(0).data)
    edit.first.setValue(2)
    edit.last.setValue(6)
    edit.span_box.setCurrentIndex(1)
    edit.span_box.activated.emit(1)
    both = square(session, 20, 10) | square(session, 20, 30)
    wait_for(qtbot, lambda: np.array_equal(layer.data[2] == 2, both))
    assert "projected over frames 2 to 6" in edit.where.text()
    outline = next(layer for layer in session.viewer.layers if tag_of(layer).role is Role.PROJECTED)
    session.go_to_frame(0, 5)
    assert "kept on frame 3" in edit.where.text()
    assert outline._slice.image.raw.any()  # shown on every frame of the span
    session.go_to_frame(0, 7)
    assert not np.any(outline._slice.image.raw) or outline._slice.empty
    session.go_to_frame(0, 2)
    undo(qtbot, session)
    assert np.array_equal(layer.data, before)
    assert "of this frame only" in edit.where.text()
    layer.redo()
    session.mask_changed.emit(0)
    click(qtbot, dock.save_button)
    wait_for(qtbot, lambda: dock.status.text().startswith("Saved"))
    (saved,) = session.store().revisions(session.store().find_case(session.study))
    assert (saved.frame, saved.projected) == (2, (1, 5))
    click(qtbot, edit.copy_button)
    wait_for(qtbot, lambda: all(np.array_equal(layer.data[t] == 2, both) for t in range(1, 6)))
    undo(qtbot, session)
    assert np.array_equal(layer.data[4], before[4])

    session.close_study()  # and after a reload
    session.show_study(biplane())
    wait_for(qtbot, lambda: session.has_labels(0) and session.labels_layer(0).data.any())
    session.go_to_frame(0, 2)
    edit.class_box.setCurrentIndex(edit.class_box.findData(2))
    edit.class_box.activated.emit(edit.class_box.currentIndex())
    assert "projected over frames 2 to 6" in edit.where.text()
    layer = session.labels_layer(0)
    click(qtbot, edit.shrink_button)
    wait_for(qtbot, lambda: (layer.data[2] == 2).sum() < both.sum())
    undo(qtbot, session)
    assert np.array_equal(layer.data[2] == 2, both)


def test_the_heat_map_becomes_a_proposal_whose_pieces_are_chosen_by_clicking(dock, session, qtbot):
    session.show_study(biplane())
    heat = np.zeros((2, 8, 8), np.float32)
    heat[1, 1, 1], heat[1, 6, 5] = 1.0, 0.8
    session.heat.show(Saliency("MMD", "layercam", {"AP": heat}, {"AP": np.array([0, 6])}))
    session.go_to_frame(0, 6)
    click(qtbot, dock.edit.heat_button)
    wait_for(qtbot, lambda: dock.proposed is not None)
    assert "layercam heat map of Moyamoya" in dock.proposal.notes.text()
    dock.proposal.threshold_slider.setValue(30)
    area = int((dock.preview.layer.data == 1).sum())
    check(qtbot, dock.proposal.picking)
    stroke(qtbot, session, 0, (12, 12))
    wait_for(qtbot, lambda: (dock.preview.layer.data == 2).any())
    assert "1 piece(s) left out" in dock.proposal.summary.text()
    dock.proposal.threshold_slider.setValue(40)
    assert (dock.preview.layer.data == 2).any()
    take(qtbot, dock)
    labels = session.labels_layer(0).data[6]
    assert 0 < (labels > 0).sum() < area
    assert not labels[12, 12]
    assert labels[52, 44]
    assert not dock.picker.picking
    assert session.store().revisions() == []  # no sentence was asked
    click(qtbot, dock.save_button)
    wait_for(qtbot, lambda: dock.status.text().startswith("Saved"))
    (saved,) = session.store().revisions()
    assert saved.model_prompt == ""  # and none is taught
    assert saved.name.endswith("heat map")


def test_the_same_sentence_can_go_into_a_new_class(dock, session, qtbot):
    session.show_study(film())
    dock.prompt.live.setChecked(False)
    for title in ("", "second look"):
        dock.prompt.box.put("lower left lung")
        click(qtbot, dock.prompt.run_button)
        wait_for(qtbot, lambda: dock.proposed is not None)
        if title:
            dock.proposal.title_box.setEditText(title)
            dock.proposal.threshold_slider.setValue(90)
        take(qtbot, dock)
    assert [session.classes[v] for v in (2, 3)] == ["lower left lung", "second look"]
    assert set(np.unique(session.labels_layer(0).data)) == {0, 2, 3}


def test_a_long_sentence_has_a_title_that_the_records_can_keep(dock, session, qtbot):
    session.show_study(film())
    dock.prompt.live.setChecked(False)
    prompt = "Bilateral pulmonary infection, two infected areas, middle lower left lung and upper right lung."
    dock.prompt.box.put(prompt)
    click(qtbot, dock.prompt.run_button)
    wait_for(qtbot, lambda: dock.proposed is not None)
    take(qtbot, dock)
    title = session.classes[2]
    assert len(title) <= 64
    assert title.endswith("left lung and upper right lung.")
    click(qtbot, dock.save_button)
    wait_for(qtbot, lambda: dock.status.text().startswith("Saved"))
    saved = session.store().revisions()[-1]
    assert (saved.name, saved.prompt) == (title, prompt)
