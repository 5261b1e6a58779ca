"""A workspace whose database is a PostgreSQL server: one database for one workspace, shared by a department.

The URL, without a password, stands in the workspace folder. The password comes from the environment or the
system's keyring and is written nowhere.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError

from napari_clipmed.credentials import password_for
from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records.migrating import is_newest, migrate
from napari_clipmed.records.workspace import not_writable, workspace_errors

DRIVER = "postgresql+pg8000"
PASSWORD_VARIABLES = ("CLIPMED_DB_PASSWORD", "PGPASSWORD")
CONNECT_TIMEOUT_S = 10
MIGRATION_LOCK = 0x636C6970
"""Key of the lock under which one program at a time brings the tables up to date."""


def parse_url(url: str) -> URL:
    """The URL of a PostgreSQL database as a workspace may keep it.

    Raises
    ------
    WorkspaceError
        When it is no such URL, lacks a part, or carries a password.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        parsed = None
    if parsed is None or parsed.get_backend_name() != "postgresql" or not parsed.database:
        raise WorkspaceError(
            "That is not the address of a PostgreSQL database.",
            "Write it as postgresql://user@server:5432/database.",
        )
    if parsed.password:
        raise WorkspaceError(
            "The database address contains a password; it would be stored in the workspace for all to read.",
            f"Leave it out, and set {PASSWORD_VARIABLES[0]} or store it in the system's keyring "
            "(`napari-clipmed workspace password DIR`).",
        )
    return parsed.set(drivername=DRIVER)


def plain_address(url: str) -> str:
    """The URL as a workspace keeps it: checked, without the name of a driver."""
    return parse_url(url).set(drivername="postgresql").render_as_string()


def keyring_service(url: URL) -> str:
    """Name under which the keyring keeps the password of a database."""
    return f"napari-clipmed {url.host or 'localhost'}:{url.port or 5432}/{url.database}"


def open_server(root: Path, database: str, *, read_only: bool) -> Engine:
    """Engine on the database of a workspace, created or migrated to the newest schema unless `read_only`.

    Raises
    ------
    WorkspaceError
        When the server cannot be reached, refuses the user, or may not be written.
    """
    url = parse_url(database)
    password = password_for(keyring_service(url), url.username or "", PASSWORD_VARIABLES)
    engine = create_engine(
        url.set(password=password),
        pool_pre_ping=True,  # a server that was restarted meanwhile is simply asked again
        connect_args={"timeout": CONNECT_TIMEOUT_S, "application_name": "napari-clipmed"},
        execution_options={"postgresql_readonly": True} if read_only else {},
        hide_parameters=True,
    )
    try:
        with workspace_errors(root), engine.begin() as connection:
            # The time limit above is for reaching the server, not for its answers.
            if read_only:
                _check_readable(connection, root)
            else:
                _prepare(connection, root)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _prepare(connection: Connection, root: Path) -> None:
    if connection.execute(text("SHOW transaction_read_only")).scalar() == "on":
        raise not_writable(root)
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
    migrate(connection, root)
    if not connection.execute(text("SELECT has_table_privilege('revisions', 'INSERT')")).scalar():
        raise not_writable(root)


def _check_readable(connection: Connection, root: Path) -> None:
    if not is_newest(connection, root):
        raise WorkspaceError(
            f"The database of the workspace {root} was written by an older version of napari-clipmed.",
            "Open it once for writing; it is then brought up to date.",
        )


def lock(connection: Connection, key: str) -> None:
    """Let one writer at a time touch what `key` names, until its transaction ends."""
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended(:key, 0))"), {"key": key})


def explain(root: Path, error: DBAPIError) -> WorkspaceError | None:
    """A sentence for what a PostgreSQL server complains about; None for a mistake of ours.

    The codes are those of the PostgreSQL manual, appendix A ("PostgreSQL Error Codes").
    """
    details = error.orig.args[0] if error.orig is not None and error.orig.args else ""
    code = str(details.get("C", "")) if isinstance(details, dict) else ""
    if code in ("28P01", "28000"):
        return WorkspaceError(
            f"The database server refused the user of the workspace {root}.",
            f"Set {PASSWORD_VARIABLES[0]}, or store the password with `napari-clipmed workspace password`.",
        )
    if code == "3D000":
        return WorkspaceError(
            f"The database of the workspace {root} does not exist on its server.",
            "Ask whoever looks after the server to create it.",
        )
    if code in ("25006", "42501"):
        return not_writable(root)
    if code.startswith("53"):
        return WorkspaceError(
            f"The database server of the workspace {root} is full or out of connections; nothing was saved.",
            "Try again later, or tell whoever looks after the server.",
        )
    if code.startswith(("08", "57")) or not code:
        return server_gone(root)
    return None


def server_gone(root: Path) -> WorkspaceError:
    """The error for a server that does not answer."""
    return WorkspaceError(
        f"The database server of the workspace {root} cannot be reached; the last change was not saved.",
        "Check the network, then repeat the last change.",
    )
