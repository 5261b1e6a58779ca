"""What was saved comes back, what was not is offered, and two readers see one another; through the docks."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from dock_fakes import FakeEngine, biplane, film, registry_with
from qtpy.QtCore import Qt

from napari_clipmed.gui.diagnosis_dock import DiagnosisDock
from napari_clipmed.gui.history_dialog import HistoryDialog
from napari_clipmed.gui.segment_dock import SegmentDock
from napari_clipmed.gui.session import session_for
from napari_clipmed.gui.settings import Settings, read_settings
from napari_clipmed.gui.study_dock import StudyDock
from napari_clipmed.records import Store
from napari_clipmed.records import workspace as workspace_module


@pytest.fixture
def open_window(make_napari_viewer_proxy, monkeypatch, tmp_path, qtbot):
    """Opens one window after another on the same workspace, as a reader does day by day."""
    sessions, docks_alive = [], []
    registry = registry_with(
        tmp_path / "models", **{"clip-dsa-compact": "diagnosis", "causal-clipseg-compact": "segmentation"}
    )
    place = str(tmp_path / "w")
    monkeypatch.setattr(
        "napari_clipmed.gui.session.read_settings", lambda: Settings(author="me", workspace=place)
    )
    monkeypatch.setattr(
        "napari_clipmed.gui.backend.read_settings", lambda: Settings(author="me", workspace=place)
    )

    def make(*docks):
        session = session_for(make_napari_viewer_proxy())
        engine = FakeEngine()
        monkeypatch.setattr(session, "engine", lambda: engine)
        monkeypatch.setattr(session, "registry", lambda: registry)
        sessions.append(session)
        made = []
        for dock in docks:
            widget = dock(session.viewer)
            qtbot.addWidget(widget)
            widget.resize(360, 900)
            widget.show()
            made.append(widget)
        docks_alive.extend(made)
        return session, *made

    yield make
    for session in sessions:
        session.jobs.shutdown()


@pytest.fixture
def place(tmp_path):
    return tmp_path / "w"


def click(qtbot, widget):
    qtbot.mouseClick(widget, Qt.MouseButton.LeftButton)


def settle(qtbot, session):
    """Wait until nothing is under way and the journal has been written."""

    def quiet():
        return not session.busy and not session.records._timer.isActive()

    qtbot.waitUntil(quiet, timeout=60_000)
    qtbot.wait(20)
    qtbot.waitUntil(quiet, timeout=60_000)


def paint(session, frame, rows, value=1, view=0):
    """A stroke of the brush on one frame."""
    layer = session.labels_layer(view)
    with layer.block_history():
        at = np.arange(10, 20)
        layer.data_setitem((np.full(10, frame), np.full(10, rows), at), value)


def undo_key(session, view=0):
    layer = session.labels_layer(view)
    session.masks._undo(layer)


def test_masks_come_back_and_ctrl_z_goes_on_past_the_restart(open_window, qtbot, place):
    session, dock = open_window(SegmentDock)
    session.show_study(film())
    paint(session, 0, 5)
    click(qtbot, dock.save_button)
    settle(qtbot, session)
    paint(session, 0, 9)
    click(qtbot, dock.save_button)
    settle(qtbot, session)

    again, dock = open_window(SegmentDock)
    again.show_study(film())
    settle(qtbot, again)
    layer = again.labels_layer(0)
    assert set(np.nonzero(layer.data[0])[0]) == {5, 9}
    undo_key(again)
    settle(qtbot, again)
    assert set(np.nonzero(layer.data[0])[0]) == {5}
    with Store.open(place) as store:
        (case,) = store.cases()
        (held,) = store.current_masks(case.id)
        assert set(np.nonzero(store.read_mask(held))[0]) == {5}
    undo_key(again)
    settle(qtbot, again)
    assert not layer.data.any()
    paint(again, 0, 30)  # an own stroke is undone on the canvas, not in the records
    undo_key(again)
    settle(qtbot, again)
    with Store.open(place) as store:
        masks = [r for r in store.revisions(case.id) if r.kind == "mask"]
        assert len(masks) == 4 and masks[-1].withdrawn


def test_a_sentence_keeps_its_value_and_an_unchanged_mask_makes_no_revision(open_window, qtbot, place):
    session, dock = open_window(SegmentDock)
    session.show_study(film())
    session.write_mask(0, 0, np.eye(96, dtype=bool), dock.prompts.value_of("nidus"), "nidus")
    click(qtbot, dock.save_button)
    settle(qtbot, session)
    again, dock = open_window(SegmentDock)
    again.show_study(film())
    settle(qtbot, again)
    assert dock.prompts.value_of("nidus") == 2 and dock.sentences.count() == 1
    click(qtbot, dock.save_button)
    settle(qtbot, again)
    again.labels_layer(0).data_setitem(np.nonzero(again.labels_layer(0).data), 0)
    click(qtbot, dock.save_button)  # erased: an empty mask, not a forgotten one
    settle(qtbot, again)
    with Store.open(place) as store:
        masks = [r for r in store.revisions() if r.kind == "mask"]
        assert [r.name for r in masks] == ["nidus", "nidus"]
        assert masks[1].parent_id == masks[0].id
        assert not store.read_mask(masks[1]).any()


def test_a_verdict_can_be_taken_back_after_a_restart(open_window, qtbot, place):
    session, dock = open_window(DiagnosisDock)
    session.show_study(biplane())
    qtbot.waitUntil(dock.verdict.accept_button.isEnabled, timeout=60_000)
    click(qtbot, dock.verdict.accept_button)
    settle(qtbot, session)
    dock.verdict.corrected.emit("IA")
    settle(qtbot, session)

    again, dock = open_window(DiagnosisDock)
    again.show_study(biplane())
    qtbot.waitUntil(dock.verdict.accept_button.isEnabled, timeout=60_000)
    settle(qtbot, again)
    assert "Before: Intracranial aneurysm, corrected by me" in dock.verdict.status.text()
    click(qtbot, dock.verdict.undo_button)
    settle(qtbot, again)
    with Store.open(place) as store:
        (case,) = store.cases()
        held = store.current_label(case.id)
        assert (held.label, held.model_label, held.model_id) == ("MMD", "MMD", "clip-dsa-compact")
        assert held.model_score == pytest.approx(0.86)
        assert store.newest_answers()[case.id].probabilities["AP"]["MMD"] == pytest.approx(0.81)
    assert "It holds again: Moyamoya" in dock.verdict.status.text()


@pytest.mark.parametrize("choice", ["keep_first", "keep_second"])
def test_two_readers_see_one_another_and_one_of_them_chooses(open_window, qtbot, place, choice):
    session, dock, study_dock = open_window(DiagnosisDock, StudyDock)
    session.show_study(biplane())
    qtbot.waitUntil(dock.verdict.accept_button.isEnabled, timeout=60_000)
    click(qtbot, dock.verdict.accept_button)
    settle(qtbot, session)
    with Store.open(place) as colleague:
        case = colleague.find_case(session.study)
        theirs = colleague.add_label(case, "IA", "corrected", author="Dr B")
        dock.verdict.corrected.emit("AS")
        settle(qtbot, session)
        banners = study_dock.findChild(object, "records_banners")
        assert not banners.conflict.isHidden()
        assert "Intracranial aneurysm, corrected, by Dr B" in banners.conflict.text()
        assert "Arterial stenosis, corrected, by me" in banners.conflict.text()
        assert banners.keep_first.text() == "Keep theirs (Dr B)"
        assert banners.keep_second.text() == "Take mine"
        assert colleague.current_label(case) == theirs
        click(qtbot, getattr(banners, choice))
        settle(qtbot, session)
        assert banners.conflict.isHidden()
        assert colleague.current_label(case).label == ("IA" if choice == "keep_first" else "AS")
        assert colleague.conflicts() == []
        assert len(colleague.revisions(case)) == 4


def test_masks_of_two_readers_conflict_and_the_chosen_one_is_shown(open_window, qtbot, place):
    session, dock, study_dock = open_window(SegmentDock, StudyDock)
    session.show_study(film())
    paint(session, 0, 5)
    with Store.open(place) as colleague:
        case = colleague.case_for(session.study)
        theirs = np.zeros((96, 96), bool)
        theirs[40] = True
        colleague.add_mask(case, 0, 0, theirs, name="finding", author="Dr B")
        click(qtbot, dock.save_button)
        settle(qtbot, session)
        banners = study_dock.findChild(object, "records_banners")
        assert "finding on PA frame 1" in banners.conflict.text()
        click(qtbot, banners.keep_first)
        settle(qtbot, session)
    assert set(np.nonzero(session.labels_layer(0).data[0])[0]) == {40}
    undo_key(session)  # my own marks are one step away
    assert set(np.nonzero(session.labels_layer(0).data[0])[0]) == {5}


PAINT_AND_DIE = """
import os, sys
import numpy as np
from napari_clipmed.gui.case_journal import journal_frames
from napari_clipmed.records.drafts import Drafts, Draft
from pathlib import Path
drafts, case = Drafts(Path(sys.argv[1])), sys.argv[2]
labels = np.zeros((1, 96, 96), np.uint8)
labels[0, 7, 3:9] = 1
labels[0, 8, 3:9] = 4
journal_frames(drafts, case, {0: labels}, {}, {"finding": 1, "left lung": 4})
drafts.keep(Draft(case, said={"label": "MMD", "verdict": "accepted"}))
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def crashed(open_window, qtbot):
    """A window on a study whose marks and verdict a killed program left unsaved."""
    from napari_clipmed.models.registry import user_folder
    from napari_clipmed.records.drafts import drafts_folder
    from napari_clipmed.records.identity import case_key

    session, dock, study_dock = open_window(SegmentDock, StudyDock)
    folder = drafts_folder(user_folder(), session.workspace)
    command = [sys.executable, "-c", PAINT_AND_DIE, str(folder), case_key(film())]
    assert subprocess.run(command, check=False).returncode == -9
    session.show_study(film())
    settle(qtbot, session)
    return session, study_dock.findChild(object, "records_banners"), dock


