"""Training CausalCLIPSeg on QaTa-COV19: from a folder and a configuration to a registered model."""

from __future__ import annotations

import logging
import math
import time
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader

from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference.preprocess import normalise
from napari_clipmed.models.causal_clipseg import CausalCLIPSeg
from napari_clipmed.models.causal_clipseg_loss import adversarial_losses
from napari_clipmed.progress import Progress
from napari_clipmed.training.metrics_segmentation import SegmentationMetrics
from napari_clipmed.training.qata_data import QaTaItem, load_split, read_patients, without_patients
from napari_clipmed.training.segmentation_batches import QaTaDataset, augment
from napari_clipmed.training.segmentation_config import Optimisation, SegmentationConfig

log = logging.getLogger(__name__)
MONITORED = "val/dice_mean"


class SegmentationTraining(lightning.LightningModule):
    """The network with its objective, optimiser and the running mean of its weights.

    Parameters
    ----------
    network : CausalCLIPSeg
    config : SegmentationConfig
    """

    def __init__(self, network: CausalCLIPSeg, config: SegmentationConfig) -> None:
        super().__init__()
        self.network = network
        self.config = config
        decay = config.optimisation.average
        self.average = deepcopy(network).requires_grad_(False) if decay else None
        self.metrics = SegmentationMetrics()
        self.schedule = CosineByBudget(config.optimisation)

    def configure_callbacks(self) -> list[Callback]:
        """The schedule, which also decides the size of the input."""
        return [self.schedule]

    @property
    def answering(self) -> CausalCLIPSeg:
        """The network that is validated and kept: the averaged one where there is one."""
        return self.average if self.average is not None else self.network

    def training_step(self, batch: dict[str, Any], index: int) -> Tensor:
        """The objective of an augmented batch at the size of this part of the run."""
        size = size_at(self.schedule.fraction, self.config.optimisation, self.config.preprocessing.size)
        images, masks = batch["image"].float() / 255, batch["mask"].float()
        images, masks = augment(images, masks, size, self.config.augmentation)
        x = normalise(images[:, 0], self.config.preprocessing).contiguous(memory_format=torch.channels_last)
        tokens = self.network.tokenize(batch["sentence"]).to(self.device)
        losses = adversarial_losses(self.network, x, tokens, masks, self.config.objective)
        count = len(images)
        self.log("train/causal", losses.causal, on_step=False, on_epoch=True, batch_size=count)
        self.log("train/confounder", losses.confounder, on_step=False, on_epoch=True, batch_size=count)
        return losses.total

    def on_train_batch_end(self, outputs: Any, batch: Any, index: int) -> None:
        """Move the running mean."""
        if self.average is not None:
            update_average(self.average, self.network, self.config.optimisation.average, self.global_step)

    def on_validation_epoch_start(self) -> None:
        """Start counting."""
        self.metrics = SegmentationMetrics()
        self.answering.eval()

    def validation_step(self, batch: dict[str, Any], index: int) -> None:
        """Count the overlaps of a batch."""
        logits = predict(self.answering, batch["image"], batch["sentence"], self.config)
        self.metrics.update(logits.sigmoid(), batch["mask"])

    def on_validation_epoch_end(self) -> None:
        """Log the figures; the first one selects."""
        scores = self.metrics.compute()
        self.log("val/dice_mean", scores.dice_mean, prog_bar=True)
        self.log("val/dice_pooled", scores.dice_pooled)
        self.log("val/miou_mean", scores.miou_mean)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam or AdamW; norms and biases are not decayed."""
        settings = self.config.optimisation
        plain = [p for p in self.network.parameters() if p.ndim < 2]
        matrices = [p for p in self.network.parameters() if p.ndim >= 2]
        groups = [
            {"params": matrices, "weight_decay": settings.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        kind = torch.optim.AdamW if settings.optimiser == "adamw" else torch.optim.Adam
        return kind(groups, lr=settings.lr)


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Exponential mean of weights and statistics, whose memory grows to `decay` so that it forgets its start.

    Only what is stored is averaged: the mean of the text tower's mask, which holds -inf, would be NaN.
    """
    decay = min(decay, (1 + step) / (10 + step))
    for mean, current in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(current, 1 - decay)
        else:
            mean.copy_(current)


