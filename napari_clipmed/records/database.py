"""Opening the SQLite database of a workspace: durability, transactions, migrations."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, QueuePool, create_engine, event, text
from sqlalchemy.exc import OperationalError

from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records.migrating import is_newest, migrate
from napari_clipmed.records.workspace import Workspace, workspace_errors

BUSY_TIMEOUT_MS = 15_000


def open_for_writing(workspace: Workspace) -> Engine:
    """Engine on the workspace's database, created or migrated to the newest schema.

    WAL with ``synchronous=FULL``: what was committed outlives a killed program and a power cut.

    Raises
    ------
    WorkspaceError
        When the database was written by a newer version, is damaged, locked or cannot be written.
    """
    engine = create_engine(URL.create("sqlite", database=str(workspace.database)))

    def configure(connection: sqlite3.Connection, record: Any) -> None:
        connection.isolation_level = None  # transactions are begun below, DDL included
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "recursive_triggers=ON",
        ):
            connection.execute(f"PRAGMA {pragma}")

    event.listen(engine, "connect", configure)
    # IMMEDIATE: two writers queue at the start of a transaction instead of failing in the middle of it.
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    try:
        with workspace_errors(workspace.root), engine.begin() as connection:
            migrate(connection, workspace.root)
    except BaseException:
        engine.dispose()
        raise
    return engine


def open_for_reading(workspace: Workspace) -> tuple[Engine, tempfile.TemporaryDirectory[str] | None]:
    """Engine that cannot write, and the temporary copy it reads where SQLite needs one.

    SQLite in WAL mode needs to create its shared-memory file even for reading. On a medium that cannot be
    written, database and log are therefore copied to the computer's temporary folder and read there.
    """
    with workspace_errors(workspace.root):
        copy = None
        engine = _reading_engine(workspace.database)
        try:
            with engine.connect() as connection:
                connection.execute(text("SELECT count(*) FROM sqlite_master"))
        except OperationalError:
            engine.dispose()
            copy = _copy_database(workspace.database)
            engine = _reading_engine(Path(copy.name) / workspace.database.name)
        with engine.connect() as connection:
            if is_newest(connection, workspace.root):
                return engine, copy
    raise WorkspaceError(
        f"The workspace {workspace.root} was written by an older version of napari-clipmed.",
        "Open it once for writing; its database is then brought up to date.",
    )


def _copy_database(database: Path) -> tempfile.TemporaryDirectory[str]:
    copy = tempfile.TemporaryDirectory(prefix="clipmed-")
    for suffix in ("", "-wal"):
        source = database.with_name(database.name + suffix)
        if source.exists():
            shutil.copyfile(source, Path(copy.name) / source.name)
    return copy


def _reading_engine(database: Path) -> Engine:
    def connect() -> sqlite3.Connection:
        uri = f"{database.absolute().as_uri()}?mode=ro"
        return sqlite3.connect(uri, uri=True, check_same_thread=False, timeout=BUSY_TIMEOUT_MS / 1000)

    return create_engine("sqlite://", creator=connect, poolclass=QueuePool)
