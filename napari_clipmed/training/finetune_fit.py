"""Running Lightning for a round: what is reported, when it stops, which epoch is kept."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from napari_clipmed.progress import Progress
from napari_clipmed.training.ahead import Ahead
from napari_clipmed.training.finetune_config import FinetuneConfig
from napari_clipmed.training.finetune_data import ReadOnDemand
from napari_clipmed.training.finetune_modules import VALIDATED, Tuner
from napari_clipmed.training.finetune_run import Run
from napari_clipmed.training.fitting import cancelled_by_a_kill

LEARNT = 0.05
"""Training loss at which it stops: going on would make the model surer and more forgetful, not better."""

EXAM = "exam"
"""Name of the loss that an epoch is chosen by, see `_Exam`."""

Collate = Callable[[Sequence[Any]], Any]


@dataclass(frozen=True)
class EpochReport:
    """One finished epoch; `val_loss` and `metric` are None without validation."""

    epoch: int
    epochs: int
    train_loss: float
    val_loss: float | None
    metric: float | None
    eta_s: float


@dataclass(frozen=True, eq=False)
class Material:
    """Examples of both sides, ready for the network.

    Parameters
    ----------
    training, validation : Dataset or list
        Items.
    old : Dataset or list
        Replay that is never trained on: the epoch is chosen by it as much as by the frozen cases, which are
        few, so that what was known is not given away for what they happen to be.
    collate : callable
        Items to a batch.
    order : sequence of int
        Indices of the training items, rare classes repeated and replay added.
    """

    training: Any
    validation: Any
    collate: Collate
    order: Sequence[int]
    old: Any = ()


class _Exam(L.Callback):
    """Says what an epoch is chosen by: the mean of the losses on the frozen cases and on the old ones."""

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        found = [trainer.callback_metrics[name] for name in VALIDATED if name in trainer.callback_metrics]
        trainer.callback_metrics[EXAM] = torch.stack(found).mean()


class _Reporter(L.Callback):
    """Tells progress, stops when asked to, keeps the best parameters and, in the run's folder, each epoch."""

    def __init__(
        self,
        config: FinetuneConfig,
        material: Material,
        progress: Progress,
        on_epoch: Callable[[EpochReport], None],
        stops: Mapping[str, EarlyStopping],
        draw: torch.Generator,
        run: Run | None,
    ) -> None:
        self._config, self._material, self._progress, self._on_epoch = config, material, progress, on_epoch
        self._stops, self._draw, self._run = stops, draw, run
        self._validates = len(material.validation) > 0
        self._began = time.monotonic()
        self._least = float("inf")
        self._optimiser: dict[str, Tensor] = {}
        self.first = 0
        self.best: list[Tensor] | None = None
        self.best_epoch = 0
        self.reports: list[EpochReport] = []

    # -- going on where a round stopped -------------------------------------------------------------------

    def resume(self, tuner: Tuner) -> None:
        """Take up the kept epoch of the round's folder; `on_fit_start` hands the optimiser its share."""
        if self._run is None or not self._run.epoch:
            return
        tensors, facts = self._run.load(), self._run.facts
        self.first, self.best_epoch = self._run.epoch, int(facts["best_epoch"])
        self._least = float("inf") if facts["least"] is None else float(facts["least"])
        self.reports = [EpochReport(**report) for report in facts["reports"]]
        self.best = [tensors[f"best.{n}"] for n in range(len(tuner.learning))]
        with torch.no_grad():
            for n, parameter in enumerate(tuner.learning):
                parameter.copy_(tensors[f"learning.{n}"])
        self._draw.set_state(tensors["draw"])
        for name, stop in self._stops.items():
            kept = facts["stops"][name]
            stop.load_state_dict(kept | {"best_score": torch.tensor(kept["best_score"])})
        self._optimiser = {key: value for key, value in tensors.items() if key.startswith("adam.")}

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if not self._optimiser:
            return
        optimiser = trainer.optimizers[0]
        state = optimiser.state_dict()
        for key, value in self._optimiser.items():
            _, n, name = key.split(".")
            state["state"].setdefault(int(n), {})[name] = value
        optimiser.load_state_dict(state)

    def _keep(self, trainer: L.Trainer, tuner: Tuner, epoch: int) -> None:
        if self._run is None:
            return
        tensors: dict[str, Tensor] = {
            f"learning.{n}": parameter for n, parameter in enumerate(tuner.learning)
        }
        tensors |= {f"best.{n}": best for n, best in enumerate(self.best or [])}
        for n, state in trainer.optimizers[0].state_dict()["state"].items():
            tensors |= {f"adam.{n}.{name}": value for name, value in state.items()}
        stops = {name: _plain(stop.state_dict()) for name, stop in self._stops.items()}
        self._run.save(
            epoch,
            tensors | {"draw": self._draw.get_state()},
            reports=[asdict(report) for report in self.reports],
            stops=stops,
            best_epoch=self.best_epoch,
            least=None if self._least == float("inf") else self._least,
        )

    # -- Lightning's moments ------------------------------------------------------------------------------

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        for items in getattr(self._material.training, "datasets", [self._material.training]):
            if isinstance(items, ReadOnDemand):
                items.epoch = self.first + trainer.current_epoch

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        steps = int(trainer.num_training_batches)
        done = (self.first + trainer.current_epoch) * steps + batch_idx + 1
        self._progress.step("Training", done, self._config.epochs * steps)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        def figure(name: str) -> float | None:
            found = trainer.callback_metrics.get(name)
            return None if found is None else float(found)

        here = trainer.current_epoch + 1
        epoch = self.first + here
        val_loss = figure("val_loss") if self._validates else None
        tuner = cast("Tuner", pl_module)
        exam = figure(EXAM) if self._validates else None
        if exam is None or exam < self._least:
            self._least = self._least if exam is None else exam
            self.best = [p.detach().clone() for p in tuner.learning]
            self.best_epoch = epoch
        pace = (time.monotonic() - self._began) / here
        metric = figure("metric") if self._validates else None
        eta = pace * (self._config.epochs - epoch)
        report = EpochReport(epoch, self._config.epochs, figure("train_loss") or 0.0, val_loss, metric, eta)
        self.reports.append(report)
        self._keep(trainer, tuner, epoch)
        self._on_epoch(report)
        self._progress.step("Training", epoch, self._config.epochs)