def predict(
    network: CausalCLIPSeg, images: Tensor, sentences: list[str], config: SegmentationConfig
) -> Tensor:
    """Causal logits [B, 1, S, S], float32, for byte pictures [B, 1, S, S]."""
    x = normalise(images[:, 0].float() / 255, config.preprocessing)
    x = x.contiguous(memory_format=torch.channels_last)
    tau = network.encode_text(network.tokenize(sentences).to(x.device))
    return network.decode(network.encode_image(x), tau).float()


def size_at(fraction: float, settings: Optimisation, final: int) -> int:
    """Side of the training input at this fraction of the run."""
    return next((size for start, size in reversed(settings.sizes) if fraction >= start), final)


class CosineByBudget(Callback):
    """Learning rate along a cosine whose end is the time or epoch budget, and the stop at that end."""

    def __init__(self, settings: Optimisation) -> None:
        self.settings = settings
        self.fraction = 0.0
        self._started = 0.0

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Start the clock."""
        self._started = time.monotonic()

    def on_train_batch_start(
        self, trainer: lightning.Trainer, module: lightning.LightningModule, batch: Any, index: int
    ) -> None:
        """Set the learning rate from what is over of the budget."""
        steps = self.settings.max_epochs * max(1, int(trainer.num_training_batches))
        fraction = trainer.global_step / steps
        if self.settings.max_minutes is not None:
            elapsed = (time.monotonic() - self._started) / 60
            fraction = max(fraction, elapsed / self.settings.max_minutes)
        self.fraction = min(1.0, fraction)
        factor = learning_rate_factor(self.fraction, self.settings.warmup)
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.settings.lr * factor

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        index: int,
    ) -> None:
        """Stop when the budget is spent."""
        if self.fraction >= 1.0:
            trainer.should_stop = True


def learning_rate_factor(fraction: float, warmup: float) -> float:
    """Linear rise to 1 at `warmup`, then a cosine down to 0 at 1."""
    if fraction < warmup:
        return max(fraction / warmup, 0.01)
    return 0.5 * (1 + math.cos(math.pi * (fraction - warmup) / (1 - warmup)))


class Reporting(Callback):
    """Tells a `Progress` about every tenth batch and each validation, and lets it cancel."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self._started = time.monotonic()

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: Any,
        index: int,
    ) -> None:
        """Say where the run is; raises when it should stop."""
        if index % 10 == 0:
            what = f"training, epoch {trainer.current_epoch + 1}"
            self.progress.step(what, index + 1, int(trainer.num_training_batches))

    def on_validation_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        """Write the figures of an epoch to the log."""
        if trainer.sanity_checking:
            return
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        log.info(
            "epoch %d, %.0f s: %s",
            trainer.current_epoch + 1,
            time.monotonic() - self._started,
            ", ".join(f"{name} {value:.4f}" for name, value in sorted(values.items())),
        )


@dataclass(frozen=True)
class Splits:
    """What is learned from, what chooses the epoch, and what was left out of both."""

    train: list[QaTaItem]
    selection: list[QaTaItem]
    left_out: int


def split_by_patient(data: Path, config: SegmentationConfig, patients: Path | None) -> Splits:
    """Training items none of whose patients appears in validation, and a part of them for selection.

    The part is drawn by a hash of the patient, so that it stays the same when data are added.
    """
    table = read_patients(patients) if patients is not None else None
    everything = load_split(data, "Train", table)
    validation = load_split(data, "Val", table)
    train = without_patients(everything, validation)
    if not config.selection:
        return Splits(train, validation, len(everything) - len(train))
    selection = [item for item in train if _draw(item.patient, config.seed) < config.selection]
    kept = without_patients(train, selection)
    if not selection or not kept:
        raise ClipmedError("There are too few patients to set some aside for choosing the epoch.")
    return Splits(kept, selection, len(everything) - len(train))


