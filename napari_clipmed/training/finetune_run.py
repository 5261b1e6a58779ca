"""The folder of a round, ``runs/<run_id>/``: where it stands, so that a killed or cancelled one can go on.

``run.json`` holds what was asked for and how far it came; ``epoch-<n>.safetensors`` the numbers of the last
whole epoch, checked against the hash in ``run.json``. Nothing in it can run code when it is read.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records.workspace import workspace_errors
from napari_clipmed.whole_files import whole_file

if TYPE_CHECKING:
    from torch import Tensor

RUN_FILE, REPORT_FILE, COMPARISON_FILE = "run.json", "report.html", "comparison.json"
UNFINISHED, DONE = "unfinished", "done"
VERSION = 1


@dataclass
class Run:
    """One round's folder.

    Parameters
    ----------
    folder : Path
        ``runs/<run_id>``.
    facts : dict
        What ``run.json`` says.
    """

    folder: Path
    facts: dict[str, Any]

    @classmethod
    def begin(cls, runs: Path, order: Mapping[str, Any]) -> Run:
        """A new round; nothing is written before its first epoch is over."""
        now = datetime.now(UTC)
        facts = {"version": VERSION, "status": UNFINISHED, "epoch": 0, "started": now.isoformat()}
        return cls(Path(runs) / f"{now:%Y%m%d-%H%M%S-%f}", facts | dict(order))

    @classmethod
    def open(cls, folder: Path) -> Run:
        """A round from its folder.

        Raises
        ------
        WorkspaceError
            When there is none, or it cannot be understood.
        """
        try:
            facts = json.loads((Path(folder) / RUN_FILE).read_text(encoding="utf-8"))
            known = isinstance(facts, dict) and facts["version"] == VERSION and facts["status"] and True
        except (OSError, ValueError, KeyError) as error:
            raise WorkspaceError(
                f"There is no round of fine-tuning in {folder}.", "Start a new one."
            ) from error
        if not known:
            raise WorkspaceError(f"The round in {folder} is of another version.", "Start a new one.")
        return cls(Path(folder), facts)

    @property
    def id(self) -> str:
        """Name of the folder."""
        return self.folder.name

    @property
    def epoch(self) -> int:
        """Whole epochs that are kept."""
        return int(self.facts.get("epoch", 0))

    @property
    def report(self) -> Path:
        """The page that compares the old and the new model."""
        return self.folder / REPORT_FILE

    def save(self, epoch: int, tensors: Mapping[str, Tensor], **facts: Any) -> None:
        """Keep an epoch, whole or not at all, in place of the one before.

        Raises
        ------
        WorkspaceError
            Disk full or not writable; the epoch before is kept.
        """
        from safetensors.torch import save

        content = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
        file = self.folder / f"epoch-{epoch}.safetensors"
        with self._disk_errors(), whole_file(file, replace=True) as path:
            path.write_bytes(content)
        self._write(epoch=epoch, sha256=sha256(content).hexdigest(), **facts)
        for old in self.folder.glob("epoch-*.safetensors"):
            if old != file:
                old.unlink(missing_ok=True)

    def load(self) -> dict[str, Tensor]:
        """The numbers of the last whole epoch, checked.

        Raises
        ------
        WorkspaceError
            When they are missing or were altered.
        """
        from safetensors.torch import load

        try:
            content = (self.folder / f"epoch-{self.epoch}.safetensors").read_bytes()
        except OSError as error:
            raise WorkspaceError(f"The round {self.id} kept no epoch.", "Start a new one.") from error
        if sha256(content).hexdigest() != self.facts.get("sha256"):
            raise WorkspaceError(f"The kept epoch of round {self.id} was altered.", "Start a new round.")
        return load(content)

    def done(self, **facts: Any) -> None:
        """The round is over: its numbers are in the new model, its story stays."""
        self._write(status=DONE, **facts)
        for old in self.folder.glob("epoch-*.safetensors"):
            old.unlink(missing_ok=True)

    def write(self, name: str, text: str) -> Path:
        """Write a file into the folder, whole or not at all."""
        with self._disk_errors(), whole_file(self.folder / name, replace=True) as path:
            path.write_text(text, encoding="utf-8")
        return self.folder / name

    def discard(self) -> None:
        """Throw the folder away."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _disk_errors(self) -> AbstractContextManager[None]:
        """What the disk complains about, as a sentence that names the workspace."""
        return workspace_errors(self.folder.parent.parent)

    def _write(self, **facts: Any) -> None:
        self.facts |= facts
        self.write(RUN_FILE, json.dumps(self.facts, indent=1))


def unfinished_runs(runs: Path, task: str | None = None) -> list[Run]:
    """Rounds that stopped after at least one epoch, the newest first; damaged folders are passed over."""
    found = []
    for file in sorted(Path(runs).glob(f"*/{RUN_FILE}"), reverse=True):
        try:
            run = Run.open(file.parent)
        except WorkspaceError:
            continue
        if run.facts["status"] == UNFINISHED and run.epoch and task in (None, run.facts.get("task")):
            found.append(run)
    return found


def find_run(runs: Path, name: str) -> Run:
    """A round by its id or its folder."""
    folder = Path(name)
    return Run.open(folder if (folder / RUN_FILE).is_file() else Path(runs) / folder.name)
