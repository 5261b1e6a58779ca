"""Opening and closing a workspace, and the two ways to talk to its database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Self, TypeVar
from uuid import uuid4

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from napari_clipmed import __version__
from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records.database import open_for_reading, open_for_writing
from napari_clipmed.records.identity import new_salt
from napari_clipmed.records.postgresql import lock, open_server, plain_address
from napari_clipmed.records.schema import WorkspaceRow
from napari_clipmed.records.workspace import (
    Workspace,
    foreign_database,
    read_only_error,
    workspace_errors,
)

Found = TypeVar("Found")

SOFTWARE = f"napari-clipmed {__version__}"


def now() -> datetime:
    """The present moment in UTC."""
    return datetime.now(UTC)


def need(found: Found | None, key: object) -> Found:
    """What was looked up; an unknown key is a mistake of the caller."""
    if found is None:
        raise KeyError(f"The store knows nothing of {key!r}")
    return found


class Sessions:
    """An open workspace: where it lies, whether it may be written, its database sessions.

    Attributes
    ----------
    workspace : Workspace
        Where its files lie.
    read_only : bool
        Whether writing raises.
    notice : str
        A sentence to show when the store is read-only though writing was asked for; else empty.
    """

    def __init__(
        self,
        workspace: Workspace,
        engine: Engine,
        *,
        read_only: bool,
        notice: str = "",
        copy: TemporaryDirectory[str] | None = None,
    ) -> None:
        self.workspace = workspace
        self.read_only = read_only
        self.notice = notice
        self._engine = engine
        self._copy = copy

    @classmethod
    def create(cls, workspace: str | Path, database: str = "") -> Self:
        """Make a new workspace in a missing or empty folder, and open it.

        Parameters
        ----------
        workspace : str or Path
            The folder; on a drive that all readers reach where a server keeps the database.
        database : str
            ``postgresql://user@server:5432/database`` without a password; empty for SQLite in the folder.

        Raises
        ------
        WorkspaceError
            The folder is a workspace already or holds other things; the server refuses; the database
            belongs to another workspace.
        """
        place = Workspace(Path(workspace).expanduser().absolute())
        if place.exists:
            raise WorkspaceError(
                f"{place.root} is a workspace already.", "Open it, or choose another folder."
            )
        if not database:
            return cls.open(place.root)
        place.check_blank()
        server_id = uuid4().hex
        engine = open_server(place.root, database, read_only=False)
        try:
            store = cls(place, engine, read_only=False)
            with store._writing() as session:
                store._lock(session, "workspace")
                if session.scalars(select(WorkspaceRow)).first() is not None:
                    raise foreign_database(place.root)
                session.add(WorkspaceRow(id=server_id, salt=new_salt(), created_at=now()))
                session.flush()
                place.create(plain_address(database), server_id)
        except BaseException:
            engine.dispose()
            raise
        return store

    @classmethod
    def open(cls, workspace: str | Path, read_only: bool = False, *, fall_back: bool = False) -> Self:
        """Open a workspace; a missing or empty folder becomes one unless `read_only`.

        Parameters
        ----------
        workspace : str or Path
            The folder.
        read_only : bool
            Open without changing anything; the folder must be a workspace.
        fall_back : bool
            Open read-only, with a `notice`, where the folder turns out not to be writable.

        Raises
        ------
        WorkspaceError
            The folder is no workspace, cannot be written, comes from a newer version, is damaged, or its
            disk is full.
        """
        place = Workspace(Path(workspace).expanduser().absolute())
        if read_only:
            return cls._open_reading(place)
        try:
            place.create()
            if not place.database_url:
                store = cls(place, open_for_writing(place), read_only=False)
                store._introduce()
                return store
            engine = open_server(place.root, place.database_url, read_only=False)
            return cls(place, engine, read_only=False)._checked()
        except WorkspaceError as error:
            if not (fall_back and place.exists):
                raise
            return cls._open_reading(place, f"{error.message} It is open for reading only.")

    @classmethod
    def _open_reading(cls, place: Workspace, notice: str = "") -> Self:
        place.check()
        if place.database_url:
            engine = open_server(place.root, place.database_url, read_only=True)
            return cls(place, engine, read_only=True, notice=notice)._checked()
        engine, copy = open_for_reading(place)
        return cls(place, engine, read_only=True, notice=notice, copy=copy)

    def _checked(self) -> Self:
        """Return this store, unless the server's database belongs to another workspace."""
        with self._reading() as session:
            found = session.scalars(select(WorkspaceRow.id)).first()
        if found != self.workspace.server_id:
            self.close()
            raise foreign_database(self.workspace.root)
        return self

    def close(self) -> None:
        """Close the database; the last writer folds the log into it."""
        self._engine.dispose()
        if self._copy is not None:
            self._copy.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check_writable(self) -> None:
        if self.read_only:
            raise read_only_error(self.workspace.root)

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        """A session in one transaction, committed at the end or not at all."""
        self._check_writable()
        with (
            workspace_errors(self.workspace.root),
            Session(self._engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    @contextmanager
    def _reading(self) -> Iterator[Session]:
        with workspace_errors(self.workspace.root), Session(self._engine) as session:
            yield session

    def _lock(self, session: Session, key: str) -> None:
        """Let nobody else write about `key` until the transaction ends; SQLite has one writer anyway."""
        connection = session.connection()
        if connection.dialect.name == "postgresql":
            lock(connection, key)

    def _introduce(self) -> None:
        """Give a new workspace its id and its secret."""
        with self._writing() as session:
            if session.scalars(select(WorkspaceRow)).first() is None:
                session.add(WorkspaceRow(id=uuid4().hex, salt=new_salt(), created_at=now()))

    def _salt(self) -> str:
        with self._reading() as session:
            return self._salt_in(session)

    def _salt_in(self, session: Session) -> str:
        return session.scalars(select(WorkspaceRow.salt)).one()