def _draw(patient: str, seed: int) -> float:
    """A number in [0, 1) that belongs to a patient."""
    return int.from_bytes(sha256(f"{seed}:{patient}".encode()).digest()[:4], "big") / 2**32


def load_checkpoint(path: Path, config: SegmentationConfig) -> CausalCLIPSeg:
    """The network of a checkpoint of `train`, averaged where it was averaged, in eval mode.

    Raises
    ------
    ClipmedError
        When the file is missing or belongs to another configuration.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    except (OSError, KeyError, UnpicklingError) as error:
        raise ClipmedError(f"{path} is no checkpoint of a training run.") from error
    prefix = "average." if any(key.startswith("average.") for key in state) else "network."
    network = CausalCLIPSeg(**config.model, load_weights=False)
    try:
        network.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    except RuntimeError as error:
        raise ClipmedError(f"The checkpoint {path} belongs to another configuration.") from error
    return network.eval()


def train(
    data: Path,
    config: SegmentationConfig,
    out: Path,
    patients: Path | None = None,
    progress: Progress | None = None,
    start: Path | None = None,
) -> Path:
    """Train on ``Train`` of a QaTa folder and return the checkpoint of the best epoch.

    Parameters
    ----------
    data : Path
        QaTa-COV19 in one of its layouts, see `training.qata_data`.
    config : SegmentationConfig
    out : Path
        Folder for the log and the checkpoint of the best epoch.
    patients : Path, optional
        Table with the patient of each id; otherwise file names tell.
    progress : Progress, optional
    start : Path, optional
        Checkpoint of an earlier run of the same network, to go on from; default: random weights.

    Raises
    ------
    ClipmedError
        Unreadable data, a configuration that does not fit, or a cancelled run.
    """
    progress = progress or Progress()
    lightning.seed_everything(config.seed, verbose=False)
    if config.threads:
        torch.set_num_threads(config.threads)
    splits = split_by_patient(data, config, patients)
    learned = QaTaDataset(
        splits.train,
        config.preprocessing,
        config.augmentation.flip,
        config.sentences,
        config.seed,
        progress=progress,
    )
    judged = QaTaDataset(splits.selection, config.preprocessing, progress=progress)
    log.info("%d radiographs to learn from, %d to select by", len(learned), len(judged))
    network = CausalCLIPSeg(**config.model)
    if start is not None:
        network.load_state_dict(load_checkpoint(start, config).state_dict())
    network = network.to(memory_format=torch.channels_last)
    module = SegmentationTraining(network, config)
    checkpoint = ModelCheckpoint(
        out, "best", monitor=MONITORED, mode="max", save_weights_only=True, enable_version_counter=False
    )
    trainer = _trainer(config, out, [checkpoint, Reporting(progress)])
    batch = config.optimisation.batch_size
    trainer.fit(
        module,
        DataLoader(learned, batch, shuffle=True, drop_last=len(learned) > batch),
        DataLoader(judged, 2 * batch),
    )
    if trainer.interrupted:
        raise KeyboardInterrupt
    return Path(checkpoint.best_model_path)


def _trainer(config: SegmentationConfig, out: Path, callbacks: list[Callback]) -> lightning.Trainer:
    settings = config.optimisation
    return lightning.Trainer(
        max_epochs=settings.max_epochs,
        precision=config.precision,
        callbacks=[
            EarlyStopping(MONITORED, mode="max", patience=settings.patience),
            *callbacks,
        ],
        gradient_clip_val=settings.clip_gradient or None,
        logger=CSVLogger(out, name="log", version=""),
        log_every_n_steps=1,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=out,
    )
