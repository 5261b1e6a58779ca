"""Jobs run off the GUI thread, come back on it, and stop when they are told to."""

from __future__ import annotations

import threading
import time

import pytest

from napari_clipmed.errors import ClipmedError, ModelError
from napari_clipmed.gui.failures import UnexpectedError
from napari_clipmed.gui.jobs import JobRunner, JobState, duration
from napari_clipmed.progress import Progress


@pytest.fixture
def runner(qtbot):
    runner = JobRunner()
    yield runner
    runner.shutdown()


def forever(progress: Progress) -> None:
    while True:
        progress.step("Turning", 1, 4)
        time.sleep(0.005)


def test_work_runs_elsewhere_and_its_result_comes_back_on_the_gui_thread(runner, qtbot):
    seen = []
    runner.start(
        lambda progress: threading.current_thread(),
        title="Look",
        on_done=lambda worker: seen.append((worker, threading.current_thread())),
    )
    qtbot.waitUntil(lambda: bool(seen))
    worker, receiver = seen[0]
    assert worker is not threading.main_thread()
    assert receiver is threading.main_thread()


def test_steps_arrive_with_their_counts_and_the_last_one_is_never_lost(runner, qtbot):
    def count(progress: Progress) -> None:
        for i in range(1, 501):
            progress.step("Frames", i, 500)
        time.sleep(0.05)

    done = []
    job = runner.start(count, title="Count", on_done=lambda _: done.append(1))
    steps = []
    job.changed.connect(lambda: steps.append(job.step))
    qtbot.waitUntil(lambda: bool(done))
    assert steps[-1].done == 500
    assert len(steps) < 400, "steps are gathered, not queued one by one"


def test_a_cancelled_job_reads_cancelling_until_its_work_really_ended(runner, qtbot):
    release = threading.Event()

    def stubborn(progress: Progress) -> str:
        release.wait(5)
        return "finished anyway"

    done = []
    job = runner.start(stubborn, title="Stubborn", on_done=done.append)
    job.cancel()
    assert job.state is JobState.CANCELLING
    assert "Cancelling" in job.sentence()
    qtbot.wait(50)
    assert job.state is JobState.CANCELLING
    release.set()
    qtbot.waitUntil(lambda: job.state is JobState.CANCELLED)
    qtbot.wait(20)
    assert done == [], "a cancelled job hands over nothing"


def test_the_newer_job_of_a_key_replaces_the_older_and_only_the_newest_answers(runner, qtbot):
    answers = []
    at_work = []

    def work(name):
        def run(progress: Progress) -> str:
            at_work.append(name)
            for _ in range(6):
                progress.step("Working")
                time.sleep(0.01)
            return name

        return run

    jobs = [runner.start(work(i), title=f"{i}", on_done=answers.append, key="classify") for i in range(4)]
    assert [job.state for job in jobs] == [
        JobState.CANCELLING,
        JobState.CANCELLED,
        JobState.CANCELLED,
        JobState.WAITING,
    ]
    qtbot.waitUntil(lambda: bool(answers))
    assert answers == [3]
    assert at_work == [0, 3], "jobs that never got their turn never ran"
    assert runner.active == ()


def test_an_error_for_people_arrives_unchanged(runner, qtbot):
    def fail(progress: Progress) -> None:
        raise ModelError("No such model.", "Choose another.")

    errors: list[ClipmedError] = []
    runner.start(fail, title="Load", on_done=lambda _: None, on_error=errors.append)
    qtbot.waitUntil(lambda: bool(errors))
    assert isinstance(errors[0], ModelError)


def test_an_unexpected_error_becomes_a_sentence_and_the_log_names_nobody(runner, qtbot, caplog):
    def fail(progress: Progress) -> None:
        raise ValueError("DOE^JANE could not be parsed")

    with qtbot.waitSignal(runner.failed) as heard:
        runner.start(fail, title="Read", on_done=lambda _: None)
    error = heard.args[1]
    assert isinstance(error, UnexpectedError)
    assert "ValueError" in error.message and "Traceback" not in error.message
    assert "DOE^JANE" in error.details
    assert "DOE" not in caplog.text and "ValueError" in caplog.text


def test_closing_cancels_and_joins(qtbot):
    runner = JobRunner()
    job = runner.start(forever, title="For ever", on_done=lambda _: None)
    runner.shutdown()
    assert job.join(0)
    late = []
    runner.start(lambda progress: 1, title="Late", on_done=late.append)
    qtbot.wait(30)
    assert late == [], "nothing starts in a closing window"


def test_a_long_job_shows_in_the_activity_dialog_and_can_be_cancelled_there(make_napari_viewer_proxy, qtbot):
    from napari.utils import progress

    make_napari_viewer_proxy()
    runner = JobRunner()
    job = runner.start(forever, title="Turning round", on_done=lambda _: None)
    qtbot.waitUntil(lambda: any("Turning" in line.desc for line in progress._all_instances))
    (line,) = progress._all_instances
    line.cancel()
    qtbot.waitUntil(lambda: job.state is JobState.CANCELLED)
    assert len(progress._all_instances) == 0


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.2, "1 s"), (8.4, "8 s"), (200, "3 min"), (4800, "1 h 20 min")]
)
def test_time_left_is_said_in_short_words(seconds, words):
    assert duration(seconds) == words
