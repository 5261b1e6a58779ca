"""Training CausalCLIPSeg on QaTa-COV19: from a folder and a configuration to a registered model."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference.preprocess import normalise
from napari_clipmed.models.backbones import modified_resnet
from napari_clipmed.models.causal_clipseg import CausalCLIPSeg
from napari_clipmed.models.causal_clipseg_loss import adversarial_losses
from napari_clipmed.models.fine_scale import with_fine_scale
from napari_clipmed.models.prompts import parse
from napari_clipmed.progress import Progress
from napari_clipmed.training.fitting import (
    Budget,
    Budgeted,
    Shuffled,
    checkpoint_weights,
    counted_once,
    prepare,
    seeded,
    share_of_batch,
    with_decay,
)
from napari_clipmed.training.metrics_segmentation import SegmentationMetrics
from napari_clipmed.training.qata_data import QaTaItem, load_split, read_patients, without_patients
from napari_clipmed.training.recompute import Recomputed, recompute_stages
from napari_clipmed.training.segmentation_batches import QaTaDataset, augment
from napari_clipmed.training.segmentation_config import Optimisation, SegmentationConfig

log = logging.getLogger(__name__)
MONITORED = "val/dice_mean"


class SegmentationTraining(Budgeted):
    """The network with its objective, optimiser and the running mean of its weights.

    Parameters
    ----------
    network : CausalCLIPSeg
    config : SegmentationConfig
    learned, judged_by : QaTaDataset
        What it trains on, and what chooses the epoch.
    """

    def __init__(
        self, network: CausalCLIPSeg, config: SegmentationConfig, learned: QaTaDataset, judged_by: QaTaDataset
    ) -> None:
        super().__init__()
        self.network, self.config = network, config
        self.learned, self.judged_by = learned, judged_by
        settings = config.optimisation
        self.average = deepcopy(network).requires_grad_(False) if settings.average else None
        if config.run.recompute:
            recompute_stages(modified_resnet(network.backbone))
            for decoder in (network.causal_decoder, network.confounder_decoder):
                decoder.vis = Recomputed(decoder.vis, as_one=True)
        self.metrics = SegmentationMetrics()
        self.budget = Budget(settings.max_epochs, settings.max_minutes, settings.rate)
        self._seen: list[Tensor] = []

    @property
    def answering(self) -> CausalCLIPSeg:
        """The network that is validated and kept: the averaged one where there is one."""
        return self.average if self.average is not None else self.network

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Films to learn from, in a new order each epoch."""
        whole = self.config.optimisation.batch_size
        batch, drop = share_of_batch(whole, self.trainer.world_size), len(self.learned) > whole
        order = Shuffled(len(self.learned), lambda: seeded(self.config.seed, self.current_epoch))
        own = torch.Generator()  # of the workers' seeds: the global one is left to what is drawn here
        return self._loader(self.learned, batch, sampler=order, drop_last=drop, generator=own)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """Films that choose the epoch."""
        return self._loader(self.judged_by, 2 * self.config.optimisation.batch_size)

    def _loader(self, films: QaTaDataset, batch: int, **options: Any) -> DataLoader[dict[str, Any]]:
        return DataLoader(films, batch, num_workers=self.config.run.workers, **options)

    def on_train_epoch_start(self) -> None:
        """Seed all that is drawn in this epoch."""
        seed = seeded(self.config.seed, self.current_epoch, self.global_rank)
        torch.manual_seed(seed)
        self.learned.reseed(seed)

    def training_step(self, batch: dict[str, Any], index: int) -> Tensor:
        """The objective of an augmented batch at the size of this part of the run."""
        size = size_at(self.budget.fraction, self.config.optimisation, self.config.preprocessing.size)
        images, masks = batch["image"].float() / 255, batch["mask"].float()
        images, masks = augment(images, masks, size, self.config.augmentation)
        x = normalise(images[:, 0], self.config.preprocessing).contiguous(memory_format=torch.channels_last)
        tokens = self.network.tokenize(batch["sentence"]).to(self.device)
        losses = adversarial_losses(self.network, x, tokens, masks, self.config.objective)
        count = len(images)
        self.log("train/causal", losses.causal, on_step=False, on_epoch=True, batch_size=count)
        self.log("train/confounder", losses.confounder, on_step=False, on_epoch=True, batch_size=count)
        return losses.total

    def after_step(self, step: int) -> None:
        """Move the running mean."""
        if self.average is not None:
            update_average(self.average, self.network, self.config.optimisation.average, step)

    def on_validation_epoch_start(self) -> None:
        """Start counting."""
        self.metrics = SegmentationMetrics()
        self._seen = []
        self.answering.eval()

    def validation_step(self, batch: dict[str, Any], index: int) -> None:
        """Count the overlaps of a batch."""
        logits = predict(self.answering, batch["image"], batch["sentence"], self.config)
        self.metrics.update(logits.sigmoid(), batch["mask"])
        self._seen.append(batch["index"])

    def on_validation_epoch_end(self) -> None:
        """Log the figures; the first one selects."""
        (counts,) = counted_once(self, torch.cat(self._seen), self.metrics.counts)
        scores = SegmentationMetrics.of(counts).compute()
        figures = {MONITORED: scores.dice_mean, "val/dice_pooled": scores.dice_pooled}
        self.log_dict(figures | {"val/miou_mean": scores.miou_mean, "val/n": float(scores.n)}, sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam or AdamW; norms and biases are not decayed."""
        settings = self.config.optimisation
        groups = with_decay(self.network.parameters(), settings.weight_decay)
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


@dataclass(frozen=True)
class Splits:
    """What is learned from, what chooses the epoch, and what was left out of both."""

    train: list[QaTaItem]
    selection: list[QaTaItem]
    left_out: int


def split_by_patient(
    data: Path, config: SegmentationConfig, patients: Path | None, beside: Sequence[Path] = ()
) -> Splits:
    """Training items none of whose patients appears in validation, and a part of them for selection.

    The part is drawn by a hash of the patient, so that it stays the same when data are added: the training
    splits of the folders `beside`, in a layout of QaTa-COV19 too. Of those, films whose sentence names no
    place are left out: QaTa-COV19 has none without an infection.
    """
    table = read_patients(patients) if patients is not None else None
    everything = load_split(data, "Train", table)
    validation = load_split(data, "Val", table)
    for folder in beside:
        everything += [item for item in load_split(folder, "Train") if parse(item.sentence).places]
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


def load_checkpoint(path: Path, config: SegmentationConfig, beginning: bool = False) -> CausalCLIPSeg:
    """The network of a checkpoint of `train`, averaged where it was averaged, in eval mode.

    Where a training begins with it, the checkpoint may be that of a network without the fine scale.

    Raises
    ------
    ClipmedError
        When the file is missing or belongs to another configuration.
    """
    state = checkpoint_weights(path, "average.", "network.")
    network = CausalCLIPSeg(**config.model, load_weights=False)
    if beginning:
        state = with_fine_scale(state, network.state_dict())
    try:
        network.load_state_dict(state)
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
    beside: Sequence[Path] = (),
) -> Path:
    """Train on ``Train`` of a QaTa folder; an interrupted run in the same folder is taken up where it was.

    Parameters
    ----------
    data : Path
        QaTa-COV19 in one of its layouts, see `training.qata_data`.
    config : SegmentationConfig
    out : Path
        Receives ``checkpoints/best.ckpt``, ``checkpoints/last.ckpt`` and ``metrics.csv``.
    patients : Path, optional
        Table with the patient of each id; otherwise file names tell.
    progress : Progress, optional
    start : Path, optional
        Checkpoint of an earlier training of the same network, whose weights this one begins with.
    beside : sequence of Path
        More folders whose ``Train`` is learned from as well, such as simulated films.

    Returns
    -------
    Path
        The checkpoint with the best mean Dice on the films that choose the epoch.

    Raises
    ------
    ClipmedError
        Unreadable data, a configuration that does not fit, or a cancelled run.
    """
    progress = progress or Progress()
    lightning.seed_everything(config.seed, verbose=False)
    splits = split_by_patient(data, config, patients, beside)
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
        network.load_state_dict(load_checkpoint(start, config, beginning=True).state_dict())
    network = network.to(memory_format=torch.channels_last)
    module = SegmentationTraining(network, config, learned, judged)
    fitting = prepare(
        config.run,
        out,
        MONITORED,
        module.budget,
        progress,
        clip_gradient=config.optimisation.clip_gradient,
        log_every_n_steps=1,
    )
    return fitting.fit(module)
