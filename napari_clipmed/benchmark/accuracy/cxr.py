"""CausalCLIPSeg's Tables 1 and 2: all rows on the same films with the same budget; finished ones are kept."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader

from napari_clipmed.benchmark.accuracy.cxr_data import Films
from napari_clipmed.benchmark.accuracy.cxr_rows import CxrRow, build
from napari_clipmed.benchmark.accuracy.dsa_training import UNLIMITED
from napari_clipmed.benchmark.accuracy.encoders import Scale
from napari_clipmed.benchmark.accuracy.ledger import Ledger, named, plain_settings
from napari_clipmed.benchmark.accuracy.segmenters import Segmenter
from napari_clipmed.inference.device import choose_compute
from napari_clipmed.inference.preprocess import Preprocessing, normalise
from napari_clipmed.models.backbones import count_parameters
from napari_clipmed.progress import Progress
from napari_clipmed.training.causal_clipseg_evaluate import patient_interval
from napari_clipmed.training.fitting import (
    Budget,
    Budgeted,
    Shuffled,
    checkpoint_weights,
    prepare,
    seeded,
    with_decay,
)
from napari_clipmed.training.metrics_segmentation import SegmentationMetrics
from napari_clipmed.training.run_options import RunOptions
from napari_clipmed.training.segmentation_batches import QaTaDataset, augment
from napari_clipmed.training.segmentation_config import Augmentation, learning_rate_factor, read_config

MONITORED = "val_dice"
REFERENCE = "ours"
"""The row that the others are compared with."""


@dataclass(frozen=True)
class MaskContest:
    """What all rows share, so that they differ by the network alone.

    Parameters
    ----------
    scale : str
        ``paper``: published widths; ``compact``: narrow variants. All start from random weights.
    size : int
        Side in pixels.
    minutes, epochs
        Budget of a row, whichever ends first; minutes of the processor where it trains on the processor.
    batch : int
    learning_rate, weight_decay : float
        AdamW with a cosine.
    augmentation : Augmentation
        That of the recipe ``causal_clipseg_compact``.
    run : RunOptions
    """

    scale: Scale = "compact"
    size: int = 128
    minutes: float | None = None
    epochs: int | None = None
    batch: int = 16
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    augmentation: Augmentation = Augmentation()
    run: RunOptions = RunOptions()


def mask_contest(**changes: Any) -> MaskContest:
    """The contest with the augmentation of ``causal_clipseg_compact``."""
    return MaskContest(**({"augmentation": read_config("causal_clipseg_compact").augmentation} | changes))


class MaskTraining(Budgeted):
    """A segmenter under the contest's rules; the best epoch by mean Dice is kept."""

    def __init__(
        self, net: Segmenter, contest: MaskContest, films: Mapping[str, QaTaDataset], seed: int
    ) -> None:
        super().__init__()
        self.net, self.contest, self.films, self.seed = net, contest, films, seed
        self.preprocessing = Preprocessing(contest.size, 1, "squash")
        on_processor = choose_compute(contest.run.device, contest.run.precision).device == "cpu"
        clock = time.process_time if on_processor else time.monotonic
        self.budget = Budget(contest.epochs or UNLIMITED, contest.minutes, self._rate, clock)
        self.seen = 0
        self.metrics = SegmentationMetrics()

    def _rate(self, done: float) -> float:
        return self.contest.learning_rate * learning_rate_factor(done, 0.05)

    def train_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The training films in an order that belongs to seed and epoch."""
        films, batch = self.films["train"], self.contest.batch
        order = Shuffled(len(films), lambda: seeded(self.seed, self.current_epoch))
        return DataLoader(films, batch, sampler=order, drop_last=len(films) >= batch)

    def val_dataloader(self) -> DataLoader[dict[str, Any]]:
        """The films that choose the epoch."""
        return DataLoader(self.films["selection"], self.contest.batch)

    def on_train_epoch_start(self) -> None:
        """What an epoch draws belongs to the seed."""
        seed = seeded(self.seed, self.current_epoch)
        torch.manual_seed(seed)
        self.films["train"].reseed(seed)

    def training_step(self, batch: dict[str, Any]) -> Tensor:
        """One batch."""
        self.seen += len(batch["image"])
        images, masks = batch["image"].float() / 255, batch["mask"].float()
        images, masks = augment(images, masks, self.contest.size, self.contest.augmentation)
        return self.net.loss(self._pictures(images), batch["sentence"], masks)

    def on_validation_epoch_start(self) -> None:
        """Start counting."""
        self.metrics = SegmentationMetrics()

    def validation_step(self, batch: dict[str, Any]) -> None:
        """Count the overlaps of a batch."""
        self.metrics.update(self.answer(batch), batch["mask"])

    def on_validation_epoch_end(self) -> None:
        """Mean Dice, which chooses the epoch."""
        self.log(MONITORED, self.metrics.compute().dice_mean)

    def answer(self, batch: Mapping[str, Any]) -> Tensor:
        """Probabilities [B, 1, S, S]."""
        images = batch["image"].to(self.device).float() / 255
        return self.net.logits(self._pictures(images), batch["sentence"]).float().sigmoid()

    def _pictures(self, images: Tensor) -> Tensor:
        return normalise(images[:, 0], self.preprocessing).contiguous(memory_format=torch.channels_last)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; norms and biases do not decay."""
        groups = with_decay(self.net.parameters(), self.contest.weight_decay)
        return torch.optim.AdamW(groups, lr=self.contest.learning_rate)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember the time spent and the films seen."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["seen"] = self.seen

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from them."""
        super().on_load_checkpoint(checkpoint)
        self.seen = checkpoint["seen"]


def measure_cxr(
    films: Films,
    out: Path,
    rows: Sequence[CxrRow],
    seeds: Sequence[int],
    contest: MaskContest,
    *,
    progress: Progress | None = None,
    on_result: Callable[[str, dict[str, Any]], None] = lambda key, result: None,
) -> dict[str, Any]:
    """Train and judge what is not finished yet.

    Parameters
    ----------
    films : Films
    out : Path
        Keeps ``results.jsonl``, the overlaps of each row, and the unfinished row.
    rows, seeds
        Each row with each seed.
    on_result : callable
        Told the key and the figures of each row as it ends.

    Returns
    -------
    dict
        ``data``, ``contest`` (plain), and ``rows``: of every finished row of these settings, also of earlier
        calls, the list of results of its seeds, and its ``ci95``, see `intervals`.
    """
    told_by = progress or Progress()
    told = {"data": describe(films), "contest": plain_settings(contest)}
    ledger = Ledger(out, told)
    waiting = ledger.waiting(rows, seeds)
    ready = _read(films, contest, told_by) if waiting else {}
    for key, row, seed in waiting:
        result, counts = _measure(row, seed, contest, ready, ledger.scratch(key), named(told_by, key))
        np.savez_compressed(out / f"{ledger.fingerprint}-{key}.npz", **counts)  # type: ignore[arg-type]
        ledger.add(key, result)
        on_result(key, result)
    found = ledger.by_row()
    return told | {"rows": found, "ci95": intervals(out, ledger.fingerprint, found, films)}


def describe(films: Films) -> dict[str, Any]:
    """How many films and patients there are, and a fingerprint of which."""
    sets = {"train": films.train, "selection": films.selection, **films.tests}
    text = "\n".join(f"{name} {item.id} {item.sentence}" for name, items in sets.items() for item in items)
    return {
        "origin": films.origin,
        "films": {name: len(items) for name, items in sets.items()},
        "patients": {name: len({item.patient for item in items}) for name, items in sets.items()},
        "fingerprint": hashlib.sha256(text.encode()).hexdigest()[:16],
    }


def _read(films: Films, contest: MaskContest, progress: Progress) -> dict[str, QaTaDataset]:
    """All films in memory, once for all rows; only those of training are mirrored."""
    preprocessing = Preprocessing(contest.size, 1, "squash")
    ready = {
        "train": QaTaDataset(films.train, preprocessing, contest.augmentation.flip, None, 0, progress),
        "selection": QaTaDataset(films.selection, preprocessing, progress=progress),
    }
    tests = {
        name: QaTaDataset(items, preprocessing, progress=progress) for name, items in films.tests.items()
    }
    return ready | tests


def _measure(
    row: CxrRow,
    seed: int,
    contest: MaskContest,
    films: Mapping[str, QaTaDataset],
    scratch: Path,
    progress: Progress,
) -> tuple[dict[str, Any], dict[str, NDArray[np.float64]]]:
    """One row with one seed: its figures, and overlap, prediction and truth of each test film."""
    lightning.seed_everything(seed, verbose=False)
    net = build(row, contest.scale, contest.size)
    module = MaskTraining(net, contest, films, seed)
    fitting = prepare(
        contest.run, scratch, MONITORED, module.budget, progress,
        clip_gradient=1.0, reload_dataloaders_every_n_epochs=1,
    )  # fmt: skip
    best = fitting.fit(module)
    net.load_state_dict(checkpoint_weights(best, "net."))
    figures, counts = {}, {}
    module.to(choose_compute(contest.run.device, contest.run.precision).device).eval()
    for name in films:
        if name in ("train", "selection"):
            continue
        metrics = SegmentationMetrics()
        with torch.inference_mode():
            for batch in DataLoader(films[name], contest.batch):
                metrics.update(module.answer(batch).cpu(), batch["mask"])
        scores = metrics.compute()
        keys = ("dice_mean", "miou_mean", "dice_pooled", "miou_pooled")
        figures[name] = {key: round(getattr(scores, key), 4) for key in keys}
        counts[name] = metrics.counts.numpy()
    result = {
        "row": row.key,
        "seed": seed,
        "parameters": count_parameters(net),
        "films_seen": module.seen,
        "epochs": int(fitting.trainer.current_epoch),
        "seconds": round(module.budget.elapsed, 1),
        "figures": figures,
    }
    shutil.rmtree(scratch, ignore_errors=True)
    return result, counts


def intervals(
    out: Path, mark: str, rows: Mapping[str, Sequence[Mapping[str, Any]]], films: Films, rounds: int = 1000
) -> dict[str, dict[str, dict[str, list[float]]]]:
    """95 % intervals of each row and test over patients: ``dice_mean``, and ``difference``, ours less it.

    Seeds are averaged film by film.
    """
    dice: dict[str, dict[str, NDArray[np.float64]]] = {}
    for key, results in rows.items():
        for result in results:
            with np.load(out / f"{mark}-{key}-{result['seed']}.npz", allow_pickle=False) as stored:
                for name in stored.files:
                    one = SegmentationMetrics.of(torch.from_numpy(stored[name])).per_image_dice().numpy()
                    known = dice.setdefault(key, {})
                    known[name] = known.get(name, 0) + one / len(results)
    found: dict[str, dict[str, dict[str, list[float]]]] = {}
    for key, tests in dice.items():
        for name, values in tests.items():
            people = np.array([item.patient for item in films.tests[name]])
            bounds = found.setdefault(key, {}).setdefault(name, {})
            bounds["dice_mean"] = patient_interval(values, people, rounds)
            if REFERENCE in dice and key != REFERENCE:
                bounds["difference"] = patient_interval(dice[REFERENCE][name] - values, people, rounds)
    return found