def test_after_a_crash_the_unsaved_is_offered_and_restored(crashed, qtbot, place):
    session, banners, dock = crashed
    assert "marks on PA frame 1 and the verdict Moyamoya disease (accepted)" in banners.unsaved.text()
    assert not session.has_labels(0)
    click(qtbot, banners.restore)
    settle(qtbot, session)
    assert banners.unsaved.isHidden()
    layer = session.labels_layer(0)
    names = {session.classes[v]: set(np.nonzero(layer.data[0] == v)[0]) for v in np.unique(layer.data) if v}
    assert names == {"finding": {7}, "left lung": {8}}
    with Store.open(place) as store:
        (case,) = store.cases()
        assert store.current_label(case.id).label == "MMD"
        assert store.current_masks(case.id) == []  # marks are saved by the reader, not by the program
        click(qtbot, dock.save_button)
        settle(qtbot, session)
        assert {r.name for r in store.current_masks(case.id)} == {"finding", "left lung"}
    assert session.records.drafts.cases() == []


def test_discarding_forgets_it_for_good(crashed, qtbot, place):
    session, banners, _ = crashed
    click(qtbot, banners.discard)
    settle(qtbot, session)
    assert banners.unsaved.isHidden() and session.records.drafts.cases() == []
    assert not session.has_labels(0)
    assert not place.exists()


