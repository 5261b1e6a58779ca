"""The worklist: which studies of which folders are to be read, and which cases they turned out to be."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from napari_clipmed.records.append_only import protect_table
from napari_clipmed.records.schema import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "worklist",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=True),
        sa.Column("entry", sa.String(64), nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("content", sa.JSON(), nullable=True),
        sa.Column("case_id", sa.String(32), nullable=True),
        sa.Column("problem", sa.Text(), nullable=False),
        sa.Column("author", sa.String(128), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("software", sa.String(64), nullable=False),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_worklist_case_id_cases"),
        sa.PrimaryKeyConstraint("id", name="pk_worklist"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_worklist_entry", "worklist", ["entry"])
    protect_table(op.get_bind(), "worklist")


def downgrade() -> None:
    op.drop_table("worklist")
