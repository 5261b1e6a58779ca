"""One row of the comparison: trained within a budget, judged once on the test patients."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from napari_clipmed.benchmark.accuracy.contestants import Classifier, TextClassifier
from napari_clipmed.benchmark.accuracy.dsa_rows import DsaRow
from napari_clipmed.benchmark.accuracy.encoders import Scale
from napari_clipmed.inference.device import choose_compute
from napari_clipmed.inference.preprocess import Preprocessing, normalise
from napari_clipmed.models.backbones import count_parameters
from napari_clipmed.models.labels import LabelSet
from napari_clipmed.progress import Progress
from napari_clipmed.training.clip_dsa_recipe import Augmentation, Stage, read_recipe
from napari_clipmed.training.dsa_data import VIEWS, StudyRow, TrainingStudies, WholeStudies
from napari_clipmed.training.fitting import (
    Budget,
    Budgeted,
    Shuffled,
    checkpoint_weights,
    prepare,
    seeded,
    with_decay,
)
from napari_clipmed.training.metrics_classification import macro_auc
from napari_clipmed.training.run_options import RunOptions

MONITORED = "val_auc"
UNLIMITED = 100_000
"""Epochs where the clock alone ends a training."""


@dataclass(frozen=True)
class Contest:
    """What all rows share, so that they differ by the network alone.

    Parameters
    ----------
    scale : str
        ``paper``: published sizes; ``compact``: narrow variants.
    size, frames : int
        Side in pixels and frames of a view.
    minutes : float or None
        Training time of a row: of the processor where it trains on the processor, else of the wall clock.
    epochs : int or None
        Passes over the training studies; whichever ends first.
    batch : int
    learning_rate, learning_rate_end, weight_decay, warm_up : float
        AdamW with a polynomial decay (power 0.9) after a linear rise.
    pretrained : bool
        Load the libraries' weights, where there are any (paper scale).
    augmentation : Augmentation
    run : RunOptions
        Device, precision, threads.
    """

    scale: Scale = "compact"
    size: int = 112
    frames: int = 8
    minutes: float | None = None
    epochs: int | None = None
    batch: int = 16
    learning_rate: float = 1e-3
    learning_rate_end: float = 1e-5
    weight_decay: float = 1e-2
    warm_up: float = 0.05
    pretrained: bool = False
    augmentation: Augmentation = Augmentation()
    run: RunOptions = RunOptions()

    def rate(self, done: float) -> float:
        """The learning rate at a share of the training in [0, 1]."""
        decay = max(0.0, 1.0 - done) ** 0.9
        rate = self.learning_rate_end + (self.learning_rate - self.learning_rate_end) * decay
        return rate * min(1.0, (done + 1e-3) / self.warm_up) if self.warm_up else rate


def compact_contest(**changes: Any) -> Contest:
    """Narrow networks from random weights, augmented as the recipe ``clip_dsa_compact``."""
    return replace(Contest(augmentation=read_recipe("clip_dsa_compact").augmentation), **changes)


def paper_contest(**changes: Any) -> Contest:
    """Published sizes and the recipe ``clip_dsa_paper`` (section 3.1)."""
    recipe = read_recipe("clip_dsa_paper")
    contest = Contest(
        scale="paper",
        size=224,
        frames=recipe.n_frames,
        learning_rate=recipe.learning_rate,
        learning_rate_end=recipe.learning_rate_end,
        weight_decay=recipe.weight_decay,
        warm_up=recipe.warm_up,
        augmentation=recipe.augmentation,
    )
    return replace(contest, **changes)


@dataclass(frozen=True, eq=False)
class Outcome:
    """A row, trained and judged.

    Parameters
    ----------
    scores : dict of str to (n, K) float array
        Probabilities on the test studies, in their order, for each head.
    parameters : int
        Those that are trained.
    studies_seen, epochs : int
        Presentations of a training study, and passes over all of them.
    seconds : float
        Of the budget's clock.
    """

    scores: dict[str, NDArray[np.float64]]
    parameters: int
    studies_seen: int
    epochs: int
    seconds: float


class ContestTraining(Budgeted):
    """A contestant under the contest's rules; the best epoch by validation is kept."""

    def __init__(
        self,
        contestant: Classifier | TextClassifier,
        contest: Contest,
        splits: Mapping[str, Sequence[StudyRow]],
        labels: LabelSet,
        seed: int,
        views: Sequence[str],
    ) -> None:
        super().__init__()
        self.contestant, self.contest, self.splits, self.labels = contestant, contest, splits, labels
        self.seed, self.views = seed, tuple(views)
        self.preprocessing = Preprocessing(contest.size, contest.frames, "longest")
        on_processor = choose_compute(contest.run.device, contest.run.precision).device == "cpu"
        clock = time.process_time if on_processor else time.monotonic
        self.budget = Budget(contest.epochs or UNLIMITED, contest.minutes, contest.rate, clock)
        self.seen = 0
        self._answers: list[tuple[Tensor, Tensor]] = []

    def train_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """The training studies in an order that belongs to seed and epoch."""
        rows, contest = self.splits["train"], self.contest
        stage = Stage(frames=contest.frames, batch=contest.batch)
        studies = TrainingStudies(rows, self.labels, contest.size, stage, contest.augmentation)
        order = Shuffled(len(rows), lambda: seeded(self.seed, self.current_epoch))
        return DataLoader(
            studies, contest.batch, sampler=order, drop_last=len(rows) >= contest.batch,
            num_workers=contest.run.workers,
        )  # fmt: skip

    def val_dataloader(self) -> DataLoader[dict[str, Tensor]]:
        """The validation studies as at inference."""
        return self.whole("val")

    def whole(self, split: str) -> DataLoader[dict[str, Tensor]]:
        """Studies of a split with evenly spaced frames, in their order."""
        contest = self.contest
        studies = WholeStudies(self.splits[split], self.labels, contest.size, contest.frames)
        return DataLoader(studies, contest.batch)

    def on_train_epoch_start(self) -> None:
        """What an epoch draws belongs to the seed."""
        torch.manual_seed(seeded(self.seed, self.current_epoch))

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:
        """One batch."""
        self.seen += len(batch["label"])
        loss = self.contestant.loss(self.runs(batch), batch["label"])
        self.log("loss", loss, batch_size=len(batch["label"]))
        return loss

    def validation_step(self, batch: dict[str, Tensor]) -> None:
        """Scores of the head that sees most."""
        logits = self.contestant.logits(self.runs(batch))
        self._answers.append((list(logits.values())[-1].float().softmax(-1).cpu(), batch["label"].cpu()))

    def on_validation_epoch_end(self) -> None:
        """Macro AUC, which chooses the epoch."""
        scores, truth = (torch.cat(parts).numpy() for parts in zip(*self._answers, strict=True))
        self._answers.clear()
        self.log(MONITORED, float(np.nan_to_num(macro_auc(scores, truth), nan=0.5)))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; biases, norms and temperatures do not decay."""
        trained = [p for p in self.contestant.parameters() if p.requires_grad]
        return torch.optim.AdamW(
            with_decay(trained, self.contest.weight_decay), lr=self.contest.learning_rate
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember the time spent and the studies seen."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["seen"] = self.seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from them."""
        super().on_load_checkpoint(checkpoint)
        self.seen = checkpoint["seen"]

    def runs(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Greys (b, t, S, S) of the views of this row as the networks take them, (b, t, 3, S, S)."""
        return {
            view: normalise(batch[view].flatten(0, 1), self.preprocessing).unflatten(0, batch[view].shape[:2])
            for view in self.views
        }


def train_and_judge(
    row: DsaRow,
    contest: Contest,
    splits: Mapping[str, Sequence[StudyRow]],
    labels: LabelSet,
    seed: int,
    scratch: Path,
    *,
    views: Sequence[str] = VIEWS,
    progress: Progress | None = None,
) -> Outcome:
    """Train a row and let it answer the test studies, once.

    Parameters
    ----------
    splits : mapping
        "train", "val" and "test" to their studies, no patient in two of them.
    seed : int
        Of weights, order and random changes.
    scratch : Path
        For checkpoints; an interrupted training is taken up there. Removed at the end.
    views : sequence of str
        Which views the network is trained on and asked about.
    """
    lightning.seed_everything(seed, verbose=False)
    contestant = row.build(labels, contest.scale, contest.size, contest.frames, contest.pretrained)
    module = ContestTraining(contestant, contest, splits, labels, seed, views)
    fitting = prepare(
        contest.run, scratch, MONITORED, module.budget, progress or Progress(),
        clip_gradient=1.0, reload_dataloaders_every_n_epochs=1,
    )  # fmt: skip
    best = fitting.fit(module)
    contestant.load_state_dict(checkpoint_weights(best, "contestant."))
    epochs = int(fitting.trainer.current_epoch)
    outcome = Outcome(_answer(module), _trained(contestant), module.seen, epochs, module.budget.elapsed)
    shutil.rmtree(scratch, ignore_errors=True)
    return outcome


def _trained(contestant: torch.nn.Module) -> int:
    frozen = sum(p.numel() for p in contestant.parameters() if not p.requires_grad)
    return count_parameters(contestant) - frozen


def _answer(module: ContestTraining) -> dict[str, NDArray[np.float64]]:
    """Probabilities of the test studies."""
    compute = choose_compute(module.contest.run.device, module.contest.run.precision)
    contestant = module.contestant.to(compute.device).eval()
    found: dict[str, list[Tensor]] = {}
    with torch.inference_mode():
        for batch in module.whole("test"):
            runs = {name: run.to(compute.device) for name, run in module.runs(batch).items()}
            for name, logits in contestant.logits(runs).items():
                found.setdefault(name, []).append(logits.double().softmax(-1).cpu())
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}
