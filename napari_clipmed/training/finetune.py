"""Corrections become a better model: plan a round, run it, register what came out.

The result is a new, immutable model version beside its parent. It is never promoted here: which model
answers is for a person to choose.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
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
from napari_clipmed.training.finetune_bench import bench_for
from napari_clipmed.training.finetune_fit import EpochReport, fit
from napari_clipmed.training.finetune_modules import FinetuneConfig, Strategy, Tuner
from napari_clipmed.training.finetune_plan import FinetunePlan, plan

__all__ = ["EpochReport", "FinetuneConfig", "FinetunePlan", "evaluate_before_after", "finetune", "plan"]


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
    device: str = "auto",
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
    strategy : "head" or "full"
        See `FinetuneConfig`.
    progress : Progress, optional
        Told of every batch; may cancel at any time until registration begins.
    out : Path, optional
        Root of the new model; default: the ``models`` folder of the workspace.
    config : FinetuneConfig, optional
        Overrules `strategy` and all defaults.
    on_epoch : callable
        Told of every epoch.
    device : str
        As in `inference.device`.

    Returns
    -------
    ModelEntry
        ``card.metrics["finetune"]`` holds `before` and `after`, and whether they were measured ``on``
        "validation" or, where there are too few patients, on "training" cases.

    Raises
    ------
    ClipmedError
        Nothing to train on; wrong task; read-only workspace; disk full.
    Cancelled
        Nothing was registered, nothing written to the store.
    """
    progress = progress or Progress()
    config = config or FinetuneConfig.default(plan.task, strategy)
    out = Path(out) if out is not None else store.workspace.models
    _check(store, base, plan, out)
    torch.manual_seed(config.seed)
    bench = bench_for(plan.task)(store, base, plan, config, choose_compute(device), progress)
    before = bench.figures()
    with _few_threads(small=plan.task == "diagnosis" and config.strategy == "head"):
        reports, kept = fit(bench.tuner, bench.material, config, progress, on_epoch, bench.compute.device)
    after = bench.figures()
    outcome = {
        "on": bench.judged_on,
        "before": before,
        "after": after,
        "epochs": len(reports),
        "kept_epoch": kept,
        "config": asdict(config),
        "data_fingerprint": plan.fingerprint,
        "validation_fingerprint": plan.validation_fingerprint,
        "parent_sha256": base.card.sha256,
        "history": [asdict(report) for report in reports],
    }
    progress.step("Registering")
    # From here on it is finished, not cancelled. Sides first: a model without them could be validated one
    # day on what it was trained on; sides without a model do no harm.
    store.freeze_roles(plan.task, plan.new_roles)
    card = _card(base, plan, config, outcome)
    return Registry([out]).register(card, _weights(base, bench.tuner), out)


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
    progress = progress or Progress()
    config = FinetuneConfig.default(plan.task, "head")
    compute = choose_compute(device)
    answers: dict[str, Any] = {"on": "validation" if plan.validation else "training"}
    for name, entry in (("before", base), ("after", tuned)):
        bench = bench_for(plan.task)(store, entry, plan, config, compute, progress, only_judged=True)
        answers[name] = bench.figures()
    return answers


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
    place = out if out.exists() else out.parent
    needed = 2 * base.weights.stat().st_size
    free = shutil.disk_usage(place).free
    if free < needed:
        raise WorkspaceError(
            f"The disk of {place} has {free >> 20} MB left; the new model needs {needed >> 20} MB.",
            "Free some space and start again.",
        )


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
    changed = {
        "id": f"{stem[:60]}-ft-{now:%Y%m%d-%H%M%S-%f}",
        "title": f"{title}, fine-tuned {now:%Y-%m-%d %H:%M}",
        "parent": base.id,
        "data": f"Accepted and corrected: {learnt}. Parent: {base.card.data}",
        "seed": config.seed,
        "command": f"napari-clipmed finetune --workspace DIR --task {plan.task} "
        f"--strategy {config.strategy} --base {base.id} --epochs {config.epochs} --seed {config.seed}",
        "metrics": {"finetune": dict(outcome), "parent": dict(base.card.metrics)},
        "limits": limits,
    }
    return ModelCard(**(carried | changed))
