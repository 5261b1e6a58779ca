"""The Fine-tune dock: the plan from a real store, the round in a real process that stands in for ours."""

from __future__ import annotations

import json
import threading
from functools import partial
from pathlib import Path

import pytest
import torch
from dock_fakes import biplane, film, registry_with
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QInputDialog, QPushButton, QRadioButton

from napari_clipmed.gui import finetune_dock
from napari_clipmed.gui.finetune_dock import FINETUNE, FinetuneDock
from napari_clipmed.gui.process_job import ProcessJob
from napari_clipmed.gui.session import session_for
from napari_clipmed.models import promotion
from napari_clipmed.records import Store
from napari_clipmed.training import finetune_plan
from napari_clipmed.training.finetune_run import Run

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


def test_a_round_draws_curves_and_its_model_can_be_used_at_once(planned, session, qtbot, monkeypatch):
    click(qtbot, planned.start_button)
    assert not planned.start_button.isEnabled()
    wait_for(qtbot, lambda: "It improved" in planned.outcome.text.text())
    assert planned.plot.n_epochs == 5
    assert "Macro F1: 0.610 before, 0.820 after" in planned.outcome.text.text()
    assert "kept for validation" in planned.outcome.text.text()
    monkeypatch.setattr(promotion, "load_network", lambda entry: None)
    click(qtbot, planned.outcome.use_button)
    wait_for(qtbot, lambda: session.model_id("diagnosis") == "clip-dsa-compact-ft1")
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
    assert not planned.outcome.use_button.isVisible()
    wait_for(qtbot, planned.start_button.isEnabled)


@pytest.mark.parametrize(
    ("mode", "sentence"),
    [
        ("fails", "The disk is full."),
        ("crashes", "stopped unexpectedly (exit code 3)"),
        ("killed", "stopped unexpectedly"),
    ],
)
def test_a_failure_is_a_sentence(planned, session, qtbot, monkeypatch, mode, sentence):
    monkeypatch.setenv("FAKE_FINETUNE", mode)
    click(qtbot, planned.start_button)
    wait_for(qtbot, lambda: sentence in planned.failure.message)
    assert planned.outcome.text.text() == ""


def told_to(path: Path) -> list[str]:
    return json.loads(path.read_text(encoding="utf-8"))


def test_what_an_expert_sets_is_handed_to_the_command(planned, qtbot, monkeypatch, tmp_path):
    monkeypatch.setenv("FAKE_FINETUNE_TELLS", str(tmp_path / "told"))
    assert not planned.experts.fields["epochs"].isVisible()
    click(qtbot, planned.experts.fold)
    planned.experts.fields["epochs"].setText("7")
    planned.experts.switches["balance"].setChecked(False)
    click(qtbot, planned.findChild(QRadioButton, "strategy_adapter"))
    wait_for(qtbot, planned.start_button.isEnabled)
    assert "Takes at most about" in planned.needs.text()
    click(qtbot, planned.start_button)
    wait_for(qtbot, (tmp_path / "told").exists)
    wait_for(qtbot, lambda: "It improved" in planned.outcome.text.text())
    said = told_to(tmp_path / "told")
    assert said[said.index("--epochs") + 1] == "7"
    assert said[said.index("--strategy") + 1] == "adapter"
    assert "--no-balance" in said
    assert "base model's own kind: Macro F1 0.700 before, 0.690 after" in planned.outcome.text.text()
    assert planned.outcome.report == planned.session.workspace / "runs/20260101-000000-000000/report.html"


def test_without_memory_the_processor_is_offered(planned, qtbot, monkeypatch, tmp_path):
    monkeypatch.setenv("FAKE_FINETUNE", "no memory")
    click(qtbot, planned.start_button)
    wait_for(qtbot, planned.cpu_button.isVisible)
    monkeypatch.setenv("FAKE_FINETUNE", "works")
    monkeypatch.setenv("FAKE_FINETUNE_TELLS", str(tmp_path / "told"))
    wait_for(qtbot, planned.start_button.isEnabled)
    click(qtbot, planned.cpu_button)
    wait_for(qtbot, lambda: "It improved" in planned.outcome.text.text())
    said = told_to(tmp_path / "told")
    assert said[said.index("--device") + 1] == "cpu"


def test_a_round_that_stopped_can_go_on_or_be_discarded(planned, session, qtbot, monkeypatch, tmp_path):
    config = {"strategy": "head", "epochs": 40}
    run = Run.begin(session.workspace / "runs", {"task": "diagnosis", "config": config})
    run.save(3, {"learning.0": torch.zeros(1)})
    planned.look()
    wait_for(qtbot, lambda: "stopped after epoch 3 of 40" in planned.stopped.text())
    monkeypatch.setenv("FAKE_FINETUNE_TELLS", str(tmp_path / "told"))
    wait_for(qtbot, planned.start_button.isEnabled)
    click(qtbot, planned.resume_button)
    wait_for(qtbot, lambda: "It improved" in planned.outcome.text.text())
    assert told_to(tmp_path / "told")[-4:-2] == ["--resume", run.id]
    wait_for(qtbot, planned.start_button.isEnabled)
    click(qtbot, planned.discard_button)
    wait_for(qtbot, lambda: not planned.stopped.isVisible())
    assert not run.folder.exists()


def test_a_worse_model_needs_a_reason_and_can_be_taken_back(planned, session, qtbot, monkeypatch):
    click(qtbot, planned.start_button)
    wait_for(qtbot, lambda: "It improved" in planned.outcome.text.text())
    entry = session.registry().get("clip-dsa-compact-ft1")
    worse = {"finetune": {"before": {"macro_f1": 0.8}, "after": {"macro_f1": 0.7}}}
    card = entry.card.model_copy(update={"metrics": worse, "parent": "clip-dsa-compact"})
    (entry.folder / "card.json").write_text(card.model_dump_json(), encoding="utf-8")
    asked = []
    monkeypatch.setattr(promotion, "load_network", lambda entry: None)
    monkeypatch.setattr(
        QInputDialog, "getText", lambda parent, title, text: (asked.append(text), ("It reads films", True))[1]
    )
    click(qtbot, planned.outcome.use_button)
    wait_for(qtbot, lambda: session.registry().default("diagnosis").id == entry.id)
    assert "worse than clip-dsa-compact" in asked[0]
    wait_for(qtbot, planned.outcome.back_button.isVisible)
    assert promotion.promotions(session.registry().roots[-1])[-1]["reason"] == "It reads films"
    click(qtbot, planned.outcome.back_button)
    wait_for(qtbot, lambda: session.registry().default("diagnosis").id == "clip-dsa-compact")
    wait_for(qtbot, lambda: session.model_id("diagnosis") == "clip-dsa-compact")


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
