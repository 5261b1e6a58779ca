"""Run by Alembic: migrates the connection that `records.database` hands over, in its transaction."""

from __future__ import annotations

from alembic import context

from napari_clipmed.records.schema import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
