"""Corrections become a better model: plan a round, run it, register what came out.

The result is a new, immutable model version beside its parent. It is never promoted here: which model
answers is for a person to choose.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from napari_clipmed.errors import ModelError, WorkspaceError
from napari_clipmed.inference.device import choose_compute
from napari_clipmed.models.card import STATISTICS_PREFIX, ModelCard, ModelEntry
from napari_clipmed.models.registry import Registry, load_tensors
from napari_clipmed.progress import Progress
from napari_clipmed.records import Store
from napari_clipmed.records.workspace import read_only_error
from napari_clipmed.training.finetune_bench import Bench, DiagnosisBench, bench_for
from napari_clipmed.training.finetune_compare import compare
from napari_clipmed.training.finetune_config import FinetuneConfig, Strategy
from napari_clipmed.training.finetune_figures import Judgement
from napari_clipmed.training.finetune_fit import EpochReport, fit
from napari_clipmed.training.finetune_memory import OutOfMemoryError, is_out_of_memory, with_smaller_batches
from napari_clipmed.training.finetune_modules import Tuner
from napari_clipmed.training.finetune_needs import Pace, check_disk, remember_pace
from napari_clipmed.training.finetune_plan import FinetunePlan, plan
from napari_clipmed.training.finetune_report import report_page
from napari_clipmed.training.finetune_run import COMPARISON_FILE, REPORT_FILE, Run
from napari_clipmed.training.replay import Replay

__all__ = [
    "EpochReport",
    "FinetuneConfig",
    "FinetunePlan",
    "compare_models",
    "evaluate_before_after",
    "finetune",
    "plan",
]


def finetune(
    store: Store,
    base: ModelEntry,
    plan: FinetunePlan,
    strategy: Strategy = "head",
    progress: Progress | None = None,
    out: Path | None = None,
    *,
    config: FinetuneConfig | None = None,
    on_epoch: Callable[[EpochReport], None] = lambda report: None,
    on_notice: Callable[[str], None] = lambda text: None,
    device: str = "auto",
    replay: Replay | None = None,
    run: Run | None = None,
) -> ModelEntry:
    """Train a new version of a model on a plan and register it, whole or not at all.

    Parameters
    ----------
    store : Store
        Open for writing: the patients' sides are fixed in it.
    base : ModelEntry
        The model to start from; left as it is.
    plan : FinetunePlan
        From `plan`, for the same task.
    strategy : "head", "adapter" or "full"
        See `FinetuneConfig`.
    progress : Progress, optional
        Told of every batch; may cancel at any time until registration begins.
    out : Path, optional
        Root of the new model; default: the ``models`` folder of the workspace.
    config : FinetuneConfig, optional
        Overrules `strategy` and all defaults.
    on_epoch, on_notice : callable
        Told of every epoch, and of what a person should know, such as smaller batches.
    device : str
        As in `inference.device`.
    replay : Replay, optional
        Cases of the base model's own kind, trained on beside the others.
    run : Run, optional
        An unfinished round of the same plan, base and replay to go on with; its config holds.

    Returns
    -------
    ModelEntry
        ``card.metrics["finetune"]`` holds `before` and `after`, and whether they were measured ``on``
        "validation" or, where there are too few patients, on "training" cases.

    Raises
    ------
    ClipmedError
        Nothing to train on; wrong task; read-only workspace; disk full; not enough memory.
    Cancelled
        Nothing was registered, nothing written to the store; finished epochs are kept in the round's folder.
    """
    progress = progress or Progress()
    replay = replay or Replay()
    out = Path(out) if out is not None else store.workspace.models
    _check(store, base, plan, out)
    if run is not None:
        _check_same(run, base, plan, replay)
        config = FinetuneConfig(**run.facts["config"])
    config = config or FinetuneConfig.default(plan.task, strategy)
    run = run or Run.begin(store.workspace.runs, _order(base, plan, config, replay, device))
    torch.manual_seed(config.seed)
    began = time.monotonic()
    compute = choose_compute(device)
    try:
        bench = bench_for(plan.task)(store, base, plan, config, compute, progress, replay=replay)
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise OutOfMemoryError(compute.device) from error
        raise
    read_s = time.monotonic() - began
    before, old_before = bench.judge(), bench.judge_replay()
    began = time.monotonic()
    reports, kept, config = _train(bench, config, run, progress, on_epoch, on_notice)
    train_s = time.monotonic() - began
    bench.tuner.finish()
    after, old_after = bench.judge(), bench.judge_replay()
    result = _Result(before, after, old_before, old_after, bench.judged_on, reports, kept)
    progress.step("Registering")
    # From here on it is finished, not cancelled. Sides first: a model without them could be validated one
    # day on what it was trained on; sides without a model do no harm.
    store.freeze_roles(plan.task, plan.new_roles)
    card = _card(base, plan, config, result.outcome(base, plan, config, replay, run))
    tuned = Registry([out]).register(card, _weights(base, bench.tuner), out)
    _report(run, base, tuned, plan, config, result)
    examples = len(plan.training) + len(plan.validation) + len(replay.training) + len(replay.apart)
    lessons = max(1, len(bench.material.order) * max(1, len(reports)))
    remember_pace(
        plan.task, config.strategy, compute.device, base, Pace(read_s / examples, train_s / lessons)
    )
    return tuned


@dataclass(frozen=True)
class _Result:
    """What a round found out."""

    before: Judgement
    after: Judgement
    old_before: Judgement | None
    old_after: Judgement | None
    judged_on: str
    reports: list[EpochReport]
    kept: int

    def comparison(self) -> dict[str, Any]:
        """Old and new model on the frozen cases, with intervals."""
        return compare(self.before, self.after)

    def forgotten(self) -> dict[str, Any] | None:
        """Old and new model on replay that was kept apart."""
        if self.old_before is None or self.old_after is None:
            return None
        return compare(self.old_before, self.old_after)

    def outcome(
        self, base: ModelEntry, plan: FinetunePlan, config: FinetuneConfig, replay: Replay, run: Run
    ) -> dict[str, Any]:
        """What the card of the new model says about the round."""
        comparison, forgotten = self.comparison(), self.forgotten()
        return {
            "on": self.judged_on,
            "before": self.before.figures,
            "after": self.after.figures,
            "compared": comparison["figures"] | {"patients": comparison["patients"]},
            "replay": forgotten and forgotten["figures"] | {"n": forgotten["n"], "name": replay.name},
            "epochs": len(self.reports),
            "kept_epoch": self.kept,
            "config": asdict(config),
            "data_fingerprint": plan.fingerprint,
            "validation_fingerprint": plan.validation_fingerprint,
            "replay_fingerprint": replay.fingerprint,
            "parent_sha256": base.card.sha256,
            "run": run.id,
            "history": [asdict(report) for report in self.reports],
        }


def evaluate_before_after(
    store: Store,
    base: ModelEntry,
    tuned: ModelEntry,
    plan: FinetunePlan,
    progress: Progress | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Judge two models on the same cases of a plan, from their files.

    Returns
    -------
    dict
        ``on`` ("validation" or "training"), ``before``, ``after`` (figures), as on the card of a new model.
    """
    old, new, on = _judge_both(store, base, tuned, plan, progress or Progress(), device)
    return {"on": on, "before": old.figures, "after": new.figures}


