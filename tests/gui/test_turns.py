"""Long work of the GUI thread itself: in steps, with libraries left out of garbage collection."""

from __future__ import annotations

import gc
import time

import pytest
from qtpy.QtCore import QMetaObject, QObject, Qt, QTimer, Slot
from studies import biplane, chest

from napari_clipmed.gui import garbage
from napari_clipmed.gui.layers import Role, tag_of
from napari_clipmed.gui.opening import Folder, Opened
from napari_clipmed.gui.session import session_for
from napari_clipmed.gui.turns import Turns


def counting(done: list, name: str, steps: int):
    for number in range(steps):
        done.append(f"{name}{number}")
        yield
    done.append(f"{name} ends")


def test_one_step_a_turn_and_one_after_the_other(qtbot):
    turns, done = Turns(), []
    turns.run(counting(done, "a", 2))
    turns.run(counting(done, "b", 1))
    assert turns.busy and not done
    QTimer.singleShot(0, lambda: done.append("a question"))
    qtbot.waitUntil(lambda: not turns.busy)
    assert [step for step in done if step != "a question"] == ["a0", "a1", "a ends", "b0", "b ends"]
    assert done.index("a question") < done.index("b ends")


def test_what_is_dropped_stays_undone(qtbot):
    turns, done = Turns(), []
    turns.run(counting(done, "a", 5))
    qtbot.waitUntil(lambda: bool(done))
    turns.drop()
    so_far = list(done)
    qtbot.wait(60)
    assert done == so_far and not turns.busy


def test_a_failing_step_ends_the_rest(qtbot):
    turns, done = Turns(), []

    def failing():
        yield
        raise ValueError("no")

    turns.run(failing())
    turns.run(counting(done, "b", 1))
    with qtbot.capture_exceptions() as raised:
        qtbot.waitUntil(lambda: not turns.busy)
    assert [kind for kind, *_ in raised] == [ValueError] and not done


def test_done_at_once_where_nothing_is_in_turns_and_after_it_where_something_is(qtbot):
    turns, done = Turns(), []
    turns.run_or_do(counting(done, "a", 1))
    assert done == ["a0", "a ends"] and not turns.busy
    turns.run(counting(done, "b", 1))
    turns.run_or_do(counting(done, "c", 1))
    assert len(done) == 2
    qtbot.waitUntil(lambda: not turns.busy)
    assert done[2:] == ["b0", "b ends", "c0", "c ends"]


def test_a_question_that_waits_is_answered_before_the_next_step(qtbot):
    """The step queues behind what was posted before its time came, where a timer would be served first."""
    turns, done = Turns(), []

    def busy():
        for number in range(3):
            done.append(f"step {number}")
            QMetaObject.invokeMethod(asker, "ask", Qt.ConnectionType.QueuedConnection)
            time.sleep(0.03)  # the next step is due meanwhile
            yield

    class Asker(QObject):
        @Slot()
        def ask(self) -> None:
            done.append("answer")

    asker = Asker()
    turns.run(busy())
    qtbot.waitUntil(lambda: not turns.busy)
    assert done == ["step 0", "answer", "step 1", "answer", "step 2", "answer"]


@pytest.fixture
def session(make_napari_viewer_proxy):
    return session_for(make_napari_viewer_proxy())


def opening(study):
    return lambda progress, show: Opened(study, Folder(()), 0)


def open_and_then(session, act, qtbot):
    """Open a pair, and act when the first of its layers is there."""
    acted = []

    def once(event=None) -> None:
        if not acted:
            acted.append(len(session.viewer.layers))
            QTimer.singleShot(0, act)

    session.viewer.layers.events.inserted.connect(once)
    session.open_by(opening(biplane()), "pair")
    qtbot.waitUntil(lambda: bool(acted), timeout=10_000)
    qtbot.wait(150)
    assert acted == [1]


def test_a_study_that_was_read_is_hung_layer_by_layer(session, qtbot):
    told, seen = [], []
    session.study_changed.connect(told.append)
    session.viewer.layers.events.inserted.connect(lambda event: seen.append(session.study))
    session.open_by(opening(biplane()), "pair")
    qtbot.waitUntil(lambda: bool(seen), timeout=10_000)
    assert session.study is None and session.busy and not told
    qtbot.waitUntil(lambda: not session.busy, timeout=10_000)
    assert session.study is told[-1] and len(told) == 1
    assert seen == [None] * 4  # two views, border, titles: nobody works on half a study


def test_closing_in_the_middle_leaves_an_empty_canvas(session, qtbot):
    open_and_then(session, session.close_study, qtbot)
    assert session.study is None and not session.viewer.layers and not session.turns.busy


def test_another_study_in_the_middle_takes_its_place(session, qtbot):
    film = chest()
    open_and_then(session, lambda: session.show_study(film), qtbot)
    assert session.study is film
    assert [tag_of(layer).role for layer in session.viewer.layers] == [Role.IMAGE, Role.TITLES]


def test_libraries_are_left_out_of_collections_until_the_window_closes(make_napari_viewer_proxy, monkeypatch):
    monkeypatch.setattr(garbage, "_left_out", 0)
    gc.unfreeze()
    viewer = make_napari_viewer_proxy()
    session_for(viewer)
    assert gc.get_freeze_count() > 10_000
    assert not garbage.leave_out_libraries()  # nothing new was imported
    with garbage.importing_much():
        assert not gc.isenabled()
    assert gc.isenabled()
    viewer.close()
    assert gc.get_freeze_count() == 0


def test_nothing_more_is_done_in_a_window_that_is_being_closed(qtbot) -> None:
    open_, done, tidied = True, [], []

    def steps():
        try:
            for number in range(100):
                done.append(number)
                yield
        finally:
            tidied.append(True)

    turns = Turns(wanted=lambda: open_)
    turns.run(steps())
    qtbot.waitUntil(lambda: len(done) >= 2)
    open_ = False
    qtbot.waitUntil(lambda: not turns.busy)
    before = len(done)
    qtbot.wait(50)
    assert len(done) == before < 100
    assert tidied == [True]
