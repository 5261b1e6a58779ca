"""The Fine-tune dock: the plan from a real store, the round in a real process that stands in for ours."""

from __future__ import annotations

import threading
from functools import partial
from pathlib import Path

import pytest
from dock_fakes import biplane, film, registry_with
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QPushButton, QRadioButton

from napari_clipmed.gui import finetune_dock
from napari_clipmed.gui.finetune_dock import FINETUNE, FinetuneDock
from napari_clipmed.gui.process_job import ProcessJob
from napari_clipmed.gui.session import session_for
from napari_clipmed.records import Store
from napari_clipmed.training import finetune_plan

HERE = Path(__file__).parent


@pytest.fixture
def session(make_napari_viewer_proxy, monkeypatch, tmp_path):
    session = session_for(make_napari_viewer_proxy())
    models = {"clip-dsa-compact": "diagnosis", "clip-dsa-compact-ft1": "diagnosis"}
    registry = registry_with(tmp_path / "models", **models)
    monkeypatch.setattr(session, "registry", lambda: registry)
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    monkeypatch.setattr(finetune_dock, "ProcessJob", partial(ProcessJob, module="fake_finetune_cli"))
    yield session
    session.jobs.shutdown()


@pytest.fixture
def dock(session, qtbot):
    dock = FinetuneDock(session.viewer)
    qtbot.addWidget(dock)
    dock.resize(340, 900)
    return dock


def wait_for(qtbot, condition):
    qtbot.waitUntil(condition, timeout=60_000)


def click(qtbot, widget):
    qtbot.mouseClick(widget, Qt.MouseButton.LeftButton)


def teach(workspace: Path) -> None:
    with Store.open(workspace) as store:
        for study, label in ((biplane(), "MMD"), (film(), "AS")):
            case = store.case_for(study)
            pixels = study.views[0].pixels[:2]
            store.save_inputs(case, {"AP": pixels, "LA": pixels})
            store.add_label(case, label, "corrected")


@pytest.fixture
def planned(dock, session, qtbot):
    teach(session.workspace)
    dock.show()
    wait_for(qtbot, lambda: dock.plan is not None and dock.start_button.isEnabled())
    return dock


def test_an_empty_workspace_says_what_to_do_and_is_not_made(dock, session, qtbot):
    dock.show()
    wait_for(qtbot, lambda: "Nothing was saved yet" in dock.problem.text())
    assert not dock.start_button.isEnabled() and "Nothing was saved" in dock.start_button.toolTip()
    assert not session.workspace.exists()


def test_the_plan_shows_counts_and_doubts_and_is_made_off_the_gui_thread(dock, session, qtbot, monkeypatch):
    threads = []
    real = finetune_plan.plan
    monkeypatch.setattr(
        finetune_plan, "plan", lambda *a: (threads.append(threading.current_thread()), real(*a))[1]
    )
    teach(session.workspace)
    dock.show()
    wait_for(qtbot, lambda: dock.table.rowCount() == 2)
    assert {dock.table.item(row, 0).text() for row in range(2)} == {"MMD", "AS"}
    assert dock.table.item(0, 1).text() == "1 of 1 pat."
    assert "Trains on 2 studies" in dock.sentences.text()
    assert "Too few patients" in dock.sentences.text()
    assert threading.main_thread() not in threads


def test_a_round_draws_curves_and_its_model_can_be_used_at_once(planned, session, qtbot):
    click(qtbot, planned.start_button)
    assert not planned.start_button.isEnabled()
    wait_for(qtbot, lambda: "It improved" in planned.result.text())
    assert planned.plot.n_epochs == 5
    assert "Macro F1: 0.610 before, 0.820 after" in planned.result.text()
    assert "kept for validation" in planned.result.text()
    click(qtbot, planned.use_button)
    assert session.model_id("diagnosis") == "clip-dsa-compact-ft1"
    wait_for(qtbot, lambda: session.registry().default("diagnosis").id == "clip-dsa-compact-ft1")
    wait_for(qtbot, lambda: planned.bases["diagnosis"].model_id == "clip-dsa-compact-ft1")


def test_cancel_ends_the_process_and_says_so(planned, session, qtbot, monkeypatch):
    monkeypatch.setenv("FAKE_FINETUNE", "endless")
    click(qtbot, planned.start_button)
    wait_for(qtbot, lambda: planned.plot.n_epochs > 0)
    job = session.jobs.running(FINETUNE)
    click(qtbot, planned.job_bar.findChild(QPushButton, "job_cancel"))
    assert job.state in ("cancelling", "cancelled")
    wait_for(qtbot, lambda: session.jobs.running(FINETUNE) is None)
    assert "Cancelled" in planned.epoch.text()
    assert not planned.use_button.isVisible()
    wait_for(qtbot, planned.start_button.isEnabled)


@pytest.mark.parametrize(
    ("mode", "sentence"), [("fails", "The disk is full."), ("crashes", "stopped unexpectedly (exit code 3)")]
)
def test_a_failure_is_a_sentence(planned, session, qtbot, monkeypatch, mode, sentence):
    monkeypatch.setenv("FAKE_FINETUNE", mode)
    click(qtbot, planned.start_button)
    wait_for(qtbot, lambda: sentence in planned.failure.message)
    assert planned.result.text() == ""


def test_closing_the_window_ends_the_process(planned, session, qtbot, monkeypatch):
    monkeypatch.setenv("FAKE_FINETUNE", "endless")
    click(qtbot, planned.start_button)
    wait_for(qtbot, lambda: planned.plot.n_epochs > 0)
    job = session.jobs.running(FINETUNE)
    session.jobs.shutdown()
    assert job.join(0)


def test_the_other_task_has_its_own_plan(planned, session, qtbot):
    click(qtbot, planned.findChild(QRadioButton, "task_segmentation"))
    wait_for(qtbot, lambda: "No segmentation model" in planned.failure.message)
    assert not planned.start_button.isEnabled()


def test_nothing_is_wider_than_the_least_dock(planned):
    assert planned.minimumSizeHint().width() <= 320