def test_unsaved_marks_outlive_another_study(open_window, qtbot):
    session, study_dock = open_window(StudyDock)
    banners = study_dock.findChild(object, "records_banners")
    session.show_study(biplane())
    paint(session, 3, 12)
    settle(qtbot, session)
    assert banners.unsaved.isHidden()  # on screen: nothing to offer
    session.show_study(film())
    settle(qtbot, session)
    assert banners.unsaved.isHidden()  # of another case
    session.show_study(biplane())
    settle(qtbot, session)
    assert "marks on AP frame 4" in banners.unsaved.text()
    click(qtbot, banners.restore)
    settle(qtbot, session)
    assert set(np.nonzero(session.labels_layer(0).data[3])[0]) == {12}
    undo_key(session)
    settle(qtbot, session)


def test_the_same_study_shown_again_brings_its_masks_back(open_window, qtbot):
    session, dock = open_window(SegmentDock)
    session.show_study(biplane())
    paint(session, 2, 5)
    session.go_to_frame(0, 2)
    click(qtbot, dock.save_button)
    settle(qtbot, session)
    session.show_study(biplane())
    settle(qtbot, session)
    assert set(np.nonzero(session.labels_layer(0).data[2])[0]) == {5}


def test_a_stroke_in_the_last_half_second_is_journalled_at_the_end(open_window, qtbot):
    session, study_dock = open_window(StudyDock)
    session.show_study(film())
    settle(qtbot, session)
    paint(session, 0, 8)
    assert session.records.drafts.cases() == []
    session.records.finish()
    (case,) = session.records.drafts.cases()
    (draft,) = session.records.drafts.of(case)
    assert set(np.nonzero(draft.labels)[0]) == {8}


def test_a_workspace_that_cannot_be_written_says_so(open_window, qtbot, place, monkeypatch):
    with Store.open(place) as store:
        store.add_label(store.case_for(film()), "MMD", "accepted", author="Dr B")

    def refuse(self, *arguments):
        raise workspace_module.not_writable(self.root)

    with monkeypatch.context() as patch:
        patch.setattr(workspace_module.Workspace, "create", refuse)
        session = _reads_only(open_window, qtbot)
    session.show_study(biplane())
    session.show_study(film())
    settle(qtbot, session)
    assert session.records.state.notice == ""  # it can be written again, and is


def _reads_only(open_window, qtbot):
    session, study_dock, dock = open_window(StudyDock, SegmentDock)
    session.show_study(film())
    settle(qtbot, session)
    banners = study_dock.findChild(object, "records_banners")
    assert "open for reading only" in banners.notice.text() and not banners.notice.isHidden()
    assert session.records.state.label.label == "MMD"
    paint(session, 0, 5)
    click(qtbot, dock.save_button)
    settle(qtbot, session)
    assert "for reading only; nothing was saved" in dock.failure.message
    assert session.records.drafts.cases()  # and yet nothing is lost
    return session


