"""``napari-clipmed finetune``: a round of fine-tuning in its own process; the window runs this same command.

With ``--progress json`` every line on standard output is one JSON object with a key ``event``: ``plan``,
``needs`` (with ``--plan-only``), ``step``, ``notice``, ``epoch``, then one of ``done``, ``cancelled`` and
``error``.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from napari_clipmed.cli._app import app, console
from napari_clipmed.cli._replay import AUTO, NONE, replay_count, replay_of
from napari_clipmed.errors import Cancelled, ClipmedError
from napari_clipmed.progress import Progress, Step

if TYPE_CHECKING:
    from napari_clipmed.models.card import ModelEntry
    from napari_clipmed.records import Store
    from napari_clipmed.training.finetune import EpochReport, FinetuneConfig, FinetunePlan
    from napari_clipmed.training.finetune_needs import Needs
    from napari_clipmed.training.finetune_run import Run

EXPERT = "For experts"

STEP_INTERVAL_S = 0.2
"""Steps of the same work are told at most this often."""


class Task(StrEnum):
    """What is learned."""

    DIAGNOSIS = "diagnosis"
    SEGMENTATION = "segmentation"


class Strategy(StrEnum):
    """How much of the network learns."""

    HEAD = "head"
    ADAPTER = "adapter"
    FULL = "full"


class ProgressStyle(StrEnum):
    """For whom progress is written."""

    TEXT = "text"
    JSON = "json"


@app.command("finetune")
def finetune_command(
    workspace: Annotated[Path, typer.Option(help="Folder with the accepted and corrected cases.")],
    task: Annotated[Task, typer.Option(help="What is learned.")],
    strategy: Annotated[
        Strategy,
        typer.Option(
            help="head: what follows the image tower, seconds. adapter: also how a picture is summed up, "
            "a minute or more. full: all of it, slowly."
        ),
    ] = Strategy.HEAD,
    base: Annotated[str, typer.Option(help="Model to start from; default: the one in use.")] = "",
    progress: Annotated[ProgressStyle, typer.Option(help="json: one object a line.")] = ProgressStyle.TEXT,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most; default: what suits.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")] = "auto",
    plan_only: Annotated[bool, typer.Option("--plan-only", help="Show the plan and stop.")] = False,
    replay: Annotated[
        str,
        typer.Option(
            help="Cases of the base model's own kind, against forgetting: auto (simulated studies, where it "
            "learned from such), none, or a folder of simulated studies or of QaTa-COV19."
        ),
    ] = AUTO,
    resume: Annotated[str, typer.Option(help="Go on with an unfinished round: its id or folder.")] = "",
    learning_rate: Annotated[float | None, typer.Option(min=1e-8, max=1.0, rich_help_panel=EXPERT)] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, rich_help_panel=EXPERT)] = None,
    pull: Annotated[
        float | None, typer.Option(min=0, help="Strength of the pull to the base.", rich_help_panel=EXPERT)
    ] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Epochs without gain before it stops.", rich_help_panel=EXPERT)
    ] = None,
    replay_share: Annotated[
        float | None,
        typer.Option(min=0, max=0.9, help="Share of replay in what is trained on.", rich_help_panel=EXPERT),
    ] = None,
    balance: Annotated[
        bool, typer.Option(help="Give rare classes the same weight.", rich_help_panel=EXPERT)
    ] = True,
    augment: Annotated[
        bool, typer.Option(help="full only: turn and shift pictures a little.", rich_help_panel=EXPERT)
    ] = True,
) -> None:
    """Learn from accepted and corrected cases; what comes out is a new model version, not promoted."""
    teller = JsonTeller() if progress is ProgressStyle.JSON else TextTeller()
    expert = {
        "epochs": epochs,
        "learning_rate": learning_rate,
        "batch_size": batch_size,
        "pull": pull,
        "patience": patience,
        "replay": replay_share,
        "balance": balance,
        "augment": augment,
    }
    order = Order(
        workspace, task.value, strategy.value, base, seed, device, plan_only, replay, resume, expert
    )
    job = Progress(teller.step)
    try:
        with _cancelled_by_signals(job):
            _run(teller, job, order)
    except Cancelled:
        teller.tell(
            "cancelled", message="Cancelled; no model was made. Finished epochs can be taken up again."
        )
        raise
    except ClipmedError as error:
        offer = {"offer": error.offer} if getattr(error, "offer", "") else {}  # type: ignore[attr-defined]
        teller.tell("error", message=error.message, hint=error.hint, **offer)
        raise


@dataclass(frozen=True)
class Order:
    """What was asked for on the command line."""

    workspace: Path
    task: Literal["diagnosis", "segmentation"]
    strategy: Literal["head", "adapter", "full"]
    base: str
    seed: int
    device: str
    plan_only: bool
    replay: str
    resume: str
    expert: Mapping[str, Any]


def _run(teller: JsonTeller | TextTeller, job: Progress, order: Order) -> None:
    from napari_clipmed.models.registry import default_registry
    from napari_clipmed.records import Store, Workspace
    from napari_clipmed.training.finetune_plan import plan as make_plan

    job.step("Opening the workspace")
    Workspace(order.workspace).check()  # a mistyped path must not become an empty workspace
    run = None
    if order.resume:
        from napari_clipmed.training.finetune_run import find_run

        run = find_run(Workspace(order.workspace).runs, order.resume)
        order = taken_up(order, run)
    registry = default_registry(order.workspace)
    base = registry.get(order.base) if order.base else registry.default(order.task)
    with Store.open(order.workspace, read_only=order.plan_only) as store:
        plan = make_plan(store, order.task, base)
        teller.plan(plan, base)
        if order.plan_only:
            teller.needs(_needs(order, store, base, plan))
        else:
            plan.check()  # before the seconds that torch takes to load
            job.step("Starting")
            teller.done(_train(teller, job, order, store, base, plan, run))


def taken_up(order: Order, run: Run) -> Order:
    """The order that an unfinished round was begun with."""
    facts = run.facts
    config = facts["config"]
    return replace(
        order,
        task=facts["task"],
        strategy=config["strategy"],
        base=facts["base"],
        seed=config["seed"],
        replay=facts.get("replay") or NONE,
        expert={},
    )


def _config(order: Order) -> FinetuneConfig:
    from napari_clipmed.training.finetune_config import FinetuneConfig

    return FinetuneConfig.default(order.task, order.strategy, seed=order.seed).but(**order.expert)


def _needs(order: Order, store: Store, base: ModelEntry, plan: FinetunePlan) -> Needs:
    from napari_clipmed.inference.device import choose_compute
    from napari_clipmed.training.finetune_needs import needs

    device = choose_compute(order.device).device
    replayed = 0 if order.replay == NONE else replay_count(order.replay, base)
    return needs(plan, base, _config(order), store.workspace.models, device, replayed)


def _train(
    teller: JsonTeller | TextTeller,
    job: Progress,
    order: Order,
    store: Store,
    base: ModelEntry,
    plan: FinetunePlan,
    run: Run | None,
) -> ModelEntry:
    from napari_clipmed.training.finetune import finetune

    replay = replay_of(order.replay, base, job)
    return finetune(
        store,
        base,
        plan,
        progress=job,
        config=_config(order),
        on_epoch=teller.epoch,
        on_notice=teller.notice,
        device=order.device,
        replay=replay,
        run=run,
    )


@contextmanager
def _cancelled_by_signals(job: Progress) -> Iterator[None]:
    """Let Ctrl+C and a polite kill stop the job at its next step, with everything tidy."""
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, lambda *_: job.cancel()) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)


class JsonTeller:
    """One JSON object a line on standard output, flushed at once."""

    def __init__(self) -> None:
        self._last = ("", 0.0)

    def tell(self, event: str, **values: Any) -> None:
        """Write one event."""
        sys.stdout.write(json.dumps({"event": event, **values}, default=str) + "\n")
        sys.stdout.flush()

    def step(self, step: Step) -> None:
        """Tell a step, unless the same work was told a moment ago."""
        what, when = self._last
        now = time.monotonic()
        if step.what != what or now - when >= STEP_INTERVAL_S:
            self._last = (step.what, now)
            self.tell("step", message=step.what, done=step.done, total=step.total)

    def plan(self, plan: FinetunePlan, base: ModelEntry) -> None:
        """Tell what will be learned from, by which model."""
        self.tell("plan", base=base.id, **plan.as_dict(), message=" ".join((*plan.sentences, *plan.problems)))

    def needs(self, needs: Needs) -> None:
        """Tell what the round would need."""
        self.tell("needs", **needs.as_dict(), message=" ".join(needs.sentences()))

    def notice(self, text: str) -> None:
        """Tell what a person should know."""
        self.tell("notice", message=text)

    def epoch(self, report: EpochReport) -> None:
        """Tell a finished epoch."""
        self.tell("epoch", **vars(report))

    def done(self, tuned: ModelEntry) -> None:
        """Tell what came out."""
        outcome = tuned.card.metrics["finetune"]
        self.tell(
            "done",
            model_id=tuned.id,
            folder=tuned.folder,
            on=outcome["on"],
            before=outcome["before"],
            after=outcome["after"],
            compared=outcome["compared"],
            replay=outcome["replay"],
            run=outcome["run"],
            message=summary(outcome),
        )


class TextTeller:
    """Sentences for a person."""

    def tell(self, event: str, **values: Any) -> None:
        """Errors and cancellation are worded by the command line itself."""

    def step(self, step: Step) -> None:
        """Steps are too many to print; epochs are told."""

    def plan(self, plan: FinetunePlan, base: ModelEntry) -> None:
        """Show what will be learned from."""
        console.print(f"Base model: {base.id}", highlight=False)
        for sentence in (*plan.sentences, *plan.problems):
            console.print(f"- {sentence}", highlight=False)

    def needs(self, needs: Needs) -> None:
        """Show what the round would need."""
        for sentence in needs.sentences():
            console.print(f"- {sentence}", highlight=False)

    def notice(self, text: str) -> None:
        """Show what a person should know."""
        console.print(text, highlight=False)

    def epoch(self, report: EpochReport) -> None:
        """Show a finished epoch."""
        line = f"epoch {report.epoch}/{report.epochs}  train loss {report.train_loss:.3f}"
        if report.val_loss is not None and report.metric is not None:
            line += f"  validation loss {report.val_loss:.3f}  metric {report.metric:.3f}"
        console.print(f"{line}  {report.eta_s:.0f} s left", highlight=False)

    def done(self, tuned: ModelEntry) -> None:
        """Show what came out."""
        console.print(summary(tuned.card.metrics["finetune"]), highlight=False)
        console.print(f"New model: {tuned.id}\n{tuned.folder}", highlight=False)


def summary(outcome: dict[str, Any]) -> str:
    """One sentence on whether it helped.

    Parameters
    ----------
    outcome : dict
        ``metrics["finetune"]`` of the new model's card.
    """
    name, title = ("macro_f1", "Macro F1") if "macro_f1" in outcome["after"] else ("dice_mean", "Mean Dice")
    before, after = outcome["before"][name], outcome["after"][name]
    loss_before, loss_after = outcome["before"].get("loss"), outcome["after"].get("loss")
    better = after > before or (after == before and loss_before is not None and loss_after < loss_before)
    where = "cases kept for validation" if outcome["on"] == "validation" else "training cases themselves"
    verdict = "It improved" if better else "It did not improve"
    return (
        f"{verdict}: {title} {before:.3f} before, {after:.3f} after, on the {outcome['after']['n']} {where}."
    )
