"""The replay of a round: a folder that was named, or simulated studies made once for this person.

Training may not know the phantoms; the command line does, and hands it a folder.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from napari_clipmed.progress import Progress
from napari_clipmed.training.finetune_config import SIMULATED_REPLAY

if TYPE_CHECKING:
    from napari_clipmed.models.card import ModelEntry
    from napari_clipmed.training.replay import Replay

AUTO, NONE = "auto", "none"
STUDIES, SEED = SIMULATED_REPLAY, 20_260_401
"""Simulated studies of the replay, and their seed; of no training."""

MOST_WORKERS = 4
"""Processes that simulate; each needs some hundred megabytes."""


def replay_of(wanted: str, base: ModelEntry, progress: Progress) -> Replay:
    """The replay of a round.

    Parameters
    ----------
    wanted : str
        "auto": simulated studies for a diagnosis model that learned from such, none for others, whose data
        cannot be shipped. "none". Or a folder.
    """
    from napari_clipmed.training.replay import Replay, load_replay

    folder = _simulated(progress) if wanted == AUTO and _is_simulated(base) else None
    if wanted not in (AUTO, NONE):
        folder = Path(wanted)
    labels = [str(row["key"]) for row in (base.card.label_set or {}).get("labels", [])]
    return load_replay(folder, base.card.task, labels) if folder is not None else Replay()


def replay_count(wanted: str, base: ModelEntry) -> int:
    """How many cases that would be, without making any."""
    if wanted == AUTO:
        return STUDIES if _is_simulated(base) else 0
    replay = replay_of(wanted, base, Progress())
    return len(replay.training) + len(replay.apart)


def _is_simulated(base: ModelEntry) -> bool:
    from napari_clipmed.phantoms.dsa.diseases import LABELS

    labels = {str(row["key"]) for row in (base.card.label_set or {}).get("labels", [])}
    return base.card.task == "diagnosis" and base.card.simulated_only and bool(labels & set(LABELS))


def _simulated(progress: Progress) -> Path:
    """The folder of simulated studies; made at the first round, in some tens of seconds."""
    from napari_clipmed.models.registry import user_folder
    from napari_clipmed.phantoms.dsa.writer import write_dsa_phantoms

    folder = user_folder() / "replay" / f"dsa-{SEED}-{STUDIES}"
    rows = folder / "studies.jsonl"
    whole = rows.is_file() and len(rows.read_text(encoding="utf-8").splitlines()) == STUDIES
    if not (whole and _finished(folder)):
        workers = min(MOST_WORKERS, os.cpu_count() or 1)
        write_dsa_phantoms(STUDIES, SEED, folder, "npz", progress, workers, split="test")
    return folder


def _finished(folder: Path) -> bool:
    try:
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(manifest.get("seed") == SEED)