def test_history_lists_and_restores(open_window, qtbot, place):
    session, study_dock = open_window(StudyDock)
    menu = study_dock.findChild(object, "workspace_menu")
    assert not menu.history_button.isEnabled() and menu.history_button.toolTip() == "Open a study first"
    with Store.open(place) as store:
        case = store.case_for(film())
        first = store.add_label(case, "IA", "accepted", "m", "Dr A", model_label="IA", model_score=0.7)
        store.add_label(case, "MMD", "corrected", "m", "Dr B", "puff of smoke")
        session.show_study(film())
        settle(qtbot, session)
        click(qtbot, menu.history_button)
        settle(qtbot, session)
        dialog = menu._history
        assert isinstance(dialog, HistoryDialog) and dialog.isVisible()
        newest, oldest = (dialog.list.topLevelItem(i) for i in range(2))
        assert [newest.text(i) for i in (2, 3, 4, 6)] == [
            "Dr B",
            "Moyamoya disease · holds",
            "corrected",
            "puff of smoke",
        ]
        assert [oldest.text(i) for i in (2, 3, 4, 5)] == [
            "Dr A",
            "Intracranial aneurysm",
            "accepted",
            "IA 0.70",
        ]
        dialog.list.setCurrentItem(newest)
        assert not dialog.restore_button.isEnabled() and "holds already" in dialog.restore_button.toolTip()
        dialog.list.setCurrentItem(oldest)
        click(qtbot, dialog.restore_button)
        settle(qtbot, session)
        held = store.current_label(case)
        assert (held.label, held.author, held.restored_from) == ("IA", "me", first.id)
        assert dialog.list.topLevelItem(0).text(3) == f"Intracranial aneurysm (restores {first.id}) · holds"
        dialog.close()


def test_another_workspace_is_opened_and_the_last_one_remembered(
    make_napari_viewer_proxy, qtbot, tmp_path, clipmed_home
):
    session = session_for(make_napari_viewer_proxy())
    dock = StudyDock(session.viewer)
    qtbot.addWidget(dock)
    menu = dock.findChild(object, "workspace_menu")
    session.show_study(film())
    with Store.open(session.workspace) as store:
        store.add_label(store.case_for(film()), "IA", "accepted")
    first = session.workspace
    (tmp_path / "other.txt").write_text("no workspace")
    menu.use(tmp_path)
    settle(qtbot, session)
    assert "is not a workspace" in menu.failure.message and session.workspace == first
    menu.use(tmp_path / "second")
    settle(qtbot, session)
    assert read_settings().workspace_path == tmp_path / "second" == session.workspace
    assert menu.button.text() == "second" and menu.failure.message == ""
    assert (
        str(tmp_path / "second") in (clipmed_home / "napari-clipmed.yaml").read_text()
    )  # next time it opens here
    assert session.records.state.case is None
    menu._fill()
    recent = next(a.menu() for a in menu.menu.actions() if a.menu())
    assert [action.toolTip() for action in recent.actions()] == [str(first)]
    recent.actions()[0].trigger()
    settle(qtbot, session)
    assert session.records.state.label.label == "IA"
    menu.back_up(tmp_path / "copy.zip")
    settle(qtbot, session)
    assert (tmp_path / "copy.zip").exists() and "every file in it was checked" in menu.status.text()
    session.jobs.shutdown()


def test_a_case_bundle_goes_to_another_workspace_and_shows_its_study(open_window, qtbot, place, tmp_path):
    session, study_dock = open_window(StudyDock)
    menu = study_dock.findChild(object, "workspace_menu")
    session.show_study(biplane())
    with Store.open(place) as store:
        case = store.case_for(session.study)
        store.add_label(case, "MMD", "accepted", author="Dr B")
    session.records.reopen()
    settle(qtbot, session)
    menu.export_case(tmp_path / "case.zip", pixels=True)
    settle(qtbot, session)
    assert "1 revisions are in" in menu.status.text() and "burned into the picture" in menu.status.text()
    session.close_study()
    place.rename(tmp_path / "elsewhere")
    session.backend._store = None
    menu.import_case(tmp_path / "case.zip")
    settle(qtbot, session)
    assert "1 new revisions" in menu.status.text()
    assert session.study.image_hash == biplane().image_hash and session.study.synthetic
    assert session.records.state.label.label == "MMD"
    menu.import_case(tmp_path / "none.zip")
    settle(qtbot, session)
    assert "There is no file" in menu.failure.message