def compare_models(
    store: Store,
    base: ModelEntry,
    tuned: ModelEntry,
    plan: FinetunePlan,
    progress: Progress | None = None,
    device: str = "auto",
) -> tuple[dict[str, Any], str]:
    """Two models on the frozen cases: the comparison (`finetune_compare.compare`), and its page."""
    old, new, on = _judge_both(store, base, tuned, plan, progress or Progress(), device)
    comparison = compare(old, new) | {"on": on}
    return comparison, report_page(old, new, comparison, _facts(base, tuned, plan, {}, on))


def _judge_both(
    store: Store, base: ModelEntry, tuned: ModelEntry, plan: FinetunePlan, progress: Progress, device: str
) -> tuple[Judgement, Judgement, str]:
    plan.check()
    config, compute = FinetuneConfig.default(plan.task, "head"), choose_compute(device)
    found = []
    for entry in (base, tuned):
        bench = bench_for(plan.task)(store, entry, plan, config, compute, progress, only_judged=True)
        found.append(bench.judge())
    return found[0], found[1], bench.judged_on


def _train(
    bench: Bench,
    config: FinetuneConfig,
    run: Run,
    progress: Progress,
    on_epoch: Callable[[EpochReport], None],
    on_notice: Callable[[str], None],
) -> tuple[list[EpochReport], int, FinetuneConfig]:
    """The epochs, with smaller batches where the memory demands it; gives the config that held at last."""

    def work(batch_size: int) -> tuple[list[EpochReport], int, FinetuneConfig]:
        smaller = config.but(batch_size=batch_size)
        bench.tuner.restart()
        run.facts["config"] = asdict(smaller)
        reports, kept = fit(
            bench.tuner, bench.material, smaller, progress, on_epoch, bench.compute.device, run
        )
        return reports, kept, smaller

    with _few_threads(small=config.strategy == "head" and isinstance(bench, DiagnosisBench)):
        return with_smaller_batches(work, config.batch_size, bench.compute.device, on_notice)


def _order(
    base: ModelEntry, plan: FinetunePlan, config: FinetuneConfig, replay: Replay, device: str
) -> dict[str, Any]:
    """What ``run.json`` must say for the round to go on one day."""
    return {
        "task": plan.task,
        "base": base.id,
        "base_sha256": base.card.sha256,
        "plan": plan.fingerprint,
        "replay": replay.folder,
        "replay_fingerprint": replay.fingerprint,
        "device": device,
        "config": asdict(config),
    }


