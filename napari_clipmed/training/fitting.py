"""What both trainers share around Lightning's `Trainer`: budget, report, stopping, checkpoints, processes."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor, nn
from torch.utils.data import Sampler

from napari_clipmed.errors import Cancelled, ClipmedError
from napari_clipmed.inference.device import choose_compute
from napari_clipmed.progress import Progress
from napari_clipmed.training.run_options import RunOptions

log = logging.getLogger(__name__)

BEST, LAST = "best", "last"
_PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}
_ACCELERATORS = {"cuda": "gpu", "mps": "mps", "cpu": "cpu"}


class Budget(Callback):
    """How much of a training is done, the learning rate of that moment, and the end.

    Parameters
    ----------
    epochs : int
        Passes over the data.
    minutes : float or None
        Computing time; it counts on where an interrupted training is taken up.
    rate : callable
        Learning rate at a share of the training in [0, 1]; groups of parameters with a ``factor`` take that
        share of it.
    clock : callable
        Seconds; the processor's own time instead of the wall's makes trainings comparable on a busy machine.
    """

    def __init__(
        self,
        epochs: int,
        minutes: float | None,
        rate: Callable[[float], float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.epochs, self.minutes, self.rate, self.clock = epochs, minutes, rate, clock
        self.elapsed = 0.0
        self.fraction = 0.0
        self._last = clock()

    def share(self, epochs_done: float) -> float:
        """Share of the training that is done, by epochs or by the clock, whichever is further."""
        by_clock = self.elapsed / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(epochs_done / self.epochs, by_clock))

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Start the clock, also after a resume."""
        self._last = self.clock()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Look at the clock and set the learning rate."""
        now = self.clock()
        # The first process tells the time, so that all change stages and stop at the same step.
        self.elapsed = trainer.strategy.broadcast(self.elapsed + now - self._last)
        self._last = now
        within = batch_idx / max(1, trainer.num_training_batches)
        self.fraction = self.share(trainer.current_epoch + within)
        for group in trainer.optimizers[0].param_groups:
            group["lr"] = self.rate(self.fraction) * group.get("factor", 1.0)

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        """Stop when the time is spent, after a last validation."""
        if self.fraction >= 1.0:
            trainer.should_stop = True
            trainer.check_val_every_n_epoch = 1


class Budgeted(lightning.LightningModule):
    """What is trained within a `Budget`: the time spent is kept with the weights, and a step has an end."""

    budget: Budget

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Remember the time spent."""
        checkpoint["elapsed"] = self.budget.elapsed

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from the time spent."""
        self.budget.elapsed = checkpoint["elapsed"]

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then do what is due once a step, however many batches it took."""
        super().optimizer_step(*args, **kwargs)
        self.after_step(self.global_step + 1)

    def after_step(self, step: int) -> None:
        """Move the running mean of the weights; `step` counts from 1."""


class Reporting(Callback):
    """Tells a `Progress` how much is done, which also lets it cancel, and logs each validation."""

    def __init__(self, progress: Progress, budget: Budget) -> None:
        self.progress, self.budget = progress, budget

    def on_train_batch_end(self, trainer: Any, *args: Any) -> None:
        """Say where the run is; raises when it should stop."""
        self.progress.step("training", round(1000 * self.budget.fraction), 1000)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Write the figures of an epoch to the log."""
        values = {name: round(float(value), 4) for name, value in sorted(trainer.callback_metrics.items())}
        done = 100 * self.budget.fraction
        log.info("epoch %d, %.0f %%, %.0f s: %s", trainer.current_epoch, done, self.budget.elapsed, values)


class Patience(EarlyStopping):
    """Early stopping on a score of the validation, once what it judges is being trained (`judged`)."""

    def __init__(self, score: str, validations: int) -> None:
        super().__init__(score, mode="max", patience=validations, check_on_train_epoch_end=False)

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        """Count this validation, or not."""
        if getattr(pl_module, "judged", True):
            super().on_validation_end(trainer, pl_module)


@contextmanager
def cancelled_by_a_kill() -> Iterator[None]:
    """Around Lightning's fit: a polite kill is a cancel; it would leave silently, as if all were done."""
    try:
        yield
    except SIGTERMException:
        raise Cancelled from None


