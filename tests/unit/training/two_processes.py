"""Run as a script: trains both models, and a probe, in two processes on the CPU; Lightning starts the second.

``two_processes.py DSA QATA OUT``; each process leaves in OUT what it saw.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from test_causal_clipseg_training import CONFIG
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from napari_clipmed.models.clip_dsa_loss import contrastive_loss
from napari_clipmed.progress import Progress
from napari_clipmed.training import causal_clipseg, clip_dsa
from napari_clipmed.training.clip_dsa_recipe import ClipDSARecipe, Stage
from napari_clipmed.training.dsa_data import TrainingStudies
from napari_clipmed.training.fitting import Budget, Budgeted, everywhere, prepare
from napari_clipmed.training.run_options import RunOptions
from napari_clipmed.training.segmentation_batches import QaTaDataset
from napari_clipmed.training.segmentation_config import SegmentationConfig

RUN = RunOptions(device="cpu", processes=2, threads=1)
PAIRS = torch.randn(8, 2, 6, generator=torch.Generator().manual_seed(0))
"""Eight studies of two views, for the probe."""


def projection() -> nn.Linear:
    torch.manual_seed(1)
    return nn.Linear(6, 4)


def dsa_recipe(**changes: Any) -> ClipDSARecipe:
    """Small enough for a second; both kinds of stages, the first with parts that get no gradient."""
    stages = (
        Stage(until=0.5, crop=32, frames=2, batch=4, location=1.0, easy_first=0.5),
        Stage(until=1.0, frames=2, batch=4, frame_labels=0.5),
    )
    content: dict[str, Any] = {
        "id": "tiny", "title": "Tiny", "backbone": "clipmed-tiny", "n_frames": 3, "epochs": 2,
        "learning_rate": 1e-3, "learning_rate_end": 1e-5, "weight_decay": 1e-2, "ema": 0.5,
        "stages": stages, "run": RUN,
    }  # fmt: skip
    return ClipDSARecipe(**content | changes)


def seg_config(**changes: Any) -> SegmentationConfig:
    return SegmentationConfig.model_validate(CONFIG | {"run": RUN.model_dump(), "selection": 0.0} | changes)


class Probe(Budgeted):
    """The contrast of eight studies, four in each process; its gradient must be that of all eight at once."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = projection()
        self.budget = Budget(1, None, lambda fraction: 0.0)
        self.gradient: list[list[float]] = []

    def train_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(PAIRS), batch_size=4)

    def val_dataloader(self) -> DataLoader[Any]:
        return DataLoader(TensorDataset(PAIRS), batch_size=4)

    def training_step(self, batch: list[Tensor]) -> Tensor:
        a, b = everywhere(self, *(self.layer(batch[0][:, view]) for view in (0, 1)))
        return contrastive_loss(a, b, 5.0, torch.eye(len(a)))

    def on_before_optimizer_step(self, optimizer: Any) -> None:
        self.gradient = self.layer.weight.grad.tolist()

    def validation_step(self, batch: list[Tensor]) -> None:
        self.log("score", 1.0, sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.layer.parameters(), lr=0.0)


def recorded(dataset: type, name: Any) -> list[str]:
    """Names of the samples that data sets of a kind hand out from now on, those without a name left out."""
    seen: list[str] = []
    original = dataset.__getitem__

    def look(self: Any, item: int) -> Any:
        seen.extend(filter(None, [name(self, item)]))
        return original(self, item)

    dataset.__getitem__ = look  # type: ignore[method-assign]
    return seen


def main(dsa: Path, qata: Path, out: Path) -> None:
    torch.set_num_threads(1)
    report: dict[str, Any] = {}
    studies = recorded(TrainingStudies, lambda self, item: self.rows[item].id)
    clip_dsa.train(dsa, dsa_recipe(), out / "dsa")
    report["studies"] = studies
    films = recorded(QaTaDataset, lambda self, item: self.variation and self.items[item].id)
    causal_clipseg.train(qata, seg_config(), out / "qata")
    report["films"] = films
    probe = Probe()
    prepare(RUN, out / "probe", "score", probe.budget, Progress()).fit(probe)
    report["gradient"] = probe.gradient
    (out / f"rank{probe.global_rank}.json").write_text(json.dumps(report))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