def _check_same(run: Run, base: ModelEntry, plan: FinetunePlan, replay: Replay) -> None:
    """Refuse to go on with a round on other data than it began with."""
    same = {
        "base_sha256": base.card.sha256,
        "plan": plan.fingerprint,
        "replay_fingerprint": replay.fingerprint,
    }
    if any(run.facts.get(key) != value for key, value in same.items()):
        raise WorkspaceError(
            f"The cases or the model have changed since round {run.id} began; it cannot go on.",
            "Start a new round: it learns from what holds now.",
        )


def _facts(
    base: ModelEntry, tuned: ModelEntry, plan: FinetunePlan, outcome: Mapping[str, Any], on: str
) -> dict[str, Any]:
    """What the page says besides the comparison."""
    data = "Data of this workspace" if not base.card.simulated_only else "Base model: simulated studies only"
    return {
        "base": base.id,
        "model": tuned.id,
        "on": on,
        "created": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "data": f"{data}. {' '.join(plan.sentences[:2])}",
        "config": outcome.get("config", {}),
        "history": outcome.get("history", []),
        "hashes": {
            "weights (SHA-256)": tuned.card.sha256,
            "parent's weights": base.card.sha256,
            "data fingerprint": plan.fingerprint,
            "frozen cases' fingerprint": plan.validation_fingerprint,
        },
    }


def _report(
    run: Run,
    base: ModelEntry,
    tuned: ModelEntry,
    plan: FinetunePlan,
    config: FinetuneConfig,
    result: _Result,
) -> None:
    """Write the page and its numbers into the round's folder; the model is registered by then."""
    comparison = result.comparison()
    facts = _facts(base, tuned, plan, tuned.card.metrics["finetune"], result.judged_on)
    facts["replay"] = result.forgotten()
    page = report_page(result.before, result.after, comparison, facts)
    run.write(COMPARISON_FILE, json.dumps({"before": asdict(result.before), "after": asdict(result.after)}))
    run.write(REPORT_FILE, page)
    run.done(model=tuned.id)


@contextmanager
def _few_threads(small: bool) -> Iterator[None]:
    """One thread for layers so small that several would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1 if small else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _check(store: Store, base: ModelEntry, plan: FinetunePlan, out: Path) -> None:
    """Refuse before any work what could not be finished."""
    plan.check()
    if base.card.task != plan.task:
        raise ModelError(
            f"{base.id!r} is a {base.card.task} model; it cannot be fine-tuned for {plan.task}.",
            "Choose a model of that task as the base.",
        )
    if store.read_only:
        raise read_only_error(store.workspace.root)
    check_disk(base, out if out.exists() else out.parent)


def _weights(base: ModelEntry, tuner: Tuner) -> dict[str, torch.Tensor]:
    """Tensors of the new model; those that did not change keep the precision they had on disk."""
    old = load_tensors(base)
    new = {key: value.detach().cpu() for key, value in tuner.network.state_dict().items()}
    kept = {key: value for key, value in old.items() if key.startswith(STATISTICS_PREFIX)}
    same = {key: old[key] for key in new if torch.equal(old[key].to(new[key].dtype), new[key])}
    return new | same | kept


def _card(
    base: ModelEntry, plan: FinetunePlan, config: FinetuneConfig, outcome: Mapping[str, Any]
) -> ModelCard:
    """The card of the new version: its parent's, with what this round changed."""
    now = datetime.now(UTC)
    stem, title = base.id.split("-ft-")[0], base.card.title.split(", fine-tuned")[0]
    counts = plan.as_dict()
    what = "studies" if plan.task == "diagnosis" else "masks"
    learnt = (
        f"{counts['training_examples']} {what} of {counts['training_patients']} patients of one workspace"
    )
    judged = f"{counts['validation_examples']} {what} of {counts['validation_patients']} other patients"
    limits = [*base.card.limits, f"Fine-tuned on {learnt}; judged on {judged}."]
    if not plan.validation:
        limits[-1] = f"Fine-tuned on {learnt}; judged on those alone, so its figures flatter it."
    if config.strategy == "full":
        limits.append(
            "What flags unusual studies was measured on the parent; after a full fine-tuning it may flag "
            "more than it should."
        )
    carried = base.card.model_dump(exclude={"created", "software", "sha256"})
    # What the sets promise was measured on the parent's probabilities.
    carried["calibration"].pop("prediction_sets", None)
    changed = {
        "id": f"{stem[:60]}-ft-{now:%Y%m%d-%H%M%S-%f}",
        "title": f"{title}, fine-tuned {now:%Y-%m-%d %H:%M}",
        "parent": base.id,
        "data": f"Accepted and corrected: {learnt}. Parent: {base.card.data}",
        "seed": config.seed,
        "command": f"napari-clipmed finetune --workspace DIR --task {plan.task} "
        f"--strategy {config.strategy} --base {base.id} --epochs {config.epochs} --seed {config.seed} "
        f"--learning-rate {config.learning_rate} --batch-size {config.batch_size} --pull {config.pull}",
        "metrics": {"finetune": dict(outcome), "parent": dict(base.card.metrics)},
        "limits": limits,
    }
    return ModelCard(**(carried | changed))
