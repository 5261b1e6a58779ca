"""Triggers by which the database itself refuses to change or remove a row."""

from __future__ import annotations

from sqlalchemy import Connection, text

MESSAGE = "rows of the annotation store are never changed or removed"


def protect_table(connection: Connection, table: str, unique: str = "") -> None:
    """Make UPDATE, DELETE and replacing INSERT on a table fail, whoever issues them.

    ``INSERT OR REPLACE`` deletes without firing delete triggers (SQLite, "recursive_triggers"), hence the
    third trigger. A rowid that SQLite is about to choose reads as -1 there and so never collides.

    Parameters
    ----------
    connection : Connection
        Inside the migration's transaction.
    table : str
        Name of the table.
    unique : str
        A column beside the primary key that no two rows share.

    Raises
    ------
    ValueError
        For a database other than SQLite.
    """
    if connection.dialect.name != "sqlite":
        raise ValueError(f"No append-only triggers are known for {connection.dialect.name}")
    raises = f"BEGIN SELECT RAISE(ABORT, '{MESSAGE}'); END"
    for action in ("UPDATE", "DELETE"):
        connection.execute(
            text(f'CREATE TRIGGER "{table}_no_{action.lower()}" BEFORE {action} ON "{table}" {raises}')
        )
    keys = [row[1] for row in connection.execute(text(f'PRAGMA table_info("{table}")')) if row[5]]
    same_row = " AND ".join(f'"{key}" = NEW."{key}"' for key in keys)
    if unique:
        same_row = f'({same_row}) OR "{unique}" = NEW."{unique}"'
    exists = f'EXISTS (SELECT 1 FROM "{table}" WHERE {same_row})'
    connection.execute(
        text(f'CREATE TRIGGER "{table}_no_replace" BEFORE INSERT ON "{table}" WHEN {exists} {raises}')
    )
