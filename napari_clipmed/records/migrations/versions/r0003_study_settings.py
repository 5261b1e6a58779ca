"""What readers set right about a run: projection, times, pairing, masks and shifts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from napari_clipmed.records.append_only import protect_table
from napari_clipmed.records.schema import UtcDateTime

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "study_settings",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=True),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("source_hash", sa.String(64), nullable=False),
        sa.Column("key", sa.String(32), nullable=False),
        sa.Column("value", sa.JSON(), nullable=True),
        sa.Column("author", sa.String(128), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("software", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_study_settings"),
        sqlite_autoincrement=True,
    )
    for column in ("sop_instance_uid", "source_hash"):
        op.create_index(f"ix_study_settings_{column}", "study_settings", [column])
    protect_table(op.get_bind(), "study_settings")


def downgrade() -> None:
    op.drop_table("study_settings")
