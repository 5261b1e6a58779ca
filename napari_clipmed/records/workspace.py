"""The workspace folder: its layout, whether it can be written, and sentences for what goes wrong there.

::

    workspace/
        clipmed-workspace.json   says that this folder is a workspace, and which server keeps its database
        store.sqlite             cases, revisions, splits (SQLite, WAL), unless a server keeps them
        masks/ab/<sha256>.png    masks, one bit a pixel, lossless
        inputs/ab/<sha256>.npz   model-input frames without identity
        models/<model_id>/       fine-tuned models
        runs/<run_id>/           logs of fine-tuning runs
        cache/                   thumbnails and embeddings; made again when they are missing
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
from typing import Any

from sqlalchemy.exc import DBAPIError

from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records.files import PARTIAL, remove_stale_partials, write_atomically

MARKER = "clipmed-workspace.json"
FORMAT = "napari-clipmed workspace"
VERSION = 2
"""Newest marker that this program reads: 2 names a database server, 1 does not."""


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
    def database_url(self) -> str:
        """Address of the PostgreSQL database, without a password; empty where SQLite is used."""
        return str(self._marker().get("database", ""))

    @property
    def server_id(self) -> str:
        """Id of the workspace whose rows the server must hold; empty where SQLite is used."""
        return str(self._marker().get("id", ""))

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
    def cache(self) -> Path:
        """Folder of what can be computed again; in no backup."""
        return self.root / "cache"

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
        self._marker()

    def _marker(self) -> dict[str, Any]:
        """What the marker says, checked."""
        try:
            marker = json.loads((self.root / MARKER).read_text(encoding="utf-8"))
            known, version = marker["format"] == FORMAT, int(marker["version"])
        except (ValueError, TypeError, KeyError):
            known, version = False, 0
        if not known:
            raise WorkspaceError(f"{self.root / MARKER} is damaged.", "Restore it from a backup.")
        if version > VERSION:
            raise newer_version(self.root)
        return dict(marker)

    def create(self, database_url: str = "", server_id: str = "") -> None:
        """Lay out the folder where it is missing or empty; leave an existing workspace as it is.

        Parameters
        ----------
        database_url, server_id : str
            Of a new workspace whose database is a server; see `Workspace.database_url`.

        Raises
        ------
        WorkspaceError
            When the folder holds something else or cannot be written.
        """
        with workspace_errors(self.root):
            if not self.root.exists():
                self.root.mkdir(parents=True)
            if self.root.is_dir() and not self.exists and self._is_blank():
                self.name_server(database_url, server_id)
            self.check()
            with tempfile.TemporaryFile(dir=self.root):
                pass  # tells at once, not at the first correction, that nothing can be written here
            for folder in (self.masks, self.inputs, self.models, self.runs, self.root / PARTIAL):
                folder.mkdir(exist_ok=True)
            remove_stale_partials(self.root / PARTIAL)

    def name_server(self, database_url: str, server_id: str) -> None:
        """Write the marker: which server keeps the database (empty: none), under which workspace id."""
        server = {"database": database_url, "id": server_id} if database_url else {}
        content = {"format": FORMAT, "version": 2 if server else 1, **server}
        marker = json.dumps(content, indent=2) + "\n"
        write_atomically(self.root / MARKER, marker.encode(), partial=self.root / PARTIAL)

    def check_blank(self) -> None:
        """Raise `WorkspaceError` unless the folder is missing or empty."""
        with workspace_errors(self.root):
            if self.root.exists() and not (self.root.is_dir() and self._is_blank()):
                raise WorkspaceError(
                    f"{self.root} is not an empty folder.", "Choose a new or an empty folder."
                )

    def _is_blank(self) -> bool:
        return all(entry.name == PARTIAL for entry in self.root.iterdir())


def newer_version(root: Path) -> WorkspaceError:
    """The error for a workspace that a newer program wrote."""
    return WorkspaceError(
        f"The workspace {root} was written by a newer version of napari-clipmed.",
        "Update napari-clipmed to open it; nothing was changed.",
    )


def foreign_database(root: Path) -> WorkspaceError:
    """The error for a database whose rows belong to another workspace folder."""
    return WorkspaceError(
        f"The database named in {root} belongs to another workspace.",
        "Open the folder that belongs to it, or give each workspace a database of its own.",
    )


def read_only_error(root: Path) -> WorkspaceError:
    """The error for writing into a workspace that was opened for reading."""
    return WorkspaceError(
        f"The workspace {root} is open for reading only; nothing was saved.",
        "Copy it to a folder you may write to, or ask for write access.",
    )


@contextmanager
def workspace_errors(root: Path) -> Iterator[None]:
    """Turn what the disk and the database complain about into sentences.

    Raises
    ------
    WorkspaceError
        Disk full, no write access, locked by another program, damaged database.
    """
    try:
        yield
    except ConnectionError as error:
        from napari_clipmed.records.postgresql import server_gone

        raise server_gone(root) from error
    except OSError as error:
        raise _explain_os(root, error) from error
    except DBAPIError as error:
        explained = _explain_database(root, error)
        if explained is None:
            raise
        raise explained from error


def _full(root: Path) -> WorkspaceError:
    return WorkspaceError(
        f"The disk that holds the workspace {root} is full; the last change was not saved, earlier ones are.",
        "Free some space and repeat the last change.",
    )


def not_writable(root: Path) -> WorkspaceError:
    """The error for a folder or database that refuses to be written."""
    return WorkspaceError(
        f"The workspace {root} cannot be written.",
        "Choose a folder you may write to, or open this one read-only.",
    )


def _explain_os(root: Path, error: OSError) -> WorkspaceError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return _full(root)
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return not_writable(root)
    return WorkspaceError(
        f"The workspace {root} could not be read or written ({error.strerror or error}).",
        "Check that its disk is connected and healthy.",
    )


def _explain_database(root: Path, error: DBAPIError) -> WorkspaceError | None:
    if isinstance(error.orig, sqlite3.Error):
        return _explain_sqlite(root, error)
    from napari_clipmed.records.postgresql import explain

    return explain(root, error)


def _explain_sqlite(root: Path, error: DBAPIError) -> WorkspaceError | None:
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF  # the low byte is the primary code
    if code == sqlite3.SQLITE_FULL:
        return _full(root)
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return not_writable(root)
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