@dataclass(frozen=True)
class Fitting:
    """A training run in a folder: its trainer, and where its checkpoints are.

    Parameters
    ----------
    trainer : lightning.Trainer
    folder : Path
        Holds ``best.ckpt`` (weights of the best validation) and ``last.ckpt`` (everything, after each epoch).
    """

    trainer: lightning.Trainer
    folder: Path

    def fit(self, module: Budgeted) -> Path:
        """Train, going on from ``last.ckpt`` where there is one; the checkpoint with the best score.

        Raises
        ------
        ClipmedError
            When nothing was ever validated.
        """
        last = self.folder / f"{LAST}.ckpt"
        resumed = str(last) if last.exists() else None
        with cancelled_by_a_kill():
            self.trainer.fit(module, ckpt_path=resumed, weights_only=True)
        if self.trainer.interrupted:
            raise KeyboardInterrupt
        best = self.folder / f"{BEST}.ckpt"
        if not best.exists():
            raise ClipmedError(
                "The training ended before its first validation.", "Give it more time or epochs."
            )
        return best


def prepare(
    run: RunOptions,
    out: Path,
    score: str,
    budget: Budget,
    progress: Progress,
    *,
    validate_every: int = 1,
    clip_gradient: float = 0.0,
    **options: Any,
) -> Fitting:
    """A Lightning trainer as a recipe and a person want it.

    Parameters
    ----------
    run : RunOptions
    out : Path
        Receives ``metrics.csv`` and the folder ``checkpoints``.
    score : str
        Logged figure of the validation, the higher the better, that selects and stops.
    budget : Budget
    progress : Progress
    validate_every : int
        Epochs between validations.
    clip_gradient : float
        Largest norm of the gradient; 0 for any.
    **options
        Further ones of `lightning.Trainer`.

    Raises
    ------
    ClipmedError
        For a device or a precision that is not there.
    """
    compute = choose_compute(run.device, run.precision, run.threads or None)
    if compute.device == "cuda" and run.processes > torch.cuda.device_count():
        raise ClipmedError(
            f"{run.processes} processes need as many CUDA cards; {torch.cuda.device_count()} are there.",
            "Ask for fewer, or --device cpu.",
        )
    parallel = run.processes > 1
    if parallel and run.threads:
        os.environ.setdefault("OMP_NUM_THREADS", str(run.threads))  # else Lightning shares out the cores
    _announce(compute.reason)
    _keep_earlier_curves(out)
    folder = out / "checkpoints"
    patience = [Patience(score, run.patience)] if run.patience else []
    trainer = lightning.Trainer(
        accelerator=_ACCELERATORS[compute.device],
        devices=run.processes,
        # Stages and adversaries leave parts of a network without gradient.
        strategy="ddp_find_unused_parameters_true" if parallel else "auto",
        sync_batchnorm=parallel and compute.device == "cuda",
        precision=_PRECISIONS[compute.precision],  # type: ignore[arg-type]
        accumulate_grad_batches=run.accumulate,
        max_epochs=budget.epochs,
        check_val_every_n_epoch=validate_every,
        gradient_clip_val=clip_gradient or None,
        num_sanity_val_steps=0,
        logger=CSVLogger(out, name="", version=""),
        callbacks=[budget, Reporting(progress, budget), *patience, *_checkpoints(folder, score)],
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=out,
        **options,
    )
    return Fitting(trainer, folder)


def _checkpoints(folder: Path, score: str) -> list[ModelCheckpoint]:
    once: dict[str, Any] = {"enable_version_counter": False}
    return [
        ModelCheckpoint(folder, BEST, monitor=score, mode="max", save_weights_only=True, **once),
        ModelCheckpoint(folder, LAST, save_on_train_epoch_end=True, **once),
    ]


