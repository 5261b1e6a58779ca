"""Triggers by which the database itself refuses to change or remove a row."""

from __future__ import annotations

from sqlalchemy import Connection, text

MESSAGE = "rows of the annotation store are never changed or removed"
FUNCTION = "clipmed_append_only"


def protect_table(connection: Connection, table: str, unique: str = "") -> None:
    """Make UPDATE, DELETE, TRUNCATE and replacing INSERT on a table fail, whoever issues them.

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
        For a database other than SQLite and PostgreSQL.
    """
    protect = {"sqlite": _protect_sqlite, "postgresql": _protect_postgresql}.get(connection.dialect.name)
    if protect is None:
        raise ValueError(f"No append-only triggers are known for {connection.dialect.name}")
    protect(connection, table, unique)


def _protect_sqlite(connection: Connection, table: str, unique: str) -> None:
    """``INSERT OR REPLACE`` deletes without firing delete triggers ("recursive_triggers"), hence the third.

    A rowid that SQLite is about to choose reads as -1 there and so never collides.
    """
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


def _protect_postgresql(connection: Connection, table: str, unique: str) -> None:
    """``ON CONFLICT DO UPDATE`` fires the update trigger; a replacing INSERT needs none of its own."""
    connection.exec_driver_sql(
        f"CREATE OR REPLACE FUNCTION {FUNCTION}() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{MESSAGE}' USING ERRCODE = 'integrity_constraint_violation'; END $$"
    )
    for action, each in (("UPDATE", "ROW"), ("DELETE", "ROW"), ("TRUNCATE", "STATEMENT")):
        connection.exec_driver_sql(
            f'CREATE TRIGGER "{table}_no_{action.lower()}" BEFORE {action} ON "{table}" '
            f"FOR EACH {each} EXECUTE FUNCTION {FUNCTION}()"
        )
