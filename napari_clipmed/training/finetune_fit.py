"""Running Lightning for a round: what is reported, when it stops, which epoch is kept."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from napari_clipmed.progress import Progress
from napari_clipmed.training.ahead import Ahead
from napari_clipmed.training.finetune_modules import FinetuneConfig, Tuner

LEARNT = 0.05
"""Training loss at which it stops: going on would make the model surer and more forgetful, not better."""

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
    collate : callable
        Items to a batch.
    order : sequence of int
        Indices of the training items, rare classes repeated.
    """

    training: Any
    validation: Any
    collate: Collate
    order: Sequence[int]


class _Reporter(L.Callback):
    """Tells progress, stops when asked to, and keeps the best parameters in memory."""

    def __init__(
        self,
        config: FinetuneConfig,
        progress: Progress,
        on_epoch: Callable[[EpochReport], None],
        validates: bool,
    ) -> None:
        self._config, self._progress, self._on_epoch, self._validates = config, progress, on_epoch, validates
        self._began = time.monotonic()
        self._least = float("inf")
        self.best: list[Tensor] | None = None
        self.best_epoch = 0
        self.reports: list[EpochReport] = []

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        steps = int(trainer.num_training_batches)
        done = trainer.current_epoch * steps + batch_idx + 1
        self._progress.step("Training", done, self._config.epochs * steps)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        def figure(name: str) -> float | None:
            found = trainer.callback_metrics.get(name)
            return None if found is None else float(found)

        epoch = trainer.current_epoch + 1
        val_loss = figure("val_loss") if self._validates else None
        if val_loss is None or val_loss < self._least:
            self._least = self._least if val_loss is None else val_loss
            self.best = [p.detach().clone() for p in cast("Tuner", pl_module).learning]
            self.best_epoch = epoch
        pace = (time.monotonic() - self._began) / epoch
        metric = figure("metric") if self._validates else None
        eta = pace * (self._config.epochs - epoch)
        report = EpochReport(epoch, self._config.epochs, figure("train_loss") or 0.0, val_loss, metric, eta)
        self.reports.append(report)
        self._on_epoch(report)
        self._progress.step("Training", epoch, self._config.epochs)


def fit(
    tuner: Tuner,
    material: Material,
    config: FinetuneConfig,
    progress: Progress,
    on_epoch: Callable[[EpochReport], None],
    device: str = "cpu",
) -> tuple[list[EpochReport], int]:
    """Train until it no longer helps, and leave the tuner with its best parameters.

    With validation, that is the epoch of the least validation loss; without, the last one.

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
    reporter = _Reporter(config, progress, on_epoch, validates)
    stops = [_stop("train_loss", config.epochs, stopping_threshold=LEARNT)]
    if validates:
        stops.append(_stop("val_loss", config.patience))
    draw = torch.Generator().manual_seed(config.seed)
    lessons = Ahead(_loader(Subset(material.training, material.order), config, material.collate, draw))
    exam = Ahead(_loader(material.validation, config, material.collate)) if validates else None
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Advice about workers and logging intervals, of no use for a few items in memory.
        warnings.filterwarnings("ignore", module="lightning")
        trainer = L.Trainer(
            max_epochs=config.epochs,
            accelerator={"cuda": "gpu"}.get(device, device),
            devices=1,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            gradient_clip_val=1.0,
            callbacks=[reporter, *stops],
        )
        trainer.fit(tuner, lessons, exam)
    with torch.no_grad():
        for parameter, best in zip(tuner.learning, reporter.best or [], strict=True):
            parameter.copy_(best.to(parameter.device))
    return reporter.reports, reporter.best_epoch


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
