"""Training of CLIP-DSA with Lightning."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, cast

import lightning
import torch
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, WeightedRandomSampler

from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference.preprocess import Preprocessing, normalise
from napari_clipmed.models.clip_dsa import ClipDSA, ClipDSAOutput
from napari_clipmed.models.clip_dsa_loss import ClipDSALoss, one_hot_floor
from napari_clipmed.models.labels import LabelSet
from napari_clipmed.progress import Progress
from napari_clipmed.training.clip_dsa_recipe import ClipDSARecipe, Stage
from napari_clipmed.training.dsa_data import (
    NO_LESION,
    VIEWS,
    TrainingStudies,
    WholeStudies,
    easy_first_weights,
    read_rows,
)
from napari_clipmed.training.location import LocationHeads
from napari_clipmed.training.metrics_classification import macro_auc, pairwise_auc

logger = logging.getLogger(__name__)

BEST, LAST = "best", "last"
VALIDATION_STUDIES = 160
"""At most so many are looked at during training; the evaluation takes all."""


class ClipDSATraining(lightning.LightningModule):
    """The objective, the schedule and the moving average around a `ClipDSA`.

    Parameters
    ----------
    recipe : ClipDSARecipe
    labels : LabelSet
    data : Path
        Folder of labelled studies; read again at every epoch, so that it may still be growing.
    workers : int
        Processes that prepare batches.
    """

    def __init__(self, recipe: ClipDSARecipe, labels: LabelSet, data: Path, workers: int = 0) -> None:
        super().__init__()
        self.recipe, self.labels, self.data, self.workers = recipe, labels, data, workers
        self.network = ClipDSA(recipe.backbone, recipe.share_tpm, len(labels.labels))
        self.bank = self.network.set_label_set(labels)
        self.network.visual.to(memory_format=torch.channels_last)
        self.location = LocationHeads(self.network)
        self.objective = ClipDSALoss(recipe.targets, recipe.mc_targets, recipe.mc_weight)
        self.preprocessing = Preprocessing(self.network.image_size, recipe.n_frames, recipe.fit)
        self.average = (
            AveragedModel(self.network, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
            if recipe.ema
            else None
        )
        self.elapsed = 0.0
        self._clock = time.monotonic()
        self._answers: list[tuple[Tensor, Tensor]] = []

    @property
    def best_network(self) -> ClipDSA:
        """What is validated and exported: the moving average, where there is one."""
        return cast("ClipDSA", self.average.module) if self.average is not None else self.network

    @property
    def progress(self) -> float:
        """Share of the training that is done, by epochs or by the clock, whichever is further."""
        epochs = self.recipe.epochs
        within = self.trainer.fit_loop.epoch_loop.batch_idx / max(1, self.trainer.num_training_batches)
        by_epoch = (self.current_epoch + min(1.0, max(0.0, within))) / epochs
        by_clock = self.elapsed / (60 * self.recipe.minutes) if self.recipe.minutes else 0.0
        return min(1.0, max(by_epoch, by_clock))

    # Data: a loader an epoch, since stages differ in their batches and the folder may have grown.

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Studies of the present stage."""
        stage = self._stage()
        rows = read_rows(self.data, "train")
        if len(rows) < 2:
            raise ClipmedError(f"{self.data} holds {len(rows)} training studies; at least two are needed.")
        recipe = self.recipe
        studies = TrainingStudies(
            rows, self.labels, self.network.image_size, stage, recipe.augmentation, recipe.fit
        )
        strength = stage.easy_first
        if strength or recipe.studies_per_epoch:
            weights = easy_first_weights(rows, strength)
            count = recipe.studies_per_epoch or len(rows)
            sampler = WeightedRandomSampler(
                weights.tolist(), count, replacement=count > len(rows) or strength > 0
            )
            return self._loader(studies, stage.batch, sampler=sampler, drop_last=count > stage.batch)
        return self._loader(studies, stage.batch, shuffle=True, drop_last=len(rows) > stage.batch)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """The first validation studies, as at inference."""
        rows = read_rows(self.data, "val")[:VALIDATION_STUDIES]
        recipe = self.recipe
        studies = WholeStudies(rows, self.labels, self.network.image_size, recipe.n_frames, recipe.fit)
        return self._loader(studies, 4)

    def _loader(self, studies: Any, batch: int, **options: Any) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(studies, batch_size=batch, num_workers=self.workers, **options)

    def _stage(self) -> Stage:
        return self.recipe.stage(self.progress)

    # Training

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        """One step of the stage that the batch was made for."""
        stage, labels = self._loaded_stage, batch["label"]
        frames = torch.cat([batch[view].flatten(0, 1) for view in VIEWS])
        third, fourth = self._maps(self.network, frames)
        total = frames.new_zeros(())
        if stage.location:
            lesion = torch.cat([batch[f"lesion_{view}"].flatten(0, 1) for view in VIEWS])
            located = self.location.cell_loss(third, fourth, lesion, self._frame_classes(batch))
            self.log("loss_location", located, prog_bar=True)
            total = total + stage.location * located
        if not stage.crop:
            features = self.network.pool_frames(fourth)
            total = total + self._whole_losses(features, batch, stage)
        self.log("loss", total, prog_bar=True, batch_size=len(labels))
        return total

    def _whole_losses(self, features: Tensor, batch: dict[str, Tensor], stage: Stage) -> Tensor:
        """What needs whole frames: the losses of the paper, and the labels of frames."""
        labels = batch["label"]
        per_view = features.unflatten(0, (len(VIEWS), *batch["AP"].shape[:2]))
        output: ClipDSAOutput = self.network.forward_features(per_view[0], per_view[1])
        losses = self.objective(self.network, output, labels, self._sentences(labels))
        for name, value in losses.items():
            self.log(f"loss_{name}", value, batch_size=len(labels))
        if self.recipe.targets == "paper":
            self.log("loss_floor", one_hot_floor(labels), batch_size=len(labels))
        total = losses["total"]
        if stage.frame_labels:
            framed = self.location.frame_loss(features, self._frame_classes(batch))
            self.log("loss_frames", framed, batch_size=len(labels))
            total = total + stage.frame_labels * framed
        return total

    def _frame_classes(self, batch: dict[str, Tensor]) -> Tensor:
        """Class of every frame, AP frames first: that of its study where its lesion can be seen."""
        seen = [batch[f"visible_{view}"] for view in VIEWS]
        return torch.cat([torch.where(s, batch["label"][:, None], NO_LESION).flatten() for s in seen])

    def _sentences(self, labels: Tensor) -> Tensor:
        """One sentence of its label for each study, drawn at random (eq. 2)."""
        drawn = [self.bank[k][torch.randint(len(self.bank[k]), ())] for k in labels.tolist()]
        return torch.stack(drawn).to(labels.device)

    def _maps(self, network: ClipDSA, frames: Tensor) -> tuple[Tensor, Tensor]:
        """Third and fourth map of greys (N, S, S), in float32."""
        images = normalise(frames, self.preprocessing).contiguous(memory_format=torch.channels_last)
        visual = network.visual
        with torch.autocast(frames.device.type, torch.bfloat16, enabled=self.recipe.bf16):
            third = visual.layer3(visual.layer2(visual.layer1(visual.stem(images))))
            fourth = visual.layer4(third)
        return third.float(), fourth.float()

    def on_train_epoch_start(self) -> None:
        """Tell which stage the loader of this epoch was made for; hold the norms still where asked."""
        if self.recipe.freeze_batch_norm:
            for layer in self.network.visual.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.eval()
        dataset = self.trainer.train_dataloader.dataset  # type: ignore[union-attr]
        self._loaded_stage: Stage = dataset.stage
        logger.info("epoch %d: %d studies, %s", self.current_epoch, len(dataset), self._loaded_stage)

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        """Set the learning rate; end when the time is up."""
        now = time.monotonic()
        self.elapsed += now - self._clock
        self._clock = now
        if self.recipe.minutes and self.elapsed >= 60 * self.recipe.minutes:
            self.trainer.should_stop = True
            return -1
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            group["lr"] = self.recipe.rate(self.progress)
        return None

    def on_train_start(self) -> None:
        """Start the clock anew, also after a resume."""
        self._clock = time.monotonic()

    def on_train_batch_end(self, *args: Any) -> None:
        """Keep the moving average."""
        if self.average is not None:
            self.average.update_parameters(self.network)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; biases, norms, positions and temperatures do not decay."""
        trained = [p for p in (*self.network.parameters(), *self.location.parameters()) if p.requires_grad]
        groups = [
            {"params": [p for p in trained if p.ndim > 1], "weight_decay": self.recipe.weight_decay},
            {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW(groups, lr=self.recipe.learning_rate)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember the time spent."""
        checkpoint["elapsed"] = self.elapsed

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from the time spent."""
        self.elapsed = checkpoint["elapsed"]

    # Validation

    def validation_step(self, batch: dict[str, Tensor]) -> None:
        """Scores of both views together; none while the heads have not been trained."""
        if self._loaded_stage.crop:
            return
        network = self.best_network
        features = [
            network.pool_frames(self._maps(network, batch[view].flatten(0, 1))[1]).unflatten(
                0, batch[view].shape[:2]
            )
            for view in VIEWS
        ]
        output = network.forward_features(features[0], features[1])
        assert output.v_mv is not None
        scores = network.logits(output.v_mv, "mv").softmax(dim=-1)
        self._answers.append((scores.cpu(), batch["label"].cpu()))

    def on_validation_epoch_end(self) -> None:
        """Macro AUC, accuracy, and each class against the normal one."""
        if not self._answers:
            self.log("val_auc", 0.5)  # chance: what untrained heads are worth
            return
        scores, truth = (torch.cat(parts).numpy() for parts in zip(*self._answers, strict=True))
        self._answers.clear()
        self.log("val_auc", macro_auc(scores, truth))
        self.log("val_acc", float((scores.argmax(axis=1) == truth).mean()))
        for k, key in enumerate(self.labels.keys[1:], start=1):
            self.log(f"val_pair_{key}", pairwise_auc(scores, truth, k))
        if not self.trainer.sanity_checking:
            values = {k: round(float(v), 4) for k, v in self.trainer.callback_metrics.items()}
            logger.info("epoch %d, %.0f %%, %s", self.current_epoch, 100 * self.progress, values)


class _Report(Callback):
    """Hands the epochs on to a `Progress`, and so learns when to stop."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *args: Any) -> None:
        self.progress.step("training", round(1000 * pl_module.progress), 1000)


