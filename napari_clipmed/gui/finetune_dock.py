"""The Fine-tune dock: what will be learned from, start, live curves, cancel, and the new model.

Training runs in a process of its own, by the same command as on the command line; see `process_job`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

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
from napari_clipmed.gui.finetune_outcome import Outcome
from napari_clipmed.gui.finetune_words import MERIT, STRATEGIES, TASKS, unfinished
from napari_clipmed.gui.job_bar import JobBar
from napari_clipmed.gui.jobs import duration
from napari_clipmed.gui.process_job import Event, ProcessJob
from napari_clipmed.gui.session import session_for
from napari_clipmed.gui.shortcuts import dock_around
from napari_clipmed.gui.theme import (
    banner,
    fill_dock,
    hint_label,
    named,
    say,
    section,
    wrapped_label,
)
from napari_clipmed.gui.widgets.expert_panel import ExpertPanel
from napari_clipmed.gui.widgets.failure_note import FailureNote
from napari_clipmed.gui.widgets.learning_plot import LearningPlot
from napari_clipmed.gui.widgets.model_chooser import ModelChooser
from napari_clipmed.progress import Progress

if TYPE_CHECKING:
    import napari

    from napari_clipmed.models.card import Task
    from napari_clipmed.training.finetune_config import Strategy
    from napari_clipmed.training.finetune_needs import Needs
    from napari_clipmed.training.finetune_plan import FinetunePlan
    from napari_clipmed.training.finetune_run import Run

FINETUNE, PLAN = "finetune", "finetune-plan"
NOTHING_SAVED = "Nothing was saved yet. Accept or correct some diagnoses or masks first; those are learned."
PLANNING = "Looking through the workspace …"
RUNNING = "A round is running; cancel it first"
ON_CPU = "Train on the processor instead"
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
        self.unfinished: Run | None = None
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
        self.experts = ExpertPanel()
        self.needs = hint_label("", "plan_needs")
        self.stopped = banner("", "info", "unfinished_round")
        self.resume_button = named(QPushButton("Go on with it"), "resume_round")
        self.discard_button = named(QPushButton("Discard it"), "discard_round")
        for button in (self.resume_button, self.discard_button):
            button.setVisible(False)
        self.cpu_button = named(QPushButton(ON_CPU), "on_cpu")
        self.cpu_button.setVisible(False)
        self.outcome = Outcome(self.session, self.failure.tell)

        fill_dock(
            self,
            section("What to teach", self.tasks.widget, *self.bases.values()),
            section(
                "What will be learned from", self.problem, self.table, self.sentences, self.refresh_button
            ),
            section("How much of the model learns", self.strategies.widget, self.needs, self.experts),
            section("", self.stopped, self.resume_button, self.discard_button),
            self.start_button,
            self.job_bar,
            self.failure,
            self.cpu_button,
            self.epoch,
            self.plot,
            self.outcome,
        )

    def _connect(self) -> None:
        self.tasks.group.buttonClicked.connect(self._on_task)
        self.refresh_button.clicked.connect(self.look)
        self.start_button.clicked.connect(self.start)
        self.strategies.group.buttonClicked.connect(self.look)
        self.resume_button.clicked.connect(self.resume)
        self.discard_button.clicked.connect(self.discard)
        self.cpu_button.clicked.connect(self.start_on_cpu)
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
        strategy = cast("Strategy", self.strategies.choice)
        self._allow(PLANNING)

        def work(progress: Progress) -> _Outlook | None:
            from napari_clipmed.training.finetune_config import SIMULATED_REPLAY, FinetuneConfig
            from napari_clipmed.training.finetune_needs import needs
            from napari_clipmed.training.finetune_plan import plan
            from napari_clipmed.training.finetune_run import unfinished_runs

            progress.step(PLANNING.rstrip(" …"))
            if not session.workspace.exists():  # looking must not make a workspace
                return None
            registry, chosen = session.registry(), session.model_id(task)
            base = registry.get(chosen) if chosen else registry.default(task)
            store = session.store()
            found = plan(store, task, base)
            config = FinetuneConfig.default(task, strategy)
            replayed = SIMULATED_REPLAY if task == "diagnosis" and base.card.simulated_only else 0
            place, device = store.workspace.models, session.settings.device
            wanted = needs(found, base, config, place, device, replayed)
            stopped = unfinished_runs(store.workspace.runs, task)
            return _Outlook(found, wanted, stopped[0] if stopped else None)

        session.jobs.start(
            work,
            title="Plan the round",
            on_done=lambda outlook: self._show_outlook(task, outlook),
            on_error=self._planning_failed,
            key=PLAN,
        )

    def _planning_failed(self, error: ClipmedError) -> None:
        self._allow("The plan could not be made; see the message")
        self.failure.tell(error)

    def _show_outlook(self, task: Task, outlook: _Outlook | None) -> None:
        if task != self.task:
            return
        ready = outlook is not None and outlook.plan.can_run
        say(self.needs, "\n".join(outlook.needs.sentences()) if outlook is not None and ready else "")
        self.unfinished = outlook.stopped if outlook is not None else None
        say(self.stopped, unfinished(self.unfinished.facts) if self.unfinished is not None else "")
        for button in (self.resume_button, self.discard_button):
            button.setVisible(self.unfinished is not None)
        self._show_plan(outlook.plan if outlook is not None else None)

    def _show_plan(self, plan: FinetunePlan | None) -> None:
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
        if self.plan is not None and self.plan.can_run:
            self._launch(self._arguments(self.session.settings.device))

    def start_on_cpu(self, _: object = None) -> None:
        """Start it again on the processor, after the graphics card's memory did not suffice."""
        if self.plan is not None and self.plan.can_run:
            self._launch(self._arguments("cpu"))

    def resume(self, _: object = None) -> None:
        """Go on with the round that stopped."""
        if self.unfinished is not None:
            arguments = ["--task", self.task, "--device", self.session.settings.device]
            self._launch([*arguments, "--resume", self.unfinished.id])

    def discard(self, _: object = None) -> None:
        """Throw the kept epoch of the round that stopped away."""
        run = self.unfinished
        if run is not None:
            self.session.jobs.start(
                lambda progress: run.discard(),
                title="Discard the round",
                on_done=lambda _: self.look(),
                on_error=self.failure.tell,
            )

    def _arguments(self, device: str) -> list[str]:
        said = ["--task", self.task, "--strategy", self.strategies.choice, "--device", device]
        if self.bases[self.task].model_id:
            said += ["--base", self.bases[self.task].model_id]
        return said + self.experts.arguments()

    def _launch(self, arguments: list[str]) -> None:
        if self._running:
            return
        session = self.session
        self._new_task = self.task
        self.failure.clear()
        self.outcome.clear(self.task)
        say(self.epoch, "")
        self.cpu_button.setVisible(False)
        self.plot.start(1, MERIT[self.task])
        self.plot.setVisible(True)
        job = ProcessJob(
            ["finetune", "--workspace", str(session.workspace), *arguments, "--progress", "json"],
            "Fine-tune",
            self._on_event,
            self.failure.tell,
            key=FINETUNE,
            parent=session.jobs,
        )
        job.ended.connect(self._on_ended)
        session.jobs.adopt(job)
        self._allow(RUNNING)

    def _on_event(self, event: Event) -> None:
        kind = event["event"]
        if kind == "epoch":
            self._on_epoch(event)
        elif kind == "notice":
            say(self.epoch, str(event.get("message", "")))
        elif kind == "error":
            self.cpu_button.setVisible(event.get("offer") == "cpu")
        elif kind == "done":
            self.outcome.tell(event)
            self.session.models_changed.emit(self._new_task)  # the new version is in all lists at once

    def _on_epoch(self, event: Event) -> None:
        if self.plot.n_epochs == 0:
            self.plot.start(int(event["epochs"]), MERIT[self._new_task])
        self.plot.add(int(event["epoch"]), event["train_loss"], event.get("val_loss"), event.get("metric"))
        left = f", about {duration(event['eta_s'])} left" if event.get("eta_s") else ""
        say(self.epoch, f"Epoch {event['epoch']} of at most {event['epochs']}{left}")

    def _on_ended(self) -> None:
        self._allow("")
        if not self.outcome.model_id and not self.failure.message and self.plot.n_epochs:
            say(
                self.epoch,
                "Cancelled; no model was made. The epochs that were finished can be taken up again.",
            )
        self.look()

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


@dataclass(frozen=True)
class _Outlook:
    """What a look at the workspace found."""

    plan: FinetunePlan
    needs: Needs
    stopped: Run | None


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
