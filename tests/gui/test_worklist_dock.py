"""The Worklist dock, by clicks and keys, over real files and a tiny model."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QApplication

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))

from small_models import add_diagnosis_model  # noqa: E402
from worklist_folder import make_folder, make_pair  # noqa: E402

from napari_clipmed.gui.background import ANSWER_ALL, READ_AHEAD, THUMBNAILS  # noqa: E402
from napari_clipmed.gui.diagnosis_dock import DiagnosisDock  # noqa: E402
from napari_clipmed.gui.session import session_for  # noqa: E402
from napari_clipmed.gui.settings import Settings  # noqa: E402
from napari_clipmed.gui.shortcuts import dock_around  # noqa: E402
from napari_clipmed.gui.worklist_dock import WorklistDock  # noqa: E402
from napari_clipmed.models.registry import Registry  # noqa: E402
from napari_clipmed.records import Store  # noqa: E402
from napari_clipmed.worklist.lines import Status  # noqa: E402
from napari_clipmed.worklist.words import Order  # noqa: E402

PATIENCE = 60_000


@pytest.fixture
def chosen() -> Settings:
    return Settings(classify_on_open=False, author="AB", read_ahead=False)


@pytest.fixture
def session(make_napari_viewer_proxy, monkeypatch, clipmed_home: Path, chosen: Settings):
    add_diagnosis_model(Registry([clipmed_home / "models"]))
    session = session_for(make_napari_viewer_proxy())
    session.choose_model("diagnosis", "tiny-dsa")
    monkeypatch.setattr(type(session), "settings", property(lambda self: chosen))
    yield session
    session.jobs.shutdown()


@pytest.fixture
def dock(session, qtbot):
    dock = WorklistDock(session.viewer)
    qtbot.addWidget(dock)
    dock.resize(340, 620)
    dock.show()
    idle(qtbot, session)
    return dock


@pytest.fixture
def exams(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "exams")


@pytest.fixture
def filled(dock, session, qtbot, exams):
    dock.desk.add([exams])
    idle(qtbot, session)
    return dock


def idle(qtbot, session):
    qtbot.waitUntil(lambda: not session.busy, timeout=PATIENCE)


def click(qtbot, widget):
    qtbot.mouseClick(widget, Qt.MouseButton.LeftButton)


def titles(dock) -> list[str]:
    return [line.listed.title for line in dock.desk.model.shown]


def click_row(qtbot, dock, row: int):
    place = dock.table.visualRect(dock.desk.model.index(row, 0)).center()
    qtbot.mouseClick(dock.table.viewport(), Qt.MouseButton.LeftButton, pos=place)


def test_an_empty_list_says_what_to_do_and_makes_no_workspace(dock, session):
    assert "Add a folder" in dock.empty.text() and dock.empty.isVisible()
    assert not dock.next.isEnabled() and dock.next.toolTip() == "Add cases first"
    assert not dock.classify.isEnabled() and dock.classify.toolTip()
    assert not session.workspace.exists()


def test_cases_are_added_opened_and_walked_through_past_a_bad_one(filled, session, qtbot):
    dock, model = filled, filled.desk.model
    assert titles(dock) == ["exam 1/AP.dcm + LA.dcm", "exam 2/AP.dcm + LA.dcm", "film.png", "cut.dcm"]
    assert "1 cannot be read" in dock.note.text()
    assert dock.progress.text() == "0 of 3 reviewed"
    assert model.line_at(3).status is Status.PROBLEM
    click_row(qtbot, dock, 1)
    idle(qtbot, session)
    assert dock.desk.current == model.line_at(1).listed and len(session.study.views) == 2
    click(qtbot, dock.next)
    idle(qtbot, session)
    assert session.study.kind == "chest"
    click(qtbot, dock.next)  # the damaged one: told, and the walk goes on from there
    idle(qtbot, session)
    assert "cut.dcm" in dock.note.text() and session.study.kind == "chest"
    click(qtbot, dock.next)
    assert "last case" in dock.note.text()
    click(qtbot, dock.previous)
    idle(qtbot, session)
    assert dock.desk.current == model.line_at(2).listed
    qtbot.waitUntil(lambda: model.picture(model.line_at(0)) is not model._blank, timeout=PATIENCE)
    with Store.open(session.workspace, read_only=True) as store:
        assert [bool(entry.problem) for entry in store.worklist()] == [False, False, False, True]


def test_alt_arrows_walk_through_the_list_unless_the_subtraction_is_on_screen(filled, session, qtbot):
    from napari_clipmed.gui.study_dock import StudyDock

    window, study_dock = session.viewer.window, StudyDock(session.viewer)
    for widget, name in ((filled, "Worklist"), (study_dock, "Study")):
        window.add_dock_widget(widget, name=name, area="right")
    main = filled.window()
    main.show()
    QApplication.setActiveWindow(main)
    dock_around(study_dock).hide()
    right, alt = Qt.Key.Key_Right, Qt.KeyboardModifier.AltModifier
    shifted: list[int] = []
    session.side_keys.shift = shifted.append
    for row in (0, 1):
        qtbot.keyClick(main, right, alt)
        idle(qtbot, session)
        assert filled.desk.current == filled.desk.model.line_at(row).listed
    assert shifted == []
    dock_around(study_dock).show()
    qtbot.waitUntil(study_dock.subtraction.isVisible, timeout=PATIENCE)
    qtbot.keyClick(main, right, alt)
    qtbot.keyClick(main, Qt.Key.Key_Left, alt)
    assert shifted == [1, -1] and filled.desk.current == filled.desk.model.line_at(1).listed


def test_filters_orders_and_removal(filled, session, qtbot):
    dock = filled
    click(qtbot, dock.filter)
    dock.filters.status.setCurrentText("Cannot be read")
    assert titles(dock) == ["cut.dcm"]
    dock.filters.status.setCurrentText("Reviewed")
    assert titles(dock) == [] and "No case passes" in dock.empty.text()
    click(qtbot, dock.filters.reset)
    dock.filters.words.setText("EXAM 2")
    assert titles(dock) == ["exam 2/AP.dcm + LA.dcm"]
    dock.table.selectRow(0)
    dock.remove.trigger()
    idle(qtbot, session)
    click(qtbot, dock.filters.reset)
    assert "exam 2/AP.dcm + LA.dcm" not in titles(dock) and len(titles(dock)) == 3


def test_classify_all_then_the_most_uncertain_first_and_similar_cases(filled, session, qtbot):
    dock, desk = filled, filled.desk
    assert dock.classify.toolTip().startswith("Ask the model about 2 cases")
    click(qtbot, dock.classify)
    qtbot.waitUntil(lambda: session.jobs.running(ANSWER_ALL) is None, timeout=PATIENCE)
    idle(qtbot, session)
    assert dock.note.text() == "2 cases answered."
    assert not dock.classify.isEnabled() and "has an answer" in dock.classify.toolTip()
    desk.set_order(Order.UNCERTAINTY)
    idle(qtbot, session)
    from napari_clipmed.worklist.orders import entropy

    doubts = [entropy(line.answer.combined) for line in desk.model.shown if line.answer]
    assert len(doubts) == 2 and doubts == sorted(doubts, reverse=True)
    assert "unsure" in desk.model.data(desk.model.index(0, 2))
    diagnosis_dock = DiagnosisDock(session.viewer)
    qtbot.addWidget(diagnosis_dock)
    click_row(qtbot, dock, 0)
    idle(qtbot, session)
    dock.tabs.setCurrentIndex(1)
    assert not dock.similar.like_this.isEnabled() and dock.similar.like_this.toolTip()
    click(qtbot, diagnosis_dock.classify_button)
    qtbot.waitUntil(lambda: dock.similar.list.count() == 1, timeout=PATIENCE)
    idle(qtbot, session)
    other = desk.model.line_at(1)
    assert other.listed.title in dock.similar.list.item(0).text()
    dock.similar.sentence.setText("a sentence")
    click(qtbot, dock.similar.search)
    qtbot.waitUntil(lambda: dock.similar.list.count() == 2, timeout=PATIENCE)
    assert "a sentence" in dock.similar.asked.text()
    rows = [dock.similar.list.item(row) for row in range(2)]
    item = next(item for item in rows if other.listed.title in item.text())
    place = dock.similar.list.visualItemRect(item).center()
    qtbot.mouseClick(dock.similar.list.viewport(), Qt.MouseButton.LeftButton, pos=place)
    idle(qtbot, session)
    assert desk.current.key == other.listed.key


def test_pausing_holds_the_job_and_cancelling_ends_it(filled, session, qtbot):
    dock, desk = filled, filled.desk
    desk.gate.hold("person")  # as while somebody waits for an answer
    click(qtbot, dock.classify)
    click(qtbot, dock.pause)
    desk.gate.release("person")
    assert dock.pause.text() == "Go on" and desk.gate.held
    session.jobs.cancel(ANSWER_ALL)
    qtbot.waitUntil(lambda: session.jobs.running(ANSWER_ALL) is None, timeout=PATIENCE)
    assert not dock.pause.isChecked() and not desk.gate.held
    assert dock.classify.isEnabled()


def test_accept_opens_the_next_case_and_every_answer_is_kept(filled, session, qtbot):
    dock, desk = filled, filled.desk
    diagnosis_dock = DiagnosisDock(session.viewer)
    qtbot.addWidget(diagnosis_dock)
    diagnosis_dock.show()
    click_row(qtbot, dock, 0)
    idle(qtbot, session)
    click(qtbot, diagnosis_dock.classify_button)
    qtbot.waitUntil(lambda: desk.model.line_at(0).answer is not None, timeout=PATIENCE)
    idle(qtbot, session)
    with Store.open(session.workspace, read_only=True) as store:
        (case,) = store.newest_answers()
        assert store.worklist()[0].case_id == case
    click(qtbot, diagnosis_dock.verdict.accept_button)
    qtbot.waitUntil(lambda: desk.current == desk.model.line_at(1).listed, timeout=PATIENCE)
    idle(qtbot, session)
    assert desk.model.line_at(0).status is Status.REVIEWED
    assert dock.progress.text() == "1 of 3 reviewed"


@pytest.mark.parametrize("chosen", [Settings(classify_on_open=False, read_ahead=True)])
def test_a_case_that_was_read_ahead_touches_neither_decoder_nor_trunk(
    filled, session, qtbot, monkeypatch, chosen
):
    from napari_clipmed.inference.loaded import Loaded
    from napari_clipmed.io import study_reader

    dock, desk = filled, filled.desk
    click_row(qtbot, dock, 0)
    coming = desk.model.line_at(1).listed
    qtbot.waitUntil(lambda: desk.ahead.ready == coming.key, timeout=PATIENCE)
    touched: list[str] = []
    monkeypatch.setattr(study_reader, "RunDecoder", lambda *a: touched.append("decoder"))
    monkeypatch.setattr(Loaded, "read_view", lambda *a: touched.append("trunk"))
    click(qtbot, dock.next)
    qtbot.waitUntil(lambda: desk.current is not None and desk.current.key == coming.key, timeout=PATIENCE)
    answer = session.engine().classify(session.study)
    assert set(answer.probabilities) == {"AP", "LA", "both"} and touched == []


@pytest.mark.parametrize("chosen", [Settings(classify_on_open=False, read_ahead=True)])
def test_reading_ahead_gives_way_at_once_and_follows_the_order(filled, session, qtbot, chosen):
    desk = filled.desk
    click_row(qtbot, filled, 0)
    qtbot.waitUntil(lambda: session.jobs.running(READ_AHEAD) is not None, timeout=PATIENCE)
    job = session.jobs.running(READ_AHEAD)
    session.jobs.start(lambda progress: None, title="Ask", on_done=lambda _: None, key="classify")
    assert job.state in ("cancelling", "cancelled")
    qtbot.waitUntil(lambda: desk.ahead.ready == desk.model.line_at(1).listed.key, timeout=PATIENCE)
    desk.ahead.want(None)
    assert desk.ahead.take(desk.model.line_at(1).listed.key) is None  # the order changed: it is forgotten


def test_a_folder_that_is_dropped_is_added(dock, session, qtbot, tmp_path):
    from qtpy.QtCore import QMimeData, QUrl
    from qtpy.QtGui import QDropEvent

    make_pair(tmp_path / "dropped")
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(tmp_path / "dropped"))])
    event = QDropEvent(
        QPoint(5, 5),
        Qt.DropAction.CopyAction,
        data,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    dock.dropEvent(event)
    idle(qtbot, session)
    assert titles(dock) == ["AP.dcm + LA.dcm"]
    assert session.jobs.running(THUMBNAILS) is None
