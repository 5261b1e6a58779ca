"""The Segment dock, driven with clicks and keys over a fake engine."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from dock_fakes import FakeEngine, biplane, film, registry_with
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QPushButton, QRadioButton

from napari_clipmed.gui.segment_dock import SegmentDock
from napari_clipmed.gui.session import session_for
from napari_clipmed.gui.settings import Settings
from napari_clipmed.study import Projection

LEFT = "lower left lung"


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def session(make_napari_viewer_proxy, engine, monkeypatch, tmp_path):
    session = session_for(make_napari_viewer_proxy())
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
    dock.resize(340, 900)
    dock.show()
    return dock


def click(qtbot, widget):
    qtbot.mouseClick(widget, Qt.MouseButton.LeftButton)


def take(qtbot, dock):
    click(qtbot, dock.proposal.take_button)
    qtbot.waitUntil(lambda: not dock.session.turns.busy, timeout=60_000)


def wait_for(qtbot, condition):
    qtbot.waitUntil(condition, timeout=60_000)


def type_and_run(qtbot, dock, text):
    dock.prompt.box.selectAll()
    qtbot.keyClicks(dock.prompt.box, text)
    qtbot.keyClick(dock.prompt.box, Qt.Key.Key_Return, Qt.KeyboardModifier.ControlModifier)


@pytest.fixture
def proposed(dock, session, qtbot):
    session.show_study(film())
    type_and_run(qtbot, dock, LEFT)
    wait_for(qtbot, lambda: dock.preview.layer is not None)
    return dock


def test_without_a_study_it_says_what_to_do(dock):
    assert "Open a chest film" in dock.empty.text()
    assert not dock.prompt.run_button.isEnabled() and dock.prompt.run_button.toolTip()
    assert not dock.save_button.isEnabled() and "no mask yet" in dock.save_button.toolTip()


def test_a_sentence_becomes_an_outline_and_nothing_is_written_yet(proposed, session, engine):
    assert engine.asked("segment") == [(LEFT, 0, "picture")]
    assert threading.main_thread() not in engine.threads
    layer = proposed.preview.layer
    assert layer.contour > 0 and layer.data.sum() > 0
    assert not session.has_labels(0)
    assert "mean probability" in proposed.proposal.summary.text()


def test_the_threshold_is_live_and_asks_no_network(proposed, engine):
    before = int(proposed.preview.layer.data.sum())
    proposed.proposal.threshold_slider.setValue(80)
    assert 0 < int(proposed.preview.layer.data.sum()) < before
    proposed.proposal.threshold_slider.setValue(20)
    assert int(proposed.preview.layer.data.sum()) > before
    assert len(engine.asked("segment")) == 1


def test_taking_writes_labels_in_one_step_of_undo(proposed, session, qtbot):
    area = int(proposed.preview.layer.data.sum())
    take(qtbot, proposed)
    labels = session.labels_layer(0)
    assert int((labels.data == 2).sum()) == area
    assert proposed.preview.layer is None
    assert session.classes[2] == LEFT
    assert proposed.sentences.count() == 1
    labels.undo()
    assert labels.data.sum() == 0


def test_taken_twice_and_saved_before_it_is_written_it_is_one_mask_and_it_is_saved(proposed, session, qtbot):
    area = int(proposed.preview.layer.data.sum())
    click(qtbot, proposed.proposal.take_button)
    click(qtbot, proposed.proposal.take_button)
    assert session.turns.busy
    proposed.save()
    wait_for(qtbot, lambda: proposed.status.text().startswith("Saved"))
    labels, store = session.labels_layer(0), session.store()
    assert int((labels.data == 2).sum()) == area
    (mask,) = [r for r in store.revisions(store.find_case(session.study)) if r.kind == "mask"]
    assert int(store.read_mask(mask).sum()) == area
    labels.undo()
    assert labels.data.sum() == 0


def test_another_study_opened_while_a_mask_is_taken_leaves_the_button_alive(proposed, session, qtbot):
    click(qtbot, proposed.proposal.take_button)
    session.show_study(film())
    type_and_run(qtbot, proposed, LEFT)
    wait_for(qtbot, lambda: proposed.preview.layer is not None)
    take(qtbot, proposed)
    assert (session.labels_layer(0).data == 2).any()


def test_a_second_sentence_gets_its_own_label_and_colour(proposed, session, qtbot):
    take(qtbot, proposed)
    type_and_run(qtbot, proposed, "upper right lung")
    wait_for(qtbot, lambda: proposed.preview.layer is not None)
    take(qtbot, proposed)
    assert set(np.unique(session.labels_layer(0).data)) == {0, 2, 3}
    icons = [proposed.sentences.item(i).icon().pixmap(4, 4).toImage().pixelColor(1, 1) for i in range(2)]
    assert icons[0] != icons[1]


def test_saved_untouched_it_is_accepted_and_painted_over_it_is_corrected(proposed, session, qtbot):
    take(qtbot, proposed)
    click(qtbot, proposed.save_button)
    wait_for(qtbot, lambda: proposed.status.text().startswith("Saved"))
    session.labels_layer(0).data_setitem((np.array([0]), np.array([2]), np.array([3])), 2)
    click(qtbot, proposed.save_button)
    wait_for(qtbot, lambda: "corrected" in proposed.status.text())
    store = session.store()
    case = store.find_case(session.study)
    masks = [r for r in store.revisions(case) if r.kind == "mask"]
    assert [r.verdict for r in masks] == ["accepted", "corrected"]
    assert masks[-1].prompt == LEFT and masks[-1].name == LEFT and masks[-1].author == "reader"
    assert store.read_mask(masks[-1])[2, 3]
    assert len(store.current_masks(case)) == 1
    assert [r.prompt for r in store.revisions(case) if r.kind == "prompt"] == [LEFT]


def test_the_patients_left_is_the_right_of_the_picture(dock, session, qtbot):
    session.show_study(film())
    click(qtbot, dock.findChild(QRadioButton, "side_patient"))
    type_and_run(qtbot, dock, LEFT)
    wait_for(qtbot, lambda: dock.preview.layer is not None)
    columns = np.nonzero(dock.preview.layer.data[0])[1]
    assert columns.mean() > 48
    assert "right" in dock.proposal.summary.text()
    wait_for(qtbot, lambda: "right" in dock.prompt.reading.text())


def test_presets_fill_the_box_and_the_reading_is_shown_before_running(dock, session, engine, qtbot):
    dock.prompt.live.setChecked(False)
    session.show_study(film())
    wait_for(qtbot, lambda: dock.prompt.presets.count() > 3)
    dock.prompt.presets.activated.emit(4)
    assert "left lung" in dock.prompt.box.text
    wait_for(qtbot, lambda: dock.prompt.reading.text().startswith("The model reads:"))
    assert engine.calls == []


def test_history_comes_back_with_the_arrows(dock, session, qtbot):
    session.show_study(film())
    for text in ("first one left", "second one left"):
        dock.prompt.box.remember(text)
    dock.prompt.box.put("being typed")
    for expected in ("second one left", "first one left", "first one left"):
        qtbot.keyClick(dock.prompt.box, Qt.Key.Key_Up)
        assert dock.prompt.box.text == expected
    for expected in ("second one left", "being typed"):
        qtbot.keyClick(dock.prompt.box, Qt.Key.Key_Down)
        assert dock.prompt.box.text == expected


@pytest.mark.parametrize(("text", "sentence"), [("", "empty"), ("word " * 500, "500 words")])
def test_an_empty_and_an_endless_prompt_get_a_sentence(dock, session, qtbot, text, sentence):
    session.show_study(film())
    dock.prompt.box.put(text)
    click(qtbot, dock.prompt.run_button)
    wait_for(qtbot, lambda: sentence in dock.failure.message)
    assert dock.preview.layer is None


def test_on_an_angiogram_it_warns_and_marks_the_shown_frame_only(dock, session, engine, qtbot):
    session.show_study(biplane())
    assert "chest X-rays" in dock.not_a_film.text()
    session.go_to_frame(0, 6)
    assert "AP 7 (1.50 s)" in dock.target.text()
    type_and_run(qtbot, dock, "left")
    wait_for(qtbot, lambda: dock.preview.layer is not None)
    assert engine.asked("segment") == [("left", 6, "picture")]
    assert dock.preview.layer.data.shape == (1, 64, 64)
    take(qtbot, dock)
    labels = session.labels_layer(0)
    assert [t for t in range(20) if labels.data[t].any()] == [6]


def test_discard_leaves_nothing(proposed, session, qtbot):
    click(qtbot, proposed.findChild(QPushButton, "discard_mask"))
    assert proposed.preview.layer is None and not session.has_labels(0)


def test_another_study_takes_everything_along(proposed, session, qtbot):
    take(qtbot, proposed)
    session.show_study(biplane())
    assert proposed.sentences.count() == 0 and proposed.preview.layer is None
    assert not proposed.save_button.isEnabled()


def test_relabelling_a_view_keeps_masks_and_their_sentences(proposed, session, qtbot):
    take(qtbot, proposed)
    session.relabel_view(0, Projection.AP)
    assert proposed.sentences.count() == 1
    assert proposed.prompts.value_of(LEFT) == 2
    assert session.labels_layer(0).data.any()


def test_nothing_is_wider_than_the_least_dock(proposed):
    assert proposed.minimumSizeHint().width() <= 320


def pause(qtbot, dock):
    """Let the pause in typing pass."""
    qtbot.waitUntil(lambda: not dock.prompt._pause.isActive(), timeout=5000)


def test_an_outline_follows_the_typing_and_nothing_is_kept_of_it(dock, session, engine, qtbot):
    session.show_study(film())
    qtbot.keyClicks(dock.prompt.box, LEFT)
    wait_for(qtbot, lambda: dock.preview.layer is not None)
    assert engine.asked("segment") == [(LEFT, 0, "picture")]
    assert threading.main_thread() not in engine.threads
    assert dock.proposed is not None
    assert not session.has_labels(0)
    with session.backend.store() as store:
        assert store.revisions() == []
    dock.prompt.box.selectAll()
    qtbot.keyClick(dock.prompt.box, Qt.Key.Key_Delete)
    wait_for(qtbot, lambda: dock.preview.layer is None)
    assert dock.proposed is None


def test_a_newer_sentence_supersedes_the_one_that_is_being_tried(dock, session, engine, qtbot):
    session.show_study(film())
    engine.slow = 0.8
    qtbot.keyClicks(dock.prompt.box, "upper left lung")
    wait_for(qtbot, lambda: len(engine.asked("segment")) == 1)
    dock.prompt.box.selectAll()
    qtbot.keyClicks(dock.prompt.box, "upper right lung")
    wait_for(qtbot, lambda: dock.preview.layer is not None)
    assert dock.proposed.prompt == "upper right lung"
    assert [text for text, *_ in engine.asked("segment")] == ["upper left lung", "upper right lung"]


def test_what_was_asked_by_hand_is_not_tried_again(proposed, engine, qtbot):
    pause(qtbot, proposed)
    qtbot.wait(400)
    assert engine.asked("segment") == [(LEFT, 0, "picture")]


def test_following_the_typing_can_be_switched_off(dock, session, engine, qtbot):
    session.show_study(film())
    box = dock.prompt.live  # a mark and its words on the left of a wide widget
    qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(8, box.height() // 2))
    assert not dock.prompt.live.isChecked()
    qtbot.keyClicks(dock.prompt.box, LEFT)
    pause(qtbot, dock)
    qtbot.wait(400)
    assert engine.asked("segment") == []
    assert dock.preview.layer is None


def test_an_outline_that_followed_the_typing_can_be_taken_and_is_recorded_then(dock, session, engine, qtbot):
    session.show_study(film())
    qtbot.keyClicks(dock.prompt.box, LEFT)
    wait_for(qtbot, lambda: dock.preview.layer is not None)
    take(qtbot, dock)
    assert session.has_labels(0)
    assert session.labels_layer(0).data.any()
    wait_for(qtbot, lambda: [r.prompt for r in session.store().revisions()] == [LEFT])


def test_where_other_wordings_disagree_is_shown_on_request(proposed, session, engine, qtbot):
    assert proposed.wording.layer is None
    assert engine.asked("ensemble") == []
    click(qtbot, proposed.proposal.wording)
    wait_for(qtbot, lambda: proposed.wording.layer is not None)
    layer = proposed.wording.layer
    assert layer.data.shape == (1, 96, 96)
    assert tuple(layer.scale) == tuple(session.image_layer(0).scale)
    assert "3 wordings" in proposed.proposal.wording_note.text()
    assert threading.main_thread() not in engine.threads
    click(qtbot, proposed.proposal.discard_button)
    assert proposed.wording.layer is None
    assert proposed.proposal.wording_note.text() == ""


def test_a_contradiction_is_shown_as_long_as_it_holds(dock, session, qtbot):
    session.show_study(film())
    type_and_run(qtbot, dock, "two infected areas, lower left lung")
    banner = dock.proposal.contradiction
    wait_for(qtbot, banner.isVisible)
    assert banner.text() == "The sentence names two areas, the mask has one area."
    type_and_run(qtbot, dock, "one infected area, lower left lung")
    wait_for(qtbot, lambda: dock.proposed.prompt.startswith("one") and not banner.isVisible())
    assert not dock.check.about_labels.isVisible()


def test_a_correction_that_contradicts_the_sentence_is_pointed_out(proposed, session, qtbot):
    take(qtbot, proposed)
    labels = session.labels_layer(0)
    rows, columns = np.mgrid[60:80, 70:90].reshape(2, -1)
    labels.data_setitem((np.zeros_like(rows), rows, columns), 2)
    banner = proposed.check.about_labels
    wait_for(qtbot, banner.isVisible)
    assert banner.text().startswith(f"{LEFT}: The sentence names the left of the picture only")
    assert banner.text().count(f"{LEFT}:") == 1, "a class is named once, whatever contradicts its sentence"
    labels.undo()
    session.mask_changed.emit(0)
    wait_for(qtbot, lambda: not banner.isVisible())


def test_on_an_angiogram_no_side_of_a_lung_is_compared(dock, session, qtbot):
    session.show_study(biplane())
    type_and_run(qtbot, dock, "two infected areas, lower left lung")
    wait_for(qtbot, lambda: dock.preview.layer is not None)
    qtbot.wait(300)
    assert not dock.proposal.contradiction.isVisible()
