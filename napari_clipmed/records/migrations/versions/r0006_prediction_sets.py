"""Which classes a model's answer holds possible, beside their probabilities."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("answers", sa.Column("possible", sa.JSON(), nullable=True))


def downgrade() -> None:
    op.drop_column("answers", "possible")