def train(
    data: Path,
    recipe: ClipDSARecipe,
    out: Path,
    *,
    progress: Progress | None = None,
    accelerator: str = "auto",
    workers: int = 0,
) -> Path:
    """Train a model; an interrupted run in the same folder is taken up where it was.

    Parameters
    ----------
    data : Path
        Folder of labelled studies, see `training.dsa_data`.
    recipe : ClipDSARecipe
    out : Path
        Receives ``checkpoints/best.ckpt``, ``checkpoints/last.ckpt`` and ``metrics.csv``.
    accelerator : str
        Lightning's: "auto", "cpu", "gpu", "mps".
    workers : int
        Processes that prepare batches.

    Returns
    -------
    Path
        The checkpoint with the best macro AUC on the validation patients.
    """
    lightning.seed_everything(recipe.seed, verbose=False)
    labels = LabelSet.named(recipe.label_set)
    if not read_rows(data, "train") or not read_rows(data, "val"):
        raise ClipmedError(f"{data} has no training or no validation studies.")
    module = ClipDSATraining(recipe, labels, data, workers)
    folder = out / "checkpoints"
    keep = [
        ModelCheckpoint(folder, BEST, monitor="val_auc", mode="max", enable_version_counter=False),
        ModelCheckpoint(folder, LAST, save_on_train_epoch_end=True, enable_version_counter=False),
    ]
    trainer = lightning.Trainer(
        accelerator=accelerator,
        devices=1,
        max_epochs=recipe.epochs,
        check_val_every_n_epoch=recipe.validate_every,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
        gradient_clip_val=recipe.clip_gradient or None,
        logger=CSVLogger(out, name="", version=""),
        callbacks=[*keep, _Report(progress or Progress())],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=10,
    )
    last = folder / f"{LAST}.ckpt"
    trainer.fit(module, ckpt_path=str(last) if last.exists() else None, weights_only=True)
    best = folder / f"{BEST}.ckpt"
    if not best.exists():
        raise ClipmedError("The training ended before its first validation.", "Give it more time or epochs.")
    return best


def load_checkpoint(path: Path, recipe: ClipDSARecipe, labels: LabelSet) -> ClipDSA:
    """The network of a training checkpoint (its moving average where the recipe keeps one), in eval mode."""
    content = torch.load(path, map_location="cpu", weights_only=True)
    prefix = "average.module." if recipe.ema else "network."
    state = {k.removeprefix(prefix): v for k, v in content["state_dict"].items() if k.startswith(prefix)}
    network = ClipDSA(recipe.backbone, recipe.share_tpm, len(labels.labels), load_weights=False)
    network.load_state_dict(state)
    return network.eval()
