"""What a round needs of this machine: time by the pace of earlier rounds here, memory, disk, device."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from napari_clipmed.errors import WorkspaceError
from napari_clipmed.models.card import ModelEntry
from napari_clipmed.models.registry import user_folder
from napari_clipmed.training.finetune_config import FinetuneConfig
from napari_clipmed.training.finetune_plan import FinetunePlan
from napari_clipmed.whole_files import whole_file

BYTES_PER_EXAMPLE = {
    ("diagnosis", "head"): 4 << 16,
    ("diagnosis", "adapter"): 2 << 20,
    ("diagnosis", "full"): 300 << 20,
    ("segmentation", "head"): 1 << 18,
    ("segmentation", "adapter"): 1 << 20,
    ("segmentation", "full"): 60 << 20,
}
"""Memory that an example takes with the shipped models: kept for the round, or ("full") while in a batch."""

PROGRAM_BYTES = 700 << 20
"""What Python, torch and Lightning take by themselves."""

GUESS = {
    ("diagnosis", "head"): (0.5, 0.004),
    ("diagnosis", "adapter"): (0.5, 0.1),
    ("diagnosis", "full"): (0.5, 3.0),
    ("segmentation", "head"): (0.2, 0.2),
    ("segmentation", "adapter"): (0.2, 0.4),
    ("segmentation", "full"): (0.2, 1.0),
}
"""Seconds to read an example, and to train on it once, on two processor cores; until a round ran here."""


DEVICES = {
    "auto": "the graphics card where there is one, else the processor",
    "cpu": "the processor",
    "cuda": "the graphics card",
    "mps": "Apple's graphics",
}


@dataclass(frozen=True)
class Pace:
    """Seconds for reading one example, and for training on it in one epoch."""

    read_s: float
    train_s: float


@dataclass(frozen=True)
class Needs:
    """What a round needs, and what there is.

    Parameters
    ----------
    seconds : float
        At most; early stopping may end it sooner.
    measured : bool
        Whether an earlier round on this machine told the pace.
    memory_bytes, memory_free, disk_bytes, disk_free : int
    device : str
        In words.
    """

    seconds: float
    measured: bool
    memory_bytes: int
    memory_free: int
    disk_bytes: int
    disk_free: int
    device: str

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def sentences(self) -> Iterator[str]:
        """What a person should know before the start."""
        basis = "by earlier rounds here" if self.measured else "a guess until a first round ran here"
        yield f"Takes at most about {_duration(self.seconds)} ({basis})."
        yield f"Runs on: {self.device}."
        yield f"Memory: about {_size(self.memory_bytes)} of {_size(self.memory_free)} free."
        yield f"Disk: {_size(self.disk_bytes)} of {_size(self.disk_free)} free."
        if self.memory_bytes > self.memory_free:
            yield "The memory may not suffice; close other programs, or teach the last layers only."
        if self.disk_bytes > self.disk_free:
            yield "The disk is too full; free some space first."


def needs(
    plan: FinetunePlan,
    base: ModelEntry,
    config: FinetuneConfig,
    place: Path,
    device: str,
    replayed: int = 0,
) -> Needs:
    """Work it out; nothing is computed or written.

    Parameters
    ----------
    place : Path
        Where the new model goes.
    device : str
        "cpu", "cuda" or "mps"; "auto" where that is decided at the start.
    replayed : int
        Cases of the replay.
    """
    examples = len(plan.training) + len(plan.validation) + replayed
    lessons = len(plan.training) / max(1e-6, 1 - (min(config.replay, 0.9) if replayed else 0))
    paces = _paces()
    likely = ("cuda", "mps", "cpu") if device == "auto" else (device,)
    known = [paces.get(_name(plan.task, config.strategy, name, base)) for name in likely]
    pace = next((pace for pace in known if pace is not None), None)
    found = pace or Pace(*GUESS[plan.task, config.strategy])
    reads = config.epochs if config.strategy == "full" else 1
    kept = config.batch_size if config.strategy == "full" else examples
    weights = base.weights.stat().st_size
    return Needs(
        seconds=found.read_s * examples * min(reads, 2) + found.train_s * lessons * config.epochs,
        measured=pace is not None,
        memory_bytes=PROGRAM_BYTES + 8 * weights + BYTES_PER_EXAMPLE[plan.task, config.strategy] * kept,
        memory_free=psutil.virtual_memory().available,
        # The new model, and twice the state of an epoch: weights, the best ones, two moments of Adam.
        disk_bytes=weights + (2 * 4 * 2 * weights if config.strategy == "full" else weights),
        disk_free=_free(place),
        device=DEVICES[device],
    )


def check_disk(base: ModelEntry, place: Path) -> None:
    """Refuse before any work what the disk could not hold.

    Raises
    ------
    WorkspaceError
    """
    needed, free = 2 * base.weights.stat().st_size, _free(place)
    if free < needed:
        raise WorkspaceError(
            f"The disk of {place} has {free >> 20} MB left; the new model needs {needed >> 20} MB.",
            "Free some space and start again.",
        )


def remember_pace(task: str, strategy: str, device: str, base: ModelEntry, pace: Pace) -> None:
    """Keep the pace of a finished round for the next estimate; a disk that is full loses nothing else."""
    file = _file()
    try:
        kept = _read() | {_name(task, strategy, device, base): asdict(pace)}
        with whole_file(file, replace=True) as path:
            path.write_text(json.dumps(kept, indent=1), encoding="utf-8")
    except OSError:
        return


def _file() -> Path:
    return user_folder() / "finetune_paces.json"


def _name(task: str, strategy: str, device: str, base: ModelEntry) -> str:
    return f"{task}/{strategy}/{device}/{base.id.split('-ft-')[0]}"


def _read() -> dict[str, Any]:
    try:
        found = json.loads(_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _paces() -> Mapping[str, Pace]:
    known = {}
    for name, row in _read().items():
        if isinstance(row, dict) and row.keys() == {"read_s", "train_s"}:
            known[name] = Pace(float(row["read_s"]), float(row["train_s"]))
    return known


def _free(place: Path) -> int:
    while not place.exists() and place != place.parent:
        place = place.parent
    return shutil.disk_usage(place).free


def _size(count: int) -> str:
    return f"{count / (1 << 30):.1f} GB" if count >= 1 << 30 else f"{count >> 20} MB"


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{max(5, round(seconds / 5) * 5):.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
