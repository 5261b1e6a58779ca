"""The workspace folder: its layout, whether it can be written, and sentences for what goes wrong there.

::

    workspace/
        clipmed-workspace.json   says that this folder is a workspace
        store.sqlite             cases, revisions, splits (SQLite, WAL)
        masks/ab/<sha256>.png    masks, one bit a pixel, lossless
        inputs/ab/<sha256>.npz   model-input frames without identity
        models/<model_id>/       fine-tuned models
        runs/<run_id>/           logs of fine-tuning runs
        partial/                 files being written; never read
"""

from __future__ import annotations

import errno
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records.files import PARTIAL, remove_stale_partials, write_atomically

MARKER = "clipmed-workspace.json"
FORMAT = "napari-clipmed workspace"
VERSION = 1


@dataclass(frozen=True)
class Workspace:
    """Where everything of one workspace lies.

    Parameters
    ----------
    root : Path
        The folder.
    """

    root: Path

    @property
    def database(self) -> Path:
        """The SQLite file."""
        return self.root / "store.sqlite"

    @property
    def masks(self) -> Path:
        """Folder of mask files."""
        return self.root / "masks"

    @property
    def inputs(self) -> Path:
        """Folder of model-input frames."""
        return self.root / "inputs"

    @property
    def models(self) -> Path:
        """Folder of fine-tuned models, a root of the model registry."""
        return self.root / "models"

    @property
    def runs(self) -> Path:
        """Folder of fine-tuning runs."""
        return self.root / "runs"

    @property
    def exists(self) -> bool:
        """Whether the folder says that it is a workspace."""
        return (self.root / MARKER).is_file()

    def check(self) -> None:
        """Raise `WorkspaceError` when the folder is no workspace that this version can read."""
        if not self.root.exists():
            raise WorkspaceError(
                f"There is no workspace at {self.root}.",
                "Check the path, or open it for writing to create it.",
            )
        if not self.root.is_dir():
            raise WorkspaceError(f"{self.root} is a file, not a workspace folder.", "Choose a folder.")
        if not self.exists:
            raise WorkspaceError(
                f"{self.root} is not a workspace.",
                f"Choose a workspace folder (it holds a file {MARKER}) or an empty folder.",
            )
        try:
            marker = json.loads((self.root / MARKER).read_text(encoding="utf-8"))
            known, version = marker["format"] == FORMAT, int(marker["version"])
        except (ValueError, TypeError, KeyError):
            known, version = False, 0
        if not known:
            raise WorkspaceError(f"{self.root / MARKER} is damaged.", "Restore it from a backup.")
        if version > VERSION:
            raise newer_version(self.root)

    def create(self) -> None:
        """Lay out the folder where it is missing or empty; leave an existing workspace as it is.

        Raises
        ------
        WorkspaceError
            When the folder holds something else or cannot be written.
        """
        with workspace_errors(self.root):
            if not self.root.exists():
                self.root.mkdir(parents=True)
            if self.root.is_dir() and not self.exists and self._is_blank():
                marker = json.dumps({"format": FORMAT, "version": VERSION}, indent=2) + "\n"
                write_atomically(self.root / MARKER, marker.encode(), partial=self.root / PARTIAL)
            self.check()
            with tempfile.TemporaryFile(dir=self.root):
                pass  # tells at once, not at the first correction, that nothing can be written here
            for folder in (self.masks, self.inputs, self.models, self.runs, self.root / PARTIAL):
                folder.mkdir(exist_ok=True)
            remove_stale_partials(self.root / PARTIAL)

    def _is_blank(self) -> bool:
        return all(entry.name == PARTIAL for entry in self.root.iterdir())


def newer_version(root: Path) -> WorkspaceError:
    """The error for a workspace that a newer program wrote."""
    return WorkspaceError(
        f"The workspace {root} was written by a newer version of napari-clipmed.",
        "Update napari-clipmed to open it; nothing was changed.",
    )


def read_only_error(root: Path) -> WorkspaceError:
    """The error for writing into a workspace that was opened for reading."""
    return WorkspaceError(
        f"The workspace {root} is open for reading only; nothing was saved.",
        "Copy it to a folder you may write to, or ask for write access.",
    )


@contextmanager
def workspace_errors(root: Path) -> Iterator[None]:
    """Turn what the disk and SQLite complain about into sentences.

    Raises
    ------
    WorkspaceError
        Disk full, no write access, locked by another program, damaged database.
    """
    try:
        yield
    except OSError as error:
        raise _explain_os(root, error) from error
    except DBAPIError as error:
        explained = _explain_sqlite(root, error)
        if explained is None:
            raise
        raise explained from error


def _full(root: Path) -> WorkspaceError:
    return WorkspaceError(
        f"The disk that holds the workspace {root} is full; the last change was not saved, earlier ones are.",
        "Free some space and repeat the last change.",
    )


def _not_writable(root: Path) -> WorkspaceError:
    return WorkspaceError(
        f"The workspace {root} cannot be written.",
        "Choose a folder you may write to, or open this one read-only.",
    )


def _explain_os(root: Path, error: OSError) -> WorkspaceError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(root)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return _not_writable(root)
    return WorkspaceError(
        f"The workspace {root} could not be read or written ({error.strerror or error}).",
        "Check that its disk is connected and healthy.",
    )


def _explain_sqlite(root: Path, error: DBAPIError) -> WorkspaceError | None:
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code
    if code == sqlite3.SQLITE_FULL:
        return _full(root)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return _not_writable(root)
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return WorkspaceError(
            f"Another program is writing to the workspace {root}.",
            "Wait until it has finished and try again.",
        )
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return WorkspaceError(
            f"The database of the workspace {root} is damaged.",
            "Keep a copy of the folder as it is, and restore the last backup.",
        )
    if code == sqlite3.SQLITE_IOERR:
        return WorkspaceError(
            f"The disk of the workspace {root} reported an error.", "Check the disk and its free space."
        )
    return None
