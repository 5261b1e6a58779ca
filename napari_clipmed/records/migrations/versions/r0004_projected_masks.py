"""Masks projected over several frames of a run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for column in ("first_frame", "last_frame"):
        op.add_column("revisions", sa.Column(column, sa.Integer(), nullable=True))


def downgrade() -> None:
    for column in ("last_frame", "first_frame"):
        op.drop_column("revisions", column)
