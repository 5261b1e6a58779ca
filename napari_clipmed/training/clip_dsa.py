"""Training of CLIP-DSA with Lightning."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import lightning
import torch
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
from napari_clipmed.training.fitting import (
    Budget,
    Budgeted,
    Shuffled,
    checkpoint_weights,
    counted_once,
    everywhere,
    prepare,
    seeded,
    share_of_batch,
    with_decay,
)
from napari_clipmed.training.location import LocationHeads
from napari_clipmed.training.metrics_classification import macro_auc, pairwise_auc
from napari_clipmed.training.recompute import recompute_stages

MONITORED = "val_auc"
VALIDATION_STUDIES = 160
"""At most so many are looked at during training; the evaluation takes all."""


class ClipDSATraining(Budgeted):
    """The objective, the schedule and the moving average around a `ClipDSA`.

    Parameters
    ----------
    recipe : ClipDSARecipe
    labels : LabelSet
    data : Path
        Folder of labelled studies; read again at every epoch, so that it may still be growing.
    """

    def __init__(self, recipe: ClipDSARecipe, labels: LabelSet, data: Path) -> None:
        super().__init__()
        self.recipe, self.labels, self.data = recipe, labels, data
        self.network = ClipDSA(recipe.backbone, recipe.share_tpm, len(labels.labels))
        self.bank = self.network.set_label_set(labels)
        self.network.visual.to(memory_format=torch.channels_last)
        self.location = LocationHeads(self.network)
        self.objective = ClipDSALoss(recipe.targets, recipe.mc_targets, recipe.mc_weight)
        self.preprocessing = Preprocessing(self.network.image_size, recipe.n_frames, recipe.fit)
        self.average: AveragedModel | None = None
        self.restart_average()
        if recipe.run.recompute:
            recompute_stages(self.network.visual)
        self.budget = Budget(recipe.epochs, recipe.minutes, recipe.rate)
        self._answers: list[tuple[Tensor, ...]] = []

    def restart_average(self) -> None:
        """Let the moving average, where the recipe keeps one, begin at the present weights."""
        if self.recipe.ema:
            rule = get_ema_multi_avg_fn(self.recipe.ema)
            self.average = AveragedModel(self.network, multi_avg_fn=rule, use_buffers=True)
            self.average.requires_grad_(False)

    @property
    def best_network(self) -> ClipDSA:
        """What is validated and exported: the moving average, where there is one."""
        return cast("ClipDSA", self.average.module) if self.average is not None else self.network

    @property
    def judged(self) -> bool:
        """Whether the heads, which the validation asks, are trained at present."""
        return not self._loaded_stage.crop

    # Data: a loader an epoch, since stages differ in their batches and the folder may have grown.

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """Studies of the present stage."""
        recipe, epoch = self.recipe, self.current_epoch
        stage = recipe.stage(self.budget.share(epoch))
        # Every process must count the same studies, also of a folder that grows meanwhile.
        rows = self.trainer.strategy.broadcast(read_rows(self.data, "train"))
        if len(rows) < 2:
            raise ClipmedError(f"{self.data} holds {len(rows)} training studies; at least two are needed.")
        studies = TrainingStudies(
            rows, self.labels, self.network.image_size, stage, recipe.augmentation, recipe.fit
        )
        order = seeded(recipe.seed, epoch)
        count, sampler = len(rows), Shuffled(len(rows), lambda: order)
        if stage.easy_first or recipe.studies_per_epoch:
            count = recipe.studies_per_epoch or len(rows)
            sampler = WeightedRandomSampler(  # type: ignore[assignment]
                easy_first_weights(rows, stage.easy_first).tolist(),
                count,
                replacement=count > len(rows) or stage.easy_first > 0,
                generator=torch.Generator().manual_seed(order),
            )
        own = torch.Generator().manual_seed(seeded(recipe.seed, epoch, self.global_rank))
        batch = share_of_batch(stage.batch, self.trainer.world_size)
        drop = count > stage.batch
        return self._loader(studies, batch, sampler=sampler, drop_last=drop, generator=own)

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """The first validation studies, as at inference."""
        rows = read_rows(self.data, "val")[:VALIDATION_STUDIES]
        recipe = self.recipe
        studies = WholeStudies(rows, self.labels, self.network.image_size, recipe.n_frames, recipe.fit)
        return self._loader(studies, 4)

    def _loader(self, studies: Any, batch: int, **options: Any) -> DataLoader[dict[str, Tensor]]:
        return DataLoader(studies, batch_size=batch, num_workers=self.recipe.run.workers, **options)

    # Training

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        """One step of the stage that the batch was made for."""
        frames = torch.cat([batch[view].flatten(0, 1) for view in VIEWS])
        third, fourth = self._maps(self.network, frames)
        with torch.autocast(frames.device.type, enabled=False):  # losses and heads are cheap and delicate
            total = self._losses(third, fourth, batch)
        self.log("loss", total, prog_bar=True, batch_size=len(batch["label"]))
        return total

    def _losses(self, third: Tensor, fourth: Tensor, batch: dict[str, Tensor]) -> Tensor:
        """The weighted sum of what the stage asks for."""
        stage, total = self._loaded_stage, fourth.new_zeros(())
        if stage.location:
            lesion = torch.cat([batch[f"lesion_{view}"].flatten(0, 1) for view in VIEWS])
            located = self.location.cell_loss(third, fourth, lesion, self._frame_classes(batch))
            self.log("loss_location", located, prog_bar=True)
            total = total + stage.location * located
        if not stage.crop:
            total = total + self._whole_losses(self.network.pool_frames(fourth), batch, stage)
        return total

    def _whole_losses(self, features: Tensor, batch: dict[str, Tensor], stage: Stage) -> Tensor:
        """What needs whole frames: the losses of the paper, and the labels of frames."""
        per_view = features.unflatten(0, (len(VIEWS), *batch["AP"].shape[:2]))
        output = self.network.forward_features(per_view[0], per_view[1])
        assert output.v_ap is not None and output.v_la is not None and output.v_mv is not None
        # Contrast runs over the batches of all processes: two of 8 studies compare 16 with each other.
        ap, la, mv, labels, text = everywhere(
            self, output.v_ap, output.v_la, output.v_mv, batch["label"], self._sentences(batch["label"])
        )
        losses = self.objective(self.network, ClipDSAOutput(ap, la, mv, None, None), labels, text)
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
        """Third and fourth map of greys (N, S, S), computed in the trainer's precision, in float32."""
        images = normalise(frames, self.preprocessing).contiguous(memory_format=torch.channels_last)
        visual = network.visual
        third = visual.layer3(visual.layer2(visual.layer1(visual.stem(images))))
        fourth = visual.layer4(third)
        return third.float(), fourth.float()

    def on_train_epoch_start(self) -> None:
        """Tell which stage the loader of this epoch was made for; hold the norms still where asked."""
        torch.manual_seed(seeded(self.recipe.seed, self.current_epoch, self.global_rank))
        if self.recipe.freeze_batch_norm:
            for layer in self.network.visual.modules():
                if isinstance(layer, nn.BatchNorm2d):
                    layer.eval()
        self._loaded_stage: Stage = self.trainer.train_dataloader.dataset.stage  # type: ignore[union-attr]

    def after_step(self, step: int) -> None:
        """Move the average."""
        if self.average is not None:
            self.average.update_parameters(self.network)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; biases, norms, positions and temperatures do not decay."""
        trained = [p for p in (*self.network.parameters(), *self.location.parameters()) if p.requires_grad]
        return torch.optim.AdamW(with_decay(trained, self.recipe.weight_decay), lr=self.recipe.learning_rate)

    # Validation

    def validation_step(self, batch: dict[str, Tensor]) -> None:
        """Scores of both views together; none while the heads are not trained."""
        if not self.judged:
            return
        network = self.best_network
        maps = [self._maps(network, batch[view].flatten(0, 1))[1] for view in VIEWS]
        with torch.autocast(self.device.type, enabled=False):
            output = network.forward_maps(
                *(m.unflatten(0, batch[view].shape[:2]) for m, view in zip(maps, VIEWS, strict=True))
            )
            assert output.v_mv is not None
            scores = network.logits(output.v_mv, "mv").softmax(dim=-1)
        self._answers.append((batch["index"], scores, batch["label"]))

    def on_validation_epoch_end(self) -> None:
        """Macro AUC, accuracy, and each class against the normal one."""
        if not self._answers:
            self.log(MONITORED, 0.5, sync_dist=True)  # chance: what untrained heads are worth
            return
        columns = [torch.cat(parts) for parts in zip(*self._answers, strict=True)]
        self._answers.clear()
        scores, truth = (column.numpy() for column in counted_once(self, *columns))
        figures = {MONITORED: macro_auc(scores, truth), "val_n": float(len(truth))}
        figures["val_acc"] = float((scores.argmax(axis=1) == truth).mean())
        for k, key in enumerate(self.labels.keys[1:], start=1):
            figures[f"val_pair_{key}"] = pairwise_auc(scores, truth, k)
        self.log_dict(figures, sync_dist=True)


def train(
    data: Path,
    recipe: ClipDSARecipe,
    out: Path,
    *,
    progress: Progress | None = None,
    start: Path | None = None,
) -> Path:
    """Train a model; an interrupted run in the same folder is taken up where it was.

    Parameters
    ----------
    data : Path
        Folder of labelled studies, see `training.dsa_data`.
    recipe : ClipDSARecipe
    out : Path
        Receives ``checkpoints/best.ckpt``, ``checkpoints/last.ckpt`` and ``metrics.csv``.
    progress : Progress, optional
    start : Path, optional
        Checkpoint of an earlier training of the same network, whose weights this one begins with.

    Returns
    -------
    Path
        The checkpoint with the best macro AUC on the validation patients.

    Raises
    ------
    ClipmedError
        Data without training or validation studies, an unfitting `start`, a machine that lacks what the
        recipe asks for, or a training that ended before its first validation.
    """
    lightning.seed_everything(recipe.seed, verbose=False)
    labels = LabelSet.named(recipe.label_set)
    if not read_rows(data, "train") or not read_rows(data, "val"):
        raise ClipmedError(f"{data} has no training or no validation studies.")
    module = ClipDSATraining(recipe, labels, data)
    if start is not None:
        module.network.load_state_dict(load_checkpoint(start, recipe, labels).state_dict())
        module.restart_average()
    fitting = prepare(
        recipe.run,
        out,
        MONITORED,
        module.budget,
        progress or Progress(),
        validate_every=recipe.validate_every,
        clip_gradient=recipe.clip_gradient,
        reload_dataloaders_every_n_epochs=1,
        log_every_n_steps=10,
    )
    return fitting.fit(module)


def load_checkpoint(path: Path, recipe: ClipDSARecipe, labels: LabelSet) -> ClipDSA:
    """The network of a training checkpoint (its moving average where the recipe keeps one), in eval mode.

    Raises
    ------
    ClipmedError
        When the file is missing, no checkpoint, or of another network.
    """
    state = checkpoint_weights(path, "average.module." if recipe.ema else "network.")
    network = ClipDSA(recipe.backbone, recipe.share_tpm, len(labels.labels), load_weights=False)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ClipmedError(f"The checkpoint {path} belongs to another recipe.") from error
    return network.eval()