@rank_zero_only
def _announce(reason: str) -> None:
    log.info("%s", reason)


@rank_zero_only
def _keep_earlier_curves(out: Path) -> None:
    """Lightning deletes the curves of a run that it goes on with; they are set aside under a number."""
    curves = out / "metrics.csv"
    if curves.exists():
        number = 1 + len(list(out.glob("metrics-*.csv")))
        curves.rename(out / f"metrics-{number}.csv")


def share_of_batch(batch: int, processes: int) -> int:
    """Samples of a batch for each process.

    Raises
    ------
    ClipmedError
        When they cannot be shared out evenly.
    """
    if batch % processes:
        raise ClipmedError(
            f"A batch of {batch} cannot be shared by {processes} processes.",
            "Choose a multiple with --batch, or another number of processes.",
        )
    return batch // processes


def with_decay(parameters: Iterable[nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Groups for an optimiser: matrices and kernels decay; biases, norms and temperatures do not."""
    trained = list(parameters)
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]


def seeded(*numbers: int) -> int:
    """One seed of several numbers (a recipe's seed, the epoch, the process), for torch and numpy.

    Seeding each epoch by itself makes a resumed training draw what it would have drawn without the break.
    """
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


class Shuffled(Sampler[int]):
    """Every sample once, in an order that belongs to a seed, however often Lightning begins anew.

    Parameters
    ----------
    count : int
    seed : callable
        Asked at each beginning, the same in all processes, which then share the order out.
    """

    def __init__(self, count: int, seed: Callable[[], int]) -> None:
        self.count, self.seed = count, seed

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed())
        yield from torch.randperm(self.count, generator=generator).tolist()


class Balanced(Sampler[int]):
    """As many samples of each group as the smallest has, drawn anew each time; otherwise as `Shuffled`.

    Parameters
    ----------
    groups : sequence of int
        The group of each sample.
    seed : callable
        See `Shuffled`.
    """

    def __init__(self, groups: Sequence[int], seed: Callable[[], int]) -> None:
        numbers = torch.tensor(list(groups))
        self.members = [torch.nonzero(numbers == group).flatten() for group in numbers.unique()]
        self.each, self.seed = min(map(len, self.members)), seed

    def __len__(self) -> int:
        return self.each * len(self.members)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed())
        drawn = [m[torch.randperm(len(m), generator=generator)[: self.each]] for m in self.members]
        together = torch.cat(drawn)
        yield from together[torch.randperm(len(together), generator=generator)].tolist()


def everywhere(module: lightning.LightningModule, *columns: Tensor) -> list[Tensor]:
    """Rows of all processes together, in the order of the processes, with their gradients."""
    if module.trainer.world_size == 1:
        return list(columns)
    gathered = (module.all_gather(column.to(module.device), sync_grads=True) for column in columns)
    return [rows.flatten(0, 1) for rows in gathered]  # type: ignore[union-attr]


def counted_once(module: lightning.LightningModule, index: Tensor, *columns: Tensor) -> list[Tensor]:
    """Rows of all processes in the order of their sample, each sample once, on the processor.

    Samples are repeated so that all processes have equally many; a repeated one must not count twice.
    """
    index, *columns_of_all = everywhere(module, index, *columns)
    first = torch.from_numpy(np.unique(index.cpu().numpy(), return_index=True)[1])
    return [column.detach().cpu()[first] for column in columns_of_all]


def checkpoint_weights(path: Path, *prefixes: str) -> dict[str, Tensor]:
    """Weights of a checkpoint under the first prefix that occurs in it, which is removed.

    Raises
    ------
    ClipmedError
        When the file is missing or no checkpoint of a training.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")["state_dict"]
    except (OSError, KeyError, UnpicklingError) as error:
        raise ClipmedError(f"{path} is no checkpoint of a training run.") from error
    prefix = next((p for p in prefixes if any(key.startswith(p) for key in state)), prefixes[-1])
    return {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
