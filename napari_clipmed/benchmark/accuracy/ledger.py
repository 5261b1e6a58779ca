"""What is finished is kept, a line of JSON each, so that an interrupted benchmark goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol, TypeVar

from napari_clipmed.errors import ClipmedError
from napari_clipmed.progress import Progress
from napari_clipmed.training.run_options import RunOptions


class Keyed(Protocol):
    """A row of a table."""

    @property
    def key(self) -> str:
        """Its short name."""


Row = TypeVar("Row", bound=Keyed)


def plain_settings(contest: Any) -> dict[str, Any]:
    """Settings of a contest (a dataclass with ``run`` and ``augmentation``) that decide its results.

    Threads and the like do not.
    """
    run: RunOptions = contest.run
    return asdict(contest) | {
        "run": run.model_dump(include={"device", "precision"}),
        "augmentation": contest.augmentation.model_dump(exclude_defaults=True),
    }


def named(progress: Progress, key: str) -> Progress:
    """The same progress, with the row before every message."""
    return Progress(lambda step: progress.step(f"{key}: {step.what}", step.done, step.total))


class Ledger:
    """Finished results of a folder.

    Parameters
    ----------
    folder : Path
        Made if absent; holds ``results.jsonl``.
    settings : mapping
        Plain data; results of other settings stay in the file but are not seen.

    Raises
    ------
    ClipmedError
        When the folder cannot be made.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        self.folder, self.settings = folder, dict(settings)
        self.path = folder / "results.jsonl"
        text = json.dumps(self.settings, sort_keys=True, default=str)
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()[:16]
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ClipmedError(
                f"{folder} cannot be written ({error.strerror}).", "Choose another folder with --out."
            ) from error

    def results(self) -> dict[str, dict[str, Any]]:
        """Finished results of these settings by their key; a line that was cut off is not one."""
        found: dict[str, dict[str, Any]] = {}
        if not self.path.exists():
            return found
        for line in self.path.read_text(encoding="utf-8").splitlines(keepends=True):
            if not line.endswith("\n"):
                break
            row = json.loads(line)
            if row["settings"] == self.fingerprint:
                found[row["key"]] = row["result"]
        return found

    def waiting(self, rows: Sequence[Row], seeds: Sequence[int]) -> list[tuple[str, Row, int]]:
        """Key, row and seed of what is not finished: first the whole table with one seed."""
        wanted = [(f"{row.key}-{seed}", row, seed) for seed in seeds for row in rows]
        finished = self.results()
        return [each for each in wanted if each[0] not in finished]

    def by_row(self) -> dict[str, list[dict[str, Any]]]:
        """Finished results of each row, by its key, in the order of their seeds."""
        found: dict[str, list[dict[str, Any]]] = {}
        for result in sorted(self.results().values(), key=lambda one: one["seed"]):
            found.setdefault(result["row"], []).append(result)
        return found

    def add(self, key: str, result: Mapping[str, Any]) -> None:
        """Keep a finished result."""
        whole = self.path.read_bytes() if self.path.exists() else b""
        with self.path.open("a", encoding="utf-8") as lines:
            if whole and not whole.endswith(b"\n"):
                lines.truncate(whole.rfind(b"\n") + 1)
            lines.write(json.dumps({"settings": self.fingerprint, "key": key, "result": dict(result)}) + "\n")

    def scratch(self, key: str) -> Path:
        """Folder of an unfinished result, of these settings only."""
        return self.folder / f"unfinished-{self.fingerprint}" / key
