"""The first schema: cases, views, revisions, snapshots, split members, and their append-only triggers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from napari_clipmed.records.append_only import protect_table
from napari_clipmed.records.schema import UtcDateTime

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "workspace",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("salt", sa.String(64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workspace"),
    )
    _create_cases()
    _create_revisions()
    _create_training_tables()
    for table in ("cases", "case_views", "snapshots", "split_members"):
        protect_table(op.get_bind(), table)
    protect_table(op.get_bind(), "revisions", unique="uid")


def _create_cases() -> None:
    op.create_table(
        "cases",
        sa.Column("id", sa.String(32), nullable=False),
        sa.Column("image_hash", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("synthetic", sa.Boolean(), nullable=False),
        sa.Column("patient_key", sa.String(64), nullable=False),
        sa.Column("patient_basis", sa.String(16), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("software", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_cases"),
    )
    op.create_index("ix_cases_image_hash", "cases", ["image_hash"])
    op.create_index("ix_cases_patient_key", "cases", ["patient_key"])
    op.create_table(
        "case_views",
        sa.Column("case_id", sa.String(32), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("projection", sa.String(16), nullable=False),
        sa.Column("pixel_hash", sa.String(64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.Column("n_frames", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("columns", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("case_id", "index", name="pk_case_views"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_case_views_case_id"),
    )
    op.create_index("ix_case_views_sop_instance_uid", "case_views", ["sop_instance_uid"])


def _create_revisions() -> None:
    op.create_table(
        "revisions",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=True),
        sa.Column("uid", sa.String(32), nullable=False),
        sa.Column("case_id", sa.String(32), nullable=False),
        sa.Column("parent_id", sa.Integer(), nullable=True),
        sa.Column("restored_from", sa.Integer(), nullable=True),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("verdict", sa.String(16), nullable=True),
        sa.Column("label", sa.String(64), nullable=True),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("model_prompt", sa.Text(), nullable=False),
        sa.Column("convention", sa.String(16), nullable=False),
        sa.Column("view_index", sa.Integer(), nullable=True),
        sa.Column("frame", sa.Integer(), nullable=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("mask_sha256", sa.String(64), nullable=True),
        sa.Column("threshold", sa.Float(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=False),
        sa.Column("author", sa.String(128), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("software", sa.String(64), nullable=False),
        sa.Column("model_id", sa.String(128), nullable=False),
        sa.Column("image_hash", sa.String(64), nullable=False),
        sa.Column("sop_instance_uid", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_revisions"),
        sa.UniqueConstraint("uid", name="uq_revisions_uid"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_revisions_case_id"),
        sa.ForeignKeyConstraint(["parent_id"], ["revisions.id"], name="fk_revisions_parent_id"),
        sa.ForeignKeyConstraint(["restored_from"], ["revisions.id"], name="fk_revisions_restored_from"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_revisions_case_id_kind", "revisions", ["case_id", "kind"])


def _create_training_tables() -> None:
    op.create_table(
        "snapshots",
        sa.Column("id", sa.Integer(), nullable=False, autoincrement=True),
        sa.Column("case_id", sa.String(32), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("names", sa.JSON(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("software", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_snapshots"),
        sa.ForeignKeyConstraint(["case_id"], ["cases.id"], name="fk_snapshots_case_id"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_snapshots_case_id", "snapshots", ["case_id"])
    op.create_table(
        "split_members",
        sa.Column("task", sa.String(16), nullable=False),
        sa.Column("patient_key", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("task", "patient_key", name="pk_split_members"),
    )


def downgrade() -> None:
    for table in ("split_members", "snapshots", "revisions", "case_views", "cases", "workspace"):
        op.drop_table(table)
