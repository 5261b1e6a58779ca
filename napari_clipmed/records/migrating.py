"""Bringing a database to the newest schema, or telling that it is older or newer than this program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from napari_clipmed.records.workspace import newer_version


def is_newest(connection: Connection, root: Path) -> bool:
    """Whether the schema is the newest.

    Raises
    ------
    WorkspaceError
        When it is newer than this program.
    """
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory
    from alembic.util import CommandError

    current = MigrationContext.configure(connection).get_current_revision()
    scripts = ScriptDirectory.from_config(_script_config(connection))
    if current is None:
        return False
    try:
        scripts.get_revision(current)
    except CommandError as error:
        raise newer_version(root) from error
    return current == scripts.get_current_head()


def migrate(connection: Connection, root: Path) -> None:
    """Create or upgrade the tables, inside the connection's transaction."""
    if not is_newest(connection, root):
        from alembic import command

        command.upgrade(_script_config(connection), "head")


def _script_config(connection: Connection) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("migrations")).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
