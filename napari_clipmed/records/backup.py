"""A whole workspace in one file, and back; also the way from SQLite to a server and the other way round.

The database goes in as SQLite whatever it was: a copy at one moment, while others may go on writing. Masks
and model inputs are named by their content and never change, so that those which the copy names fit it.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from sqlalchemy import Connection, Engine, insert, select, text

from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records.archive import ArchiveReader, Tell, new_archive
from napari_clipmed.records.database import open_for_writing
from napari_clipmed.records.schema import Base
from napari_clipmed.records.sessions import SOFTWARE, Sessions, now
from napari_clipmed.records.store import Store
from napari_clipmed.records.workspace import Workspace, workspace_errors

FORMAT = "napari-clipmed backup"
VERSION = 1
FOLDERS = ("masks", "inputs", "models", "runs")
DATABASE = "store.sqlite"
_MEMBER = re.compile(
    r"(?:masks|inputs|models|runs)(?:/(?!\.{1,2}(?:/|$))[^/\\:*?\"<>|\x00-\x1f]{1,200}){1,8}"
)
"""Names that lie below the workspace on every system."""
ROWS_AT_ONCE = 2000


def back_up(store: Store, path: Path, tell: Tell = lambda *step: None) -> int:
    """Write everything of a workspace into one zip file, while it may be in use.

    Parameters
    ----------
    store : Store
        Open; reading is enough.
    path : Path
        Must not exist.
    tell : callable
        Told about progress; raises to stop.

    Returns
    -------
    int
        Size of the file in bytes.

    Raises
    ------
    WorkspaceError
        The file exists, cannot be written, or did not read back as it was written.
    """
    path = Path(path).expanduser().absolute()
    root = store.workspace.root
    with workspace_errors(root), tempfile.TemporaryDirectory(prefix="clipmed-") as scratch:
        tell("Copying the database", 0, 0)
        copy = Path(scratch) / DATABASE
        _copy_database(store, copy)
        found = [p for folder in FOLDERS for p in sorted((root / folder).rglob("*")) if p.is_file()]
        with new_archive(path) as archive:
            archive.add_file(DATABASE, copy)
            for number, file in enumerate(found, 1):
                tell("Packing", number, len(found))
                name = file.relative_to(root).as_posix()
                if not _MEMBER.fullmatch(name):
                    raise WorkspaceError(
                        f"The file {file} has a name that not every system takes.", "Rename or remove it."
                    )
                archive.add_file(name, file)
            _check_complete(copy, archive.names, root)
            archive.finish(
                {"format": FORMAT, "version": VERSION, "software": SOFTWARE, "made": now().isoformat()}
            )
    return path.stat().st_size


def restore_backup(
    path: Path, folder: Path, *, database: str = "", tell: Tell = lambda *step: None
) -> Workspace:
    """Make a workspace of a backup.

    Parameters
    ----------
    path : Path
        The backup.
    folder : Path
        Missing or empty; nothing is ever overwritten.
    database : str
        Address of an empty PostgreSQL database that shall keep the rows; empty for SQLite in the folder.

    Raises
    ------
    WorkspaceError
        The backup is damaged, by a newer version, or the folder is not empty. Nothing is left behind.
    """
    folder = Path(folder).expanduser().absolute()
    Workspace(folder).check_blank()
    if database:
        _refuse_used(database, folder)
    staged = folder.with_name(f".{folder.name}.{uuid4().hex[:8]}.part")
    try:
        with workspace_errors(folder), ArchiveReader.open(Path(path)) as archive:
            _check_backup(archive)
            place = Workspace(staged)
            place.create()
            for number, name in enumerate(archive.members, 1):
                tell("Unpacking", number, len(archive.members))
                target = staged / name
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as stream:
                    archive.copy(name, stream)
            _check_database(place.database, Path(path))
            with Store.open(staged):  # brings the database up to date
                pass
            if database:
                _move_to_server(place, database)
            if folder.exists():
                folder.rmdir()
            staged.replace(folder)
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    return Workspace(folder)


@dataclass(frozen=True)
class Check:
    """What a look through a workspace found.

    Parameters
    ----------
    cases, revisions, files : int
        How many there are; `files` counts masks and model inputs that the database names.
    problems : tuple of str
        Sentences on what is missing or altered; empty when all is well.
    unused : int
        Files that no row names: harmless, left by a program that was killed before its row was written.
    """

    cases: int
    revisions: int
    files: int
    problems: tuple[str, ...]
    unused: int


def check_workspace(store: Store, tell: Tell = lambda *step: None) -> Check:
    """Check database and files of a workspace against one another, changing nothing."""
    from napari_clipmed.records.files import content_path, load_content
    from napari_clipmed.records.schema import RevisionRow, SnapshotRow

    problems = list(_database_problems(store))
    named = set()
    with store._reading() as session:
        for folder, suffix, column in (
            ("masks", ".png", RevisionRow.mask_sha256),
            ("inputs", ".npz", SnapshotRow.sha256),
        ):
            for digest in session.scalars(select(column).where(column.is_not(None)).distinct()):
                named.add((store.workspace.root / folder, str(digest), suffix))
    for number, (folder_path, digest, suffix) in enumerate(sorted(named), 1):
        tell("Checking", number, len(named))
        try:
            load_content(folder_path, digest, suffix)
        except WorkspaceError as error:
            problems.append(error.message)
    paths = {content_path(*entry) for entry in named}
    there = {p for f in (store.workspace.masks, store.workspace.inputs) for p in f.rglob("*") if p.is_file()}
    revisions = store.revisions()
    return Check(len(store.cases()), len(revisions), len(named), tuple(problems), len(there - paths))


def _database_problems(store: Sessions) -> Iterable[str]:
    with store._reading() as session:
        connection = session.connection()
        if connection.dialect.name == "sqlite":
            for (line,) in connection.execute(text("PRAGMA integrity_check")):
                if line != "ok":
                    yield f"The database says: {line}."
            for row in connection.execute(text("PRAGMA foreign_key_check")):
                yield f"A row of the table {row[0]} names a row that is not there."


def _copy_database(store: Store, target: Path) -> None:
    engine = store._engine
    if engine.dialect.name == "sqlite":
        with engine.connect() as source, closing(sqlite3.connect(target)) as copy:
            raw = source.connection.driver_connection
            assert raw is not None
            # SQLite's own online backup: a consistent copy, whoever writes meanwhile.
            raw.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
        return
    with tempfile.TemporaryDirectory(prefix="clipmed-") as scratch:
        place = Workspace(Path(scratch) / "w")
        place.create()
        sqlite_engine = open_for_writing(place)
        with engine.connect().execution_options(isolation_level="REPEATABLE READ") as source:
            _copy_rows(source, sqlite_engine)
        sqlite_engine.dispose()
        shutil.copyfile(place.database, target)


def _copy_rows(source: Connection, target: Engine) -> None:
    """All rows of all tables, in the order of their foreign keys."""
    with target.begin() as writing:
        for table in Base.metadata.sorted_tables:
            rows = source.execute(select(table).order_by(*table.primary_key.columns))
            for some in rows.partitions(ROWS_AT_ONCE):
                writing.execute(insert(table), [dict(row._mapping) for row in some])
        if target.dialect.name == "postgresql":
            for table in Base.metadata.sorted_tables:
                if "id" in table.columns and table.columns["id"].autoincrement is True:
                    sequence = f"pg_get_serial_sequence('{table.name}', 'id')"
                    newest = f"(SELECT max(id) FROM {table.name})"
                    writing.execute(text(f"SELECT setval({sequence}, {newest}) WHERE {newest} IS NOT NULL"))


def _check_complete(database: Path, names: set[str], root: Path) -> None:
    """Refuse to make a backup that lacks a file which its database names."""
    with closing(sqlite3.connect(database)) as connection:
        wanted = [
            f"{folder}/{digest[:2]}/{digest}{suffix}"
            for folder, suffix, query in (
                ("masks", ".png", "SELECT DISTINCT mask_sha256 FROM revisions WHERE mask_sha256 IS NOT NULL"),
                ("inputs", ".npz", "SELECT DISTINCT sha256 FROM snapshots"),
            )
            for (digest,) in connection.execute(query)
        ]
    missing = [name for name in wanted if name not in names]
    if missing:
        raise WorkspaceError(
            f"The workspace {root} lacks {len(missing)} files that it should hold, as {missing[0]}.",
            "Run `napari-clipmed workspace check` and restore them from an earlier backup.",
        )


def _check_backup(archive: ArchiveReader) -> None:
    known = archive.manifest.get("format") == FORMAT
    if not known or DATABASE not in archive.members:
        raise archive.damaged("it is no backup of a workspace")
    if int(archive.manifest.get("version", 0)) > VERSION:
        raise WorkspaceError(
            "The backup was written by a newer version of napari-clipmed.", "Update napari-clipmed."
        )
    for name in archive.members:
        if name != DATABASE and not _MEMBER.fullmatch(name):
            raise archive.damaged(f"it holds a file with the odd name {name!r}")


def _check_database(path: Path, backup: Path) -> None:
    with workspace_errors(path.parent), closing(sqlite3.connect(path)) as connection:
        try:
            outcome = connection.execute("PRAGMA integrity_check").fetchone()
        except sqlite3.DatabaseError as error:
            outcome = (str(error),)
    if outcome != ("ok",):
        raise WorkspaceError(f"The database in {backup} is damaged ({outcome[0]}).", "Use another backup.")


def _refuse_used(database: str, folder: Path) -> None:
    from napari_clipmed.records.postgresql import open_server
    from napari_clipmed.records.schema import WorkspaceRow
    from napari_clipmed.records.workspace import foreign_database

    engine = open_server(folder, database, read_only=False)
    try:
        with engine.connect() as connection:
            if connection.execute(select(WorkspaceRow.id)).first() is not None:
                raise foreign_database(folder)
    finally:
        engine.dispose()


def _move_to_server(place: Workspace, database: str) -> None:
    """Put the rows of a staged workspace on a server, and say so in its marker."""
    from napari_clipmed.records.postgresql import open_server, plain_address

    engine = open_server(place.root, database, read_only=False)
    try:
        local = open_for_writing(place)
        with local.connect() as source:
            server_id = str(source.execute(text("SELECT id FROM workspace")).scalar())
            _copy_rows(source, engine)
        local.dispose()
    finally:
        engine.dispose()
    for leftover in place.root.glob(f"{DATABASE}*"):
        leftover.unlink()
    place.name_server(plain_address(database), server_id)
