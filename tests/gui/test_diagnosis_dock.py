"""The Diagnosis dock, driven with clicks and keys over a fake engine."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
from dock_fakes import FakeEngine, biplane, film, registry_with, run
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication, QLabel, QPushButton

from napari_clipmed.errors import ModelError
from napari_clipmed.gui.diagnosis_dock import DiagnosisDock
from napari_clipmed.gui.session import session_for
from napari_clipmed.gui.settings import Settings
from napari_clipmed.study import FrameTiming, Kind, Projection, Study


@pytest.fixture
def engine():
    return FakeEngine()


@pytest.fixture
def session(make_napari_viewer_proxy, engine, monkeypatch, tmp_path):
    viewer = make_napari_viewer_proxy()
    session = session_for(viewer)
    registry = registry_with(tmp_path / "models", **{"clip-dsa-compact": "diagnosis", "my-own": "diagnosis"})
    settings = Settings(classify_on_open=False, author="reader")
    monkeypatch.setattr(session, "engine", lambda: engine)
    monkeypatch.setattr(session, "registry", lambda: registry)
    monkeypatch.setattr(type(session), "settings", property(lambda self: settings))
    yield session
    session.jobs.shutdown()


@pytest.fixture
def dock(session, qtbot):
    """Shown by itself: the window with its canvas need not be drawn for most of what is tested."""
    dock = DiagnosisDock(session.viewer)
    qtbot.addWidget(dock)
    dock.resize(340, 900)
    dock.show()
    return dock


def click(qtbot, widget):
    qtbot.mouseClick(widget, Qt.MouseButton.LeftButton)


def wait_for(qtbot, condition):
    """The first save imports the database and the preprocessing, which takes its time on a busy machine."""
    qtbot.waitUntil(condition, timeout=60_000)


def idle(qtbot, session):
    wait_for(qtbot, lambda: not session.busy)


@pytest.fixture
def answered(dock, session, qtbot):
    session.show_study(biplane())
    click(qtbot, dock.classify_button)
    qtbot.waitUntil(lambda: session.heat.saliency is not None)
    idle(qtbot, session)
    return dock


def test_without_a_study_the_dock_says_what_to_do_next(dock):
    assert "Open a study" in dock.empty.text()
    assert not dock.classify_button.isEnabled()
    assert dock.classify_button.toolTip()
    assert not dock.verdict.accept_button.isEnabled() and dock.verdict.accept_button.toolTip()


def test_classify_shows_bars_agreement_decisive_frame_and_overlay(answered, session):
    dock = answered
    assert session.diagnosis.predicted == "MMD"
    assert dock.bars.choice == "MMD"
    assert "0.86" in dock.bars.bar("MMD").accessibleName()
    assert "AP 0.81" in dock.bars.bar("MMD").accessibleName()
    assert "agree" in dock.agreement.text() and "Moyamoya" in dock.agreement.text()
    assert "SIMULATED" in dock.simulated.text()
    assert len(session.heat.layers) == 2
    assert dock.findChild(QPushButton, "decisive_AP").text() == "AP 10 (2.25 s)", "people count from 1"
    assert not dock.empty.isVisible()


def test_a_certain_answer_is_named_and_an_uncertain_one_says_why(answered, session):
    dock = answered
    assert dock.model_headline.text() == "Moyamoya disease" and dock.caution.text() == ""
    assert dock.verdict.accept_button.text().startswith("Accept (")
    session.diagnosis = replace(session.diagnosis, unlike_training=True, possible=("MMD",))
    assert dock.model_headline.text() == "Uncertain: Moyamoya disease or Arterial stenosis"
    assert "unlike" in dock.caution.text()
    assert "0.86" in dock.bars.bar("MMD").accessibleName()  # the numbers stay
    assert dock.verdict.accept_button.text().startswith("Accept MMD (")  # nobody accepts a class unread
    assert dock.verdict.accept_button.toolTip() == (
        "The model named no class (Uncertain: Moyamoya disease or Arterial stenosis). "
        "Save: Moyamoya disease is right"
    )
    assert dock.agreement.text() == "AP and LA both lean to Moyamoya disease (0.81 and 0.88)."
    session.diagnosis = replace(session.diagnosis, unlike_training=False, possible=("MMD", "IA"))
    assert dock.model_headline.text() == "Uncertain: Moyamoya disease or Intracranial aneurysm"
    assert "prediction set holds" in dock.caution.text()


def test_the_engine_never_works_on_the_gui_thread(answered, engine, qtbot, session):
    click(qtbot, answered.bars.bar("IA"))
    qtbot.waitUntil(lambda: session.heat.saliency.label == "IA")
    assert {name for name, _ in engine.calls} == {"classify", "explain"}
    assert threading.main_thread() not in engine.threads


def test_choosing_class_and_method_recomputes_maps_only_and_known_maps_come_back_at_once(
    answered, engine, session, qtbot
):
    dock = answered
    click(qtbot, dock.bars.bar("IA"))
    qtbot.waitUntil(lambda: "aneurysm" in dock.saliency_box.caption.text())
    click(qtbot, dock.bars.bar("MMD"))
    assert session.heat.saliency.label == "MMD", "computed before, shown without a job"
    dock.saliency_box.methods.setCurrentIndex(1)
    dock.saliency_box.methods.activated.emit(1)
    qtbot.waitUntil(lambda: session.heat.saliency.method == "gradcam")
    assert engine.asked("classify") == ["Phantom 0042, left ICA"]
    assert engine.asked("explain") == [("MMD", "layercam"), ("IA", "layercam"), ("MMD", "gradcam")]


def test_scrubbing_computes_nothing_and_moves_the_line(answered, engine, session, qtbot):
    asked = len(engine.calls)
    for frame in (3, 11, 15):
        session.go_to_frame(0, frame)
    qtbot.wait(50)
    assert len(engine.calls) == asked
    assert answered.saliency_box.plot.attention._now.value() == pytest.approx(15 * 0.25)


def test_a_click_in_the_curve_goes_to_that_frame(answered, session, qtbot):
    plot = answered.saliency_box.plot.attention
    frame = int(session.diagnosis.attention["AP"].frames[11])
    session.go_to_frame(0, 0)
    where = plot.position_of("AP", frame)
    qtbot.mouseClick(
        plot.viewport(), Qt.MouseButton.LeftButton, pos=QPoint(round(where.x()), round(where.y()))
    )
    assert session.frame_of(0) == frame


def test_the_decisive_frame_button_goes_there(answered, session, qtbot):
    session.go_to_frame(0, 0)
    click(qtbot, answered.findChild(QPushButton, "decisive_AP"))
    assert session.frame_of(0) == 9


def test_without_times_the_curve_counts_frames_from_1(dock, session, qtbot):
    ap, la = biplane().views
    untimed = [
        replace(view, timing=FrameTiming(np.arange(view.n_frames, dtype=float), "frame index", False))
        for view in (ap, la)
    ]
    session.show_study(replace(biplane(), views=tuple(untimed)))
    click(qtbot, dock.classify_button)
    qtbot.waitUntil(lambda: session.heat.saliency is not None)
    idle(qtbot, session)
    button = dock.findChild(QPushButton, "decisive_AP")
    assert button.text() == "AP 10" and button.toolTip() == "Go to AP 10"
    plot = dock.saliency_box.plot.peaks
    click(qtbot, button)
    assert session.frame_of(0) == 9
    assert plot._now.value() == 10
    assert plot.getPlotItem().vb.mapSceneToView(plot.mapToScene(plot.position_of("AP", 9).toPoint())).x() == (
        pytest.approx(10, abs=0.1)
    )


def test_overlay_switch_and_opacity_change_the_layers_only(answered, session, engine, qtbot):
    asked = len(engine.calls)
    answered.saliency_box.opacity_slider.setValue(35)
    assert [layer.opacity for layer in session.heat.layers] == [0.35, 0.35]
    click(qtbot, answered.saliency_box.overlay)
    assert not any(layer.visible for layer in session.heat.layers)
    for layer in session.heat.layers:
        layer.visible = True
    assert answered.saliency_box.overlay_on, "the box follows the layers"
    assert len(engine.calls) == asked


def test_keys_work_while_the_dock_is_behind_another_tab(session, qtbot):
    dock = DiagnosisDock(session.viewer)
    window = session.viewer.window
    window.add_dock_widget(dock, name="Diagnosis", area="right")
    front = QLabel("another dock")
    window.add_dock_widget(front, name="Front", area="right", tabify=True)
    main = dock.window()
    main.show()
    QApplication.setActiveWindow(main)
    session.show_study(biplane())
    qtbot.keyClick(main, Qt.Key.Key_D, Qt.KeyboardModifier.AltModifier)
    wait_for(qtbot, lambda: bool(session.heat.layers))
    qtbot.keyClick(main, Qt.Key.Key_G, Qt.KeyboardModifier.AltModifier)
    assert not any(layer.visible for layer in session.heat.layers)


def test_accept_is_saved_and_can_be_taken_back(answered, session, qtbot):
    answered.verdict.comment.setText("textbook puff of smoke")
    click(qtbot, answered.verdict.accept_button)
    wait_for(qtbot, lambda: answered.verdict.status.text().startswith("Saved:"))
    store = session.store()
    case = store.find_case(session.study)
    revision = store.current_label(case)
    assert (revision.label, revision.verdict, revision.author) == ("MMD", "accepted", "reader")
    assert revision.comment == "textbook puff of smoke"
    assert revision.model_id == "clip-dsa-compact"
    assert answered.verdict.comment.text() == ""
    click(qtbot, answered.verdict.undo_button)
    qtbot.waitUntil(lambda: "Taken back" in answered.verdict.status.text())
    assert store.current_label(case) is None
    assert len(store.revisions(case)) == 2, "nothing was removed"


def test_correct_saves_the_other_class_and_a_later_look_says_so(answered, session, qtbot):
    answered.verdict.open_menu()
    actions = {action.data(): action for action in answered.verdict.menu.actions()}
    assert not actions["MMD"].isEnabled()
    actions["AS"].trigger()
    answered.verdict.menu.close()
    wait_for(qtbot, lambda: "corrected" in answered.verdict.status.text())
    study = session.study
    session.show_study(film())
    session.show_study(study)
    click(qtbot, answered.classify_button)
    wait_for(qtbot, lambda: "Before: Arterial stenosis, corrected" in answered.verdict.status.text())


def test_a_study_that_cannot_be_saved_says_so_and_keeps_the_comment(answered, session, qtbot, monkeypatch):
    from napari_clipmed.errors import WorkspaceError

    def refuse():
        raise WorkspaceError("The workspace cannot be written.", "Choose another folder.")

    monkeypatch.setattr(session, "store", refuse)
    answered.verdict.comment.setText("worth keeping")
    click(qtbot, answered.verdict.accept_button)
    qtbot.waitUntil(lambda: "cannot be written" in answered.failure.message)
    assert "Choose another folder" in answered.failure.message
    assert answered.verdict.comment.text() == "worth keeping"
    assert answered.verdict.status.text() == "Not saved."


def test_an_error_of_the_engine_is_a_sentence_and_the_dock_stays_usable(dock, session, engine, qtbot):
    engine.fail_with = ModelError("The weights do not match.", "Get the model again.")
    session.show_study(biplane())
    click(qtbot, dock.classify_button)
    qtbot.waitUntil(lambda: "do not match" in dock.failure.message)
    engine.fail_with = None
    click(qtbot, dock.classify_button)
    qtbot.waitUntil(lambda: session.diagnosis is not None)
    assert dock.failure.message == ""


def test_cancel_leaves_no_answer(dock, session, engine, qtbot):
    engine.slow = 3.0
    session.show_study(biplane())
    click(qtbot, dock.classify_button)
    qtbot.waitUntil(lambda: dock.job_bar.isVisible() and bool(engine.calls))
    click(qtbot, dock.job_bar.findChild(QPushButton, "job_cancel"))
    idle(qtbot, session)
    assert session.diagnosis is None
    assert not dock.job_bar.isVisible()
    assert "Press Classify" in dock.empty.text()


def test_another_study_meanwhile_discards_the_old_answer(dock, session, engine, qtbot):
    engine.slow = 0.4
    session.show_study(biplane("first"))
    click(qtbot, dock.classify_button)
    qtbot.waitUntil(lambda: bool(engine.calls))
    session.show_study(film())
    idle(qtbot, session)
    assert session.diagnosis is None


def test_a_single_view_is_answered_and_said_so(dock, session, qtbot):
    session.show_study(Study((run(Projection.AP),), Kind.ANGIOGRAM, title="one view"))
    click(qtbot, dock.classify_button)
    qtbot.waitUntil(lambda: session.diagnosis is not None)
    assert "Only the AP view" in dock.notes.text()
    assert dock.bars.bar("MMD").row.by_view == {}


def test_classify_on_open(session, dock, qtbot, monkeypatch):
    monkeypatch.setattr(type(session), "settings", property(lambda self: Settings(classify_on_open=True)))
    session.show_study(biplane())
    qtbot.waitUntil(lambda: session.diagnosis is not None)


def test_choosing_another_model_asks_it(answered, session, engine, qtbot):
    qtbot.waitUntil(lambda: answered.models.count() == 2)
    answered.models.setCurrentIndex(answered.models.findData("my-own"))
    answered.models.activated.emit(answered.models.currentIndex())
    qtbot.waitUntil(lambda: len(engine.asked("classify")) == 2)
    assert session.model_id("diagnosis") == "my-own"


def test_nothing_is_wider_than_the_least_dock(answered):
    assert answered.minimumSizeHint().width() <= 320


def test_after_another_subtraction_the_answer_is_of_the_earlier_picture(
    answered, engine, session, qtbot, monkeypatch
):
    dock = answered
    session.subtraction_changed.emit(0)
    assert "before its subtraction was changed" in dock.stale.text() and "Press Classify" in dock.stale.text()
    assert not dock._settling.isActive()
    settings = Settings(classify_on_open=True, author="reader")
    monkeypatch.setattr(type(session), "settings", property(lambda self: settings))
    dock._settling.setInterval(50)
    asked = len(engine.asked("classify"))
    for _ in range(3):
        session.subtraction_changed.emit(0)
    assert len(engine.asked("classify")) == asked, "not on each key press"
    wait_for(qtbot, lambda: len(engine.asked("classify")) == asked + 1)
    wait_for(qtbot, lambda: not dock.stale.text())
    idle(qtbot, session)
    assert len(engine.asked("classify")) == asked + 1
