"""Conflicts between two readers, what the model had said, and its answers as a table of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from napari_clipmed.records.append_only import protect_table
from napari_clipmed.records.schema import UtcDateTime

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # In plain SQL: SQLite takes a foreign key with a new column in this one form only, and Alembic's way
    # around that, a new table, would lose the append-only triggers.
    op.execute(
        "ALTER TABLE revisions ADD COLUMN merges_id INTEGER "
        "CONSTRAINT fk_revisions_merges_id REFERENCES revisions (id)"
    )
    op.add_column("revisions", sa.Column("model_version", sa.String(64), nullable=False, server_default=""))
    op.add_column("revisions", sa.Column("model_label", sa.String(64), nullable=True))
    op.add_column("revisions", sa.Column("model_score", sa.Float(), nullable=True))
    op.create_table(
        "answers",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=True),
        sa.Column("case_id", sa.String(32), nullable=False),
        sa.Column("model_id", sa.String(128), nullable=False),
        sa.Column("model_version", sa.String(64), nullable=False),
        sa.Column("probabilities", sa.JSON(), nullable=False),
        sa.Column("unlike_training", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("software", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_answers"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_answers_case_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_answers_case_id", "answers", ["case_id"])
    protect_table(op.get_bind(), "answers")


def downgrade() -> None:
    op.drop_table("answers")
    for column in ("model_score", "model_label", "model_version", "merges_id"):
        op.drop_column("revisions", column)
