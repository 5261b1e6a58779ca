"""Journal of what is on screen and not yet saved, so that a crash costs at most the last half second.

Drafts lie on the reader's own computer, not in the workspace: they survive a server that is away, a full or a
read-only workspace. Each running program has a folder of its own; what a dead one left is offered again.

::

    drafts/<program>/owner.json                which process this is
    drafts/<program>/<case>/mask-0-12.npz      the marks of view 0, frame 12
    drafts/<program>/<case>/label.npz          a verdict that could not be saved
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import psutil
from numpy.typing import NDArray

from napari_clipmed.records import files
from napari_clipmed.records.sessions import now
from napari_clipmed.records.workspace import workspace_errors

OWNER = "owner.json"
PATTERN = "*/[ml]*.npz"
CASE_ID = re.compile(r"[0-9a-f]{32}")
LARGEST = 1 << 28
"""A draft of more bytes than this is none of ours."""


@dataclass(frozen=True, eq=False)
class Draft:
    """Marks of one frame, or a verdict, that no revision holds yet.

    Parameters
    ----------
    case : str
        Id of the case (which the store may not know yet).
    view_index, frame : int or None
        Where the marks are; None for a verdict.
    labels : (H, W) uint8 array or None
        The frame of the labels layer.
    said : dict
        ``classes`` (mask value, as text, to its title) of marks; label, verdict, comment of a verdict.
    saved_at : datetime
        When it was journalled, UTC.
    """

    case: str
    view_index: int | None = None
    frame: int | None = None
    labels: NDArray[np.uint8] | None = None
    said: dict[str, Any] = field(default_factory=dict)
    saved_at: datetime = field(default_factory=now)

    @property
    def key(self) -> str:
        """Name of the thing that it is a draft of, within its case."""
        return "label" if self.labels is None else f"mask-{self.view_index}-{self.frame}"


class Drafts:
    """The journal of this program, and what programs that died left behind.

    Parameters
    ----------
    folder : Path
        Made when the first draft is kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._own = folder / uuid4().hex[:16]

    def keep(self, draft: Draft) -> None:
        """Write a draft, whole or not at all; it replaces the earlier one of the same thing.

        Raises
        ------
        WorkspaceError
            When the disk is full or cannot be written.
        """
        arrays: dict[str, NDArray[Any]] = {
            "said": np.frombuffer(json.dumps(draft.said).encode(), np.uint8),
            "saved_at": np.frombuffer(draft.saved_at.isoformat().encode(), np.uint8),
        }
        if draft.labels is not None:
            arrays["labels"] = np.ascontiguousarray(draft.labels, np.uint8)
        with workspace_errors(self._folder):
            if not (self._own / OWNER).exists():
                me = psutil.Process()
                owner = json.dumps({"pid": me.pid, "started": me.create_time()})
                files.write_atomically(self._own / OWNER, owner.encode(), self._partial)
            path = self._own / draft.case / f"{draft.key}.npz"
            files.write_atomically(path, files.encode_arrays(arrays), self._partial)

    def of(self, case: str) -> list[Draft]:
        """Drafts of a case by this program and by dead ones, the newest of each thing."""
        found: dict[str, Draft] = {}
        for folder in self._readable():
            for path in sorted((folder / case).glob("*.npz")):
                draft = _read(path, case)
                if draft and (draft.key not in found or found[draft.key].saved_at < draft.saved_at):
                    found[draft.key] = draft
        return sorted(found.values(), key=lambda draft: draft.saved_at)

    def cases(self) -> list[str]:
        """Ids of the cases with drafts."""
        paths = [path for folder in self._readable() for path in folder.glob(PATTERN)]
        return sorted({p.parent.name for p in paths if CASE_ID.fullmatch(p.parent.name)})

    def drop(self, case: str, key: str = "", *, own: bool = True, others: bool = True) -> None:
        """Forget what was saved or is not wanted.

        Parameters
        ----------
        key : str
            One thing (see `Draft.key`); empty for all of the case.
        own, others : bool
            Drafts of this program, and those that dead ones left.
        """
        folders = self._readable() if others else [self._own]
        for folder in folders:
            if folder == self._own and not own:
                continue
            for path in (folder / case).glob(f"{key or '*'}.npz"):
                with contextlib.suppress(OSError):
                    path.unlink()
            for empty in (folder / case, folder):
                with contextlib.suppress(OSError):
                    if not any(p for p in empty.iterdir() if p.name != OWNER):
                        shutil.rmtree(empty)

    @property
    def _partial(self) -> Path:
        return self._folder / files.PARTIAL

    def _readable(self) -> list[Path]:
        """Folders of this program and of those that no longer run."""
        if not self._folder.is_dir():
            return []
        others = [p for p in self._folder.iterdir() if p not in (self._own, self._partial)]
        return [p for p in others if p.is_dir() and not _alive(p)] + [self._own]


def _alive(folder: Path) -> bool:
    try:
        owner = json.loads((folder / OWNER).read_text())
        return abs(psutil.Process(int(owner["pid"])).create_time() - float(owner["started"])) < 1.0
    except (OSError, ValueError, KeyError, TypeError, psutil.Error):
        return False


def _read(path: Path, case: str) -> Draft | None:
    """The draft of a file; None for one that is not readable as such."""
    match = re.fullmatch(r"label|mask-(\d{1,3})-(\d{1,6})", path.stem)
    try:
        if match is None or path.stat().st_size > LARGEST:
            return None
        arrays: Mapping[str, NDArray[Any]] = files.decode_arrays(path.read_bytes())
        view, frame = (None if group is None else int(group) for group in match.groups())
        return Draft(
            case,
            view,
            frame,
            arrays["labels"] if view is not None else None,
            dict(json.loads(arrays["said"].tobytes())),
            datetime.fromisoformat(arrays["saved_at"].tobytes().decode()),
        )
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def drafts_folder(home: Path, workspace: Path) -> Path:
    """Where the drafts for one workspace lie below the person's own data folder."""
    from hashlib import sha256

    return home / "drafts" / sha256(os.fsencode(workspace)).hexdigest()[:16]
