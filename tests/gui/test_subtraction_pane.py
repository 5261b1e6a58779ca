"""The Subtraction section and the overrules of the Study dock, driven with clicks and keys."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from qtpy.QtCore import Qt
from studies import biplane, canvas_of, chest, make_view

from napari_clipmed.gui.settings import Settings
from napari_clipmed.gui.study_dock import StudyDock
from napari_clipmed.io.dicom_write import Uids, write_xa
from napari_clipmed.io.subtraction import resubtracted
from napari_clipmed.remembered import MASK
from napari_clipmed.study import Intensity, MaskItem, MaskOperation, Projection, Source, Subtraction, Topic

ALT = Qt.KeyboardModifier.AltModifier
SHIFT = Qt.KeyboardModifier.ShiftModifier
FILE = Subtraction((MaskItem(mask_frames=(1,)),), Intensity.LOGARITHMIC)


def native_view(projection, uid):
    """Blobs on a ramp, a vessel that fills; no noise."""
    view = make_view(projection, size=48)
    rows, columns = np.mgrid[:48, :48]
    ground = 1500 + 300 * np.sin(rows / 4) * np.cos(columns / 5)
    run = np.stack([ground - 60 * t * (abs(columns - 24) < 2) for t in range(8)])
    times = replace(view.timing, times_ms=np.arange(8) * 250.0)
    return replace(
        view,
        pixels=run.astype(np.uint16),
        native=None,
        subtracted=False,
        timing=times,
        source=Source("run.dcm", sop_instance_uid=uid),
        file_subtraction=FILE,
        source_hash="",
    )


def subtractable(subtracted=True):
    views = [native_view(Projection.AP, "1.2.1"), native_view(Projection.LA, "1.2.2")]
    return biplane(views=tuple(resubtracted(view, FILE) if subtracted else view for view in views))


@pytest.fixture
def workspace(tmp_path, monkeypatch):
    settings = Settings(classify_on_open=False, author="Dr A", workspace=str(tmp_path / "workspace"))
    for module in ("session", "backend"):
        monkeypatch.setattr(f"napari_clipmed.gui.{module}.read_settings", lambda: settings)
    return tmp_path / "workspace"


@pytest.fixture
def dock(make_napari_viewer_proxy, qtbot, workspace):
    viewer = make_napari_viewer_proxy(show=True)
    dock = StudyDock(viewer)
    viewer.window.add_dock_widget(dock, name="Study", area="right")
    yield dock
    dock.session.jobs.shutdown()


@pytest.fixture
def pane(dock):
    dock.session.show_study(subtractable())
    return dock.subtraction


def idle(qtbot, session):
    qtbot.waitUntil(lambda: not session.busy, timeout=60_000)


def click(qtbot, button):
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)


def type_into(qtbot, box, text):
    box.selectAll()
    qtbot.keyClicks(box, text)
    qtbot.keyClick(box, Qt.Key.Key_Return)


def shift(pane, index=0):
    return pane.desk.view(index).subtraction.items[0].shift


def test_alt_and_arrows_shift_the_mask_of_the_active_view(pane, qtbot):
    session, canvas = pane.session, canvas_of(pane.session.viewer)
    session.go_to_frame(0, 5)
    before = np.array(session.image_layer(0).data[5])
    limits = session.image_layer(0).contrast_limits
    for key in (Qt.Key.Key_Down, Qt.Key.Key_Down, Qt.Key.Key_Right):
        qtbot.keyClick(canvas, key, ALT)
    qtbot.keyClick(canvas, Qt.Key.Key_Up, ALT | SHIFT)
    assert shift(pane) == pytest.approx((0.2 - 1.0, -0.1))  # DICOM: rows down, columns left
    assert shift(pane, 1) == (0, 0)
    assert (pane.down.value(), pane.right.value()) == pytest.approx((-0.8, 0.1))
    shown = session.image_layer(0).data[5]
    assert not np.array_equal(shown, before)
    np.testing.assert_array_equal(shown, session.study.views[0].pixels[5])
    assert session.image_layer(0).contrast_limits == limits
    assert "0.80 px up, 0.10 px right" in pane.state.text()
    session.activate_view(1)
    qtbot.keyClick(canvas, Qt.Key.Key_Left, ALT)
    assert shift(pane, 1) == (0.0, 0.1) and pane.name.text() == "LA"


def test_undo_is_our_own_and_leaves_the_brush_alone(pane, qtbot):
    session, canvas = pane.session, canvas_of(pane.session.viewer)
    assert not pane.undo.isEnabled() and pane.undo.toolTip()
    session.write_mask(0, 0, np.ones((48, 48), bool), 1)
    qtbot.keyClick(canvas, Qt.Key.Key_Down, ALT)
    qtbot.keyClick(canvas, Qt.Key.Key_Down, ALT)
    session.viewer.layers.selection.active = session.labels_layer(0)
    qtbot.keyClick(canvas, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not session.labels_layer(0).data[0].any()
    assert shift(pane) == (0.2, 0)
    qtbot.keyClick(canvas, Qt.Key.Key_Z, ALT)
    assert shift(pane) == (0.1, 0)
    click(qtbot, pane.undo)
    assert shift(pane) == (0, 0) and not pane.undo.isEnabled() and not pane.file.isEnabled()
    click(qtbot, pane.redo)
    qtbot.keyClick(canvas, Qt.Key.Key_Z, ALT | SHIFT)
    assert shift(pane) == (0.2, 0)
    click(qtbot, pane.file)
    assert pane.view.subtraction == FILE
    click(qtbot, pane.undo)
    assert shift(pane) == (0.2, 0)


def test_masks_operations_and_landmarks(pane, qtbot):
    session = pane.session
    type_into(qtbot, pane.mask_edit, "2-3")
    assert pane.view.subtraction.items[0].mask_frames == (2, 3)
    assert "mean of frames 2, 3" in pane.state.text()
    type_into(qtbot, pane.mask_edit, "9")
    assert "no frame 9" in pane.failure.message
    assert pane.view.subtraction.items[0].mask_frames == (2, 3)
    session.go_to_frame(0, 3)
    session.show_native(True)
    click(qtbot, pane.remask)
    assert pane.view.subtraction.items[0].mask_frames == (4,)
    assert not session.showing_native and pane.failure.message == ""
    assert np.abs(session.image_layer(0).data[3]).max() < 1e-6
    pane.landmark.setValue(40)
    assert pane.view.subtraction.landmark == 0.4 and pane.landmark_text.text() == "40 %"
    pane.operation.setCurrentIndex(1)
    pane.operation.activated.emit(1)
    assert pane.view.subtraction.items[0].operation is MaskOperation.TID
    assert pane.offset.isVisibleTo(pane) and not pane.mask_edit.isEnabled()
    assert pane.view.guesses[-1].reason.startswith("as set by you on ")


def test_one_frame_alone_can_be_shifted(pane, qtbot):
    pane.session.go_to_frame(0, 4)
    pane.own.setChecked(True)
    qtbot.keyClick(canvas_of(pane.session.viewer), Qt.Key.Key_Down, ALT)
    assert pane.view.subtraction.frame_shifts == ((5, 0.1, 0.0),)
    assert "(this frame)" in pane.state.text()
    pane.session.go_to_frame(0, 5)
    assert "not moved" in pane.state.text()


def test_the_automatic_shift_runs_off_the_window_and_is_one_step(pane, qtbot, monkeypatch):
    found = replace(FILE, items=(MaskItem(mask_frames=(1,), shift=(0.7, -1.2)),))
    asked = []

    def fake(view, wanted, per_frame, progress):
        asked.append(per_frame)
        progress.step("Laying the mask over the bones", 1, 3)
        return found

    monkeypatch.setattr("napari_clipmed.io.auto_shift.auto_shift", fake)
    click(qtbot, pane.auto)
    idle(qtbot, pane.session)
    assert asked == [False] and shift(pane) == (0.7, -1.2)
    click(qtbot, pane.undo)
    assert shift(pane) == (0, 0)


def test_a_native_run_is_subtracted_by_its_first_still_frame(dock, qtbot):
    pane, session = dock.subtraction, dock.session
    session.show_study(subtractable(subtracted=False))
    assert pane.begin_button.isVisibleTo(pane) and not pane.controls.isVisibleTo(pane)
    assert "as stored" in pane.reason.text()
    qtbot.keyClick(canvas_of(session.viewer), Qt.Key.Key_Down, ALT)
    assert "Subtract this view first" in dock.note.text()
    click(qtbot, pane.begin_button)
    idle(qtbot, session)
    assert pane.view.subtraction == FILE and pane.controls.isVisibleTo(pane)
    assert dock.unsubtracted.isEnabled()
    click(qtbot, pane.undo)
    assert pane.view.subtraction is None and session.image_layer(0).data.dtype == np.uint16


def test_what_cannot_be_subtracted_says_why(dock):
    dock.session.show_study(biplane(views=(replace(make_view(Projection.AP), native=None),)))
    assert "subtracted by the scanner" in dock.subtraction.reason.text()
    assert not dock.subtraction.controls.isVisibleTo(dock)
    dock.session.show_study(chest())
    assert not dock.subtraction_box.isVisibleTo(dock)


def test_conclusions_are_overruled_and_taken_back(dock, qtbot, workspace):
    session, rows = dock.session, lambda: dock.conclusions.rows
    session.show_study(subtractable())
    session.write_mask(0, 2, np.eye(48, dtype=bool), 1)
    row = rows()[0, Topic.TIME_BASE]
    assert not row.back.isVisibleTo(row)
    editor = row.menu.actions()[0].defaultWidget()
    editor.unit.setCurrentIndex(1)
    editor.unit.activated.emit(1)
    assert editor.number.value() == pytest.approx(4.0)
    editor.number.setValue(8.0)
    click(qtbot, editor.set_button)
    assert session.study.views[0].timing.interval_ms == pytest.approx(125.0)
    assert session.labels_layer(0).data[2].any(), "what was painted stays"
    assert "as set by you on" in rows()[0, Topic.TIME_BASE].label.text()
    swap = rows()[0, Topic.PAIRING].menu.actions()[0]
    swap.trigger()
    assert [view.projection for view in session.study.views] == [Projection.LA, Projection.AP]
    left, right = (session.hanging.placements[i].box[1] for i in (1, 0))
    assert left < right, "AP hangs left"
    kinds = {action.text(): action for action in rows()[0, Topic.KIND].menu.actions()}
    kinds["Something else"].trigger()
    assert session.study.kind == "other"
    scanner = {action.text(): action for action in rows()[0, Topic.SUBTRACTION].menu.actions()}
    scanner["Subtracted by the scanner"].trigger()
    assert session.study.views[0].native is None and session.image_layer(0).data.dtype == np.uint16
    click(qtbot, rows()[0, Topic.SUBTRACTION].back)
    assert session.study.views[0].subtraction == FILE
    for index, topic in ((0, Topic.KIND), (0, Topic.TIME_BASE), (0, Topic.PROJECTION), (1, Topic.PROJECTION)):
        click(qtbot, rows()[index, topic].back)
    assert session.study.kind == "angiogram"
    assert session.study.views[0].timing.interval_ms == pytest.approx(250.0)
    assert [view.projection for view in session.study.views] == [Projection.AP, Projection.LA]
    assert session.labels_layer(0).data[2].any()
    idle(qtbot, session)
    store = session.store()
    assert store.settings_about(map(run_of, session.study.views)) == []
    assert len(store.setting_history(map(run_of, session.study.views))) == 14


def run_of(view):
    from napari_clipmed.records import Run

    return Run.of(view)


def test_what_was_set_holds_when_the_folder_is_opened_again(dock, qtbot, tmp_path, workspace):
    session, pane = dock.session, dock.subtraction
    uids = {name: Uids.seeded(1, "s", name) for name in ("AP", "LA")}
    folder = tmp_path / "runs"
    folder.mkdir()
    for name, other, angle in (("AP", "LA", 0), ("LA", "AP", 90)):
        write_xa(
            folder / f"{name}.dcm",
            np.array(native_view(Projection.AP, "").pixels),
            timing_ms=250.0,
            angles=(angle, 0),
            uids=uids[name],
            mask=MaskItem(mask_frames=(1,)),
            plane="BIPLANE A" if name == "AP" else "BIPLANE B",
            partner_sop=uids[other].sop,
        )

    def open_it():
        with qtbot.waitSignal(session.study_changed, timeout=60_000):
            session.open_paths([folder])
        idle(qtbot, session)

    open_it()
    qtbot.keyClick(canvas_of(session.viewer), Qt.Key.Key_Down, ALT)
    session.relabel_view(1, Projection.OBLIQUE)
    masked = session.study.views[0].pixel_hash
    session.close_study()
    idle(qtbot, session)
    open_it()
    assert session.study.views[0].pixel_hash == masked and shift(pane) == (0.1, 0.0)
    assert session.study.views[1].projection is Projection.OBLIQUE
    assert "as set by you on" in dock.conclusions.rows[1, Topic.PROJECTION].label.text()
    assert pane.file.isEnabled()
    click(qtbot, pane.file)
    apart = dock.conclusions.rows[0, Topic.PAIRING].menu.actions()[1]
    with qtbot.waitSignal(session.study_changed, timeout=60_000):
        apart.trigger()
    qtbot.waitUntil(lambda: session.study is not None and len(session.study.views) == 1, timeout=60_000)
    idle(qtbot, session)
    open_it()
    assert len(session.study.views) == 1 and dock.shelf.count() == 2
    with qtbot.waitSignal(session.study_changed, timeout=60_000):
        click(qtbot, dock.conclusions.rows[0, Topic.PAIRING].back)
    qtbot.waitUntil(lambda: session.study is not None and len(session.study.views) == 2, timeout=60_000)
    assert session.study.views[0].subtraction.items[0].shift == (0, 0)


def test_a_study_that_came_without_its_settings_gets_them(dock, qtbot, workspace):
    session, study = dock.session, subtractable()
    workspace.mkdir()
    mine = replace(FILE, items=(MaskItem(mask_frames=(2,), shift=(0.5, 0.0)),))
    session.store().set_about(run_of(study.views[0]), MASK, mine.to_json(), "Dr B")
    session.show_study(study)
    idle(qtbot, session)
    assert dock.subtraction.view.subtraction == mine and dock.subtraction.file.isEnabled()
    np.testing.assert_array_equal(session.image_layer(0).data[5], session.study.views[0].pixels[5])
    assert "as set by Dr B on" in dock.conclusions.rows[0, Topic.SUBTRACTION].label.text()
    click(qtbot, dock.subtraction.undo)
    assert dock.subtraction.view.subtraction == FILE
