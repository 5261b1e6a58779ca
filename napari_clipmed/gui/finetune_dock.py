"""The Fine-tune dock: what will be learned from, start, live curves, cancel, and the new model.

Training runs in a process of its own, by the same command as on the command line; see `process_job`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QButtonGroup,
    QHBoxLayout,
    QHeaderView,
    QPushButton,
    QRadioButton,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.finetune_words import MERIT, STRATEGIES, TASKS, compare, judged_on
from napari_clipmed.gui.job_bar import JobBar
from napari_clipmed.gui.jobs import duration
from napari_clipmed.gui.process_job import Event, ProcessJob
from napari_clipmed.gui.session import session_for
from napari_clipmed.gui.shortcuts import dock_around
from napari_clipmed.gui.theme import (
    banner,
    fill_dock,
    hint_label,
    say,
    section,
    wrapped_label,
)
from napari_clipmed.gui.widgets.failure_note import FailureNote
from napari_clipmed.gui.widgets.learning_plot import LearningPlot
from napari_clipmed.gui.widgets.model_chooser import ModelChooser
from napari_clipmed.progress import Progress

if TYPE_CHECKING:
    import napari

    from napari_clipmed.models.card import Task
    from napari_clipmed.training.finetune_plan import FinetunePlan

FINETUNE, PLAN = "finetune", "finetune-plan"
NOTHING_SAVED = "Nothing was saved yet. Accept or correct some diagnoses or masks first; those are learned."
PLANNING = "Looking through the workspace …"
RUNNING = "A round is running; cancel it first"
COLUMNS = ("Class", "Train", "Validate")


class FinetuneDock(QWidget):
    """Plan, start, watch, use.

    Parameters
    ----------
    viewer : napari.Viewer
        Given by napari; may be its public proxy.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.setObjectName("finetune_dock")
        self.session = session_for(viewer)
        self.plan: FinetunePlan | None = None
        self.new_model_id = ""
        self._new_task: Task = "diagnosis"
        self._followed = False
        self._build()
        self._connect()
        self._on_task()

    # -- parts --------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.tasks = _Choice({key: (title, "") for key, title in TASKS.items()}, "task")
        self.strategies = _Choice(STRATEGIES, "strategy")
        self.bases: dict[str, ModelChooser] = {
            "diagnosis": ModelChooser(self.session, "diagnosis"),
            "segmentation": ModelChooser(self.session, "segmentation"),
        }
        self.refresh_button = QPushButton("Look again")
        self.refresh_button.setObjectName("refresh_plan")
        self.refresh_button.setToolTip("Count the saved cases again")
        self.table = QTableWidget(0, len(COLUMNS))
        self.table.setObjectName("plan_table")
        self.table.setHorizontalHeaderLabels(COLUMNS)
        self.table.verticalHeader().setVisible(False)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
        self.table.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        header = self.table.horizontalHeader()
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.problem = banner("", "warning", "plan_problem")
        self.sentences = wrapped_label(name="plan_sentences")
        self.start_button = QPushButton("Start fine-tuning")
        self.start_button.setObjectName("start_finetune")
        self.job_bar = JobBar(self.session.jobs, (FINETUNE, PLAN))
        self.failure = FailureNote()
        self.epoch = hint_label("", "epoch")
        self.plot = LearningPlot()
        self.plot.setVisible(False)
        self.result = banner("", "info", "finetune_result")
        self.use_button = QPushButton("Use this model")
        self.use_button.setObjectName("use_model")
        self.use_button.setToolTip("It answers from now on; the model before stays and can be chosen again")
        self.use_button.setVisible(False)

        fill_dock(
            self,
            section("What to teach", self.tasks.widget, *self.bases.values()),
            section(
                "What will be learned from", self.problem, self.table, self.sentences, self.refresh_button
            ),
            section("How much of the model learns", self.strategies.widget),
            self.start_button,
            self.job_bar,
            self.failure,
            self.epoch,
            self.plot,
            self.result,
            self.use_button,
        )

    def _connect(self) -> None:
        self.tasks.group.buttonClicked.connect(self._on_task)
        self.refresh_button.clicked.connect(self.look)
        self.start_button.clicked.connect(self.start)
        self.use_button.clicked.connect(self.use_new_model)
        self.session.models_changed.connect(self._on_models_changed)

    @property
    def task(self) -> Task:
        """What is to be taught."""
        return "segmentation" if self.tasks.choice == "segmentation" else "diagnosis"

    # -- the plan -----------------------------------------------------------------------------------------

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Count when the dock opens, and whenever its tab comes to the front (which shows nothing anew)."""
        super().showEvent(event)
        dock = dock_around(self)
        if dock is not None and not self._followed:
            self._followed = True
            dock.visibilityChanged.connect(self._on_tab)
        self.look()

    def _on_tab(self, in_front: bool) -> None:
        if in_front:
            self.look()

    def look(self, _: object = None) -> None:
        """Work out what a round would learn from, off the GUI thread."""
        if self._running:
            return
        session, task = self.session, self.task
        self._allow(PLANNING)

        def work(progress: Progress) -> FinetunePlan | None:
            from napari_clipmed.training.finetune_plan import plan

            progress.step(PLANNING.rstrip(" …"))
            if not session.workspace.exists():  # looking must not make a workspace
                return None
            registry, chosen = session.registry(), session.model_id(task)
            base = registry.get(chosen) if chosen else registry.default(task)
            return plan(session.store(), task, base)

        session.jobs.start(
            work,
            title="Plan the round",
            on_done=lambda plan: self._show_plan(task, plan),
            on_error=self._planning_failed,
            key=PLAN,
        )

    def _planning_failed(self, error: ClipmedError) -> None:
        self._allow("The plan could not be made; see the message")
        self.failure.tell(error)

    def _show_plan(self, task: Task, plan: FinetunePlan | None) -> None:
        if task != self.task:
            return
        self.plan = plan
        rows = list(plan.classes.items()) if plan is not None else []
        self.table.setRowCount(len(rows))
        for row, (name, count) in enumerate(rows):
            cells = (
                name,
                _cases(count.train_cases, count.train_patients),
                _cases(count.validation_cases, count.validation_patients),
            )
            for column, text in enumerate(cells):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                self.table.setItem(row, column, item)
        self.table.setVisible(bool(rows))
        self.table.resizeRowsToContents()
        height = self.table.horizontalHeader().sizeHint().height() + self.table.verticalHeader().length() + 4
        self.table.setFixedHeight(min(height, 260))
        problems = plan.problems if plan is not None else (NOTHING_SAVED,)
        say(self.problem, "\n".join(problems))
        say(self.sentences, "\n".join(f"• {line}" for line in plan.sentences) if plan is not None else "")
        self._allow(problems[0] if problems else "")

    # -- the round ----------------------------------------------------------------------------------------

    @property
    def _running(self) -> bool:
        return self.session.jobs.running(FINETUNE) is not None

    def start(self, _: object = None) -> None:
        """Start a round in its own process."""
        if self._running or self.plan is None or not self.plan.can_run:
            return
        session, task = self.session, self.task
        arguments = ["finetune", "--workspace", str(session.workspace), "--task", task]
        arguments += ["--strategy", self.strategies.choice, "--device", session.settings.device]
        arguments += ["--progress", "json"]
        if self.bases[task].model_id:
            arguments += ["--base", self.bases[task].model_id]
        self._new_task, self.new_model_id = task, ""
        self.failure.clear()
        say(self.result, "")
        say(self.epoch, "")
        self.use_button.setVisible(False)
        self.plot.start(1, MERIT[task])
        self.plot.setVisible(True)
        job = ProcessJob(
            arguments, "Fine-tune", self._on_event, self.failure.tell, key=FINETUNE, parent=session.jobs
        )
        job.ended.connect(self._on_ended)
        session.jobs.adopt(job)
        self._allow(RUNNING)

    def _on_event(self, event: Event) -> None:
        if event["event"] == "epoch":
            self._on_epoch(event)
        elif event["event"] == "done":
            self._on_trained(event)

    def _on_epoch(self, event: Event) -> None:
        if self.plot.n_epochs == 0:
            self.plot.start(int(event["epochs"]), MERIT[self._new_task])
        self.plot.add(int(event["epoch"]), event["train_loss"], event.get("val_loss"), event.get("metric"))
        left = f", about {duration(event['eta_s'])} left" if event.get("eta_s") else ""
        say(self.epoch, f"Epoch {event['epoch']} of at most {event['epochs']}{left}")

    def _on_trained(self, event: Event) -> None:
        self.new_model_id = str(event["model_id"])
        figures = compare(event.get("before", {}), event.get("after", {}))
        lines = [str(event.get("message", "")), figures, judged_on(event), f"New model: {self.new_model_id}"]
        say(self.result, "\n".join(line for line in lines if line))
        self.use_button.setVisible(True)
        self.use_button.setEnabled(True)
        self.session.models_changed.emit(self._new_task)  # the new version is in all lists at once

    def _on_ended(self) -> None:
        self._allow("")
        if not self.new_model_id and not self.failure.message and self.plot.n_epochs:
            say(self.epoch, "Cancelled; nothing half-made was kept.")
        self.look()

    def use_new_model(self, _: object = None) -> None:
        """Let the new model answer from now on, in this window and later ones."""
        session, task, model_id = self.session, self._new_task, self.new_model_id
        session.choose_model(task, model_id)
        self.use_button.setEnabled(False)

        def remember(progress: Progress) -> None:
            session.registry().set_default(task, model_id)

        def remembered(_: Any) -> None:
            session.message.emit(f"{model_id} answers from now on.")

        session.jobs.start(remember, title="Choose the model", on_done=remembered, on_error=self.failure.tell)

    # -- following ----------------------------------------------------------------------------------------

    def _on_task(self, _: object = None) -> None:
        for task, chooser in self.bases.items():
            chooser.setVisible(task == self.task)
        if self.isVisible():
            self.look()

    def _on_models_changed(self, task: str) -> None:
        if task == self.task and self.isVisible():
            self.look()

    def _allow(self, why_not: str) -> None:
        """Enable the start, or say in its tooltip why it is not possible."""
        if self._running:
            why_not = RUNNING
        self.start_button.setEnabled(not why_not)
        self.start_button.setToolTip(why_not or "Train a new version; the model in use stays as it is")


class _Choice:
    """Radio buttons in a row with the key of the checked one."""

    def __init__(self, options: Mapping[str, tuple[str, str]], name: str) -> None:
        self.widget = QWidget()
        self.group = QButtonGroup(self.widget)
        row = QHBoxLayout(self.widget)
        row.setContentsMargins(0, 0, 0, 0)
        for key, (title, tip) in options.items():
            button = QRadioButton(title)
            button.setObjectName(f"{name}_{key}")
            button.setProperty("key", key)
            button.setToolTip(tip)
            button.setChecked(not self.group.buttons())
            self.group.addButton(button)
            row.addWidget(button)
        row.addStretch(1)

    @property
    def choice(self) -> str:
        """Key of the checked button."""
        button = self.group.checkedButton()
        return str(button.property("key")) if button is not None else ""


def _cases(cases: int, patients: int) -> str:
    """Cases and patients of a class on one side, for a narrow column."""
    return f"{cases} of {patients} pat." if cases else "none"