def fit(
    tuner: Tuner,
    material: Material,
    config: FinetuneConfig,
    progress: Progress,
    on_epoch: Callable[[EpochReport], None],
    device: str = "cpu",
    run: Run | None = None,
) -> tuple[list[EpochReport], int]:
    """Train until it no longer helps, and leave the tuner with its best parameters.

    With validation, that is the epoch of the least loss, on the frozen cases and the old ones on average;
    without, the last one.

    Parameters
    ----------
    run : Run, optional
        Where every finished epoch is kept, and where an unfinished round is taken up.

    Returns
    -------
    reports : list of EpochReport
        One an epoch.
    kept : int
        The epoch whose parameters were kept, from 1.

    Raises
    ------
    Cancelled
        As soon as `progress` says so.
    """
    validates = len(material.validation) > 0
    stops = {"train_loss": _stop("train_loss", config.epochs, stopping_threshold=LEARNT)}
    if validates:
        stops["val_loss"] = _stop(EXAM, config.patience)
    draw = torch.Generator().manual_seed(config.seed)
    reporter = _Reporter(config, material, progress, on_epoch, stops, draw, run)
    reporter.resume(tuner)
    lessons = Ahead(_loader(Subset(material.training, material.order), config, material.collate, draw))
    judged = [some for some in (material.validation, material.old) if len(some)] if validates else []
    exams = [Ahead(_loader(some, config, material.collate)) for some in judged]
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    stopped_before = any(stop.stopped_epoch for stop in stops.values())
    if reporter.first < config.epochs and not stopped_before:
        with warnings.catch_warnings():
            # Advice about workers and logging intervals, of no use for a few items in memory.
            warnings.filterwarnings("ignore", module="lightning")
            trainer = L.Trainer(
                max_epochs=config.epochs - reporter.first,
                accelerator={"cuda": "gpu"}.get(device, device),
                devices=1,
                logger=False,
                enable_checkpointing=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                num_sanity_val_steps=0,
                gradient_clip_val=1.0,
                callbacks=[_Exam(), *stops.values(), reporter],
            )
            with cancelled_by_a_kill():
                trainer.fit(tuner, lessons, exams or None)
    with torch.no_grad():
        for parameter, best in zip(tuner.learning, reporter.best or [], strict=True):
            parameter.copy_(best.to(parameter.device))
    return reporter.reports, reporter.best_epoch


def _plain(state: Mapping[str, Any]) -> dict[str, Any]:
    """The state of an early stopping as JSON."""
    return {key: value.item() if isinstance(value, Tensor) else value for key, value in state.items()}


def _stop(figure: str, patience: int, stopping_threshold: float | None = None) -> EarlyStopping:
    return EarlyStopping(
        figure, patience=patience, stopping_threshold=stopping_threshold, check_on_train_epoch_end=True
    )


def _loader(
    items: Dataset[Any], config: FinetuneConfig, collate: Collate, draw: torch.Generator | None = None
) -> DataLoader[Any]:
    return DataLoader(
        items, batch_size=config.batch_size, shuffle=draw is not None, generator=draw, collate_fn=collate
    )
