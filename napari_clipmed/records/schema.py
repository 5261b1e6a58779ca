"""Tables of the annotation store (SQLAlchemy 2, typed). Rows of every table are only ever added."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Float, ForeignKey, Index, MetaData, String, Text, TypeDecorator
from sqlalchemy.engine import Dialect
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship


class UtcDateTime(TypeDecorator[datetime]):
    """An aware datetime in UTC; SQLite keeps no time zone, so it is put back on the way out."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store in UTC; refuse times without a zone."""
        if value is not None and value.tzinfo is None:
            raise ValueError("The store takes times with a time zone only")
        return value.astimezone(UTC) if value is not None else None

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Give back an aware datetime."""
        return value if value is None or value.tzinfo else value.replace(tzinfo=UTC)


class Base(DeclarativeBase):
    """Base of all tables; constraints have names, so that a migration can speak of them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class WorkspaceRow(Base):
    """One row: who this workspace is, and the secret that its patient keys are made with."""

    __tablename__ = "workspace"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    salt: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class CaseRow(Base):
    """One examination."""

    __tablename__ = "cases"

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    image_hash: Mapped[str] = mapped_column(String(64), index=True)
    kind: Mapped[str] = mapped_column(String(16))
    synthetic: Mapped[bool]
    patient_key: Mapped[str] = mapped_column(String(64), index=True)
    patient_basis: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    software: Mapped[str] = mapped_column(String(64))
    views: Mapped[list[CaseViewRow]] = relationship(order_by="CaseViewRow.index")


class CaseViewRow(Base):
    """One view of an examination."""

    __tablename__ = "case_views"

    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), primary_key=True)
    index: Mapped[int] = mapped_column(primary_key=True)
    projection: Mapped[str] = mapped_column(String(16))
    pixel_hash: Mapped[str] = mapped_column(String(64))
    sop_instance_uid: Mapped[str] = mapped_column(String(64), index=True)
    n_frames: Mapped[int]
    rows: Mapped[int]
    columns: Mapped[int]


class RevisionRow(Base):
    """One statement about a case; the fields are those of `records.Revision`."""

    __tablename__ = "revisions"
    __table_args__ = (Index(None, "case_id", "kind"), {"sqlite_autoincrement": True})

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    uid: Mapped[str] = mapped_column(String(32), unique=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"))
    parent_id: Mapped[int | None] = mapped_column(ForeignKey("revisions.id"))
    restored_from: Mapped[int | None] = mapped_column(ForeignKey("revisions.id"))
    kind: Mapped[str] = mapped_column(String(16))
    verdict: Mapped[str | None] = mapped_column(String(16))
    label: Mapped[str | None] = mapped_column(String(64))
    prompt: Mapped[str] = mapped_column(Text)
    model_prompt: Mapped[str] = mapped_column(Text)
    convention: Mapped[str] = mapped_column(String(16))
    view_index: Mapped[int | None]
    frame: Mapped[int | None]
    name: Mapped[str] = mapped_column(String(64))
    mask_sha256: Mapped[str | None] = mapped_column(String(64))
    threshold: Mapped[float | None] = mapped_column(Float)
    comment: Mapped[str] = mapped_column(Text)
    author: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    software: Mapped[str] = mapped_column(String(64))
    model_id: Mapped[str] = mapped_column(String(128))
    image_hash: Mapped[str] = mapped_column(String(64))
    sop_instance_uid: Mapped[str] = mapped_column(String(64))
    merges_id: Mapped[int | None] = mapped_column(ForeignKey("revisions.id"))
    model_version: Mapped[str] = mapped_column(String(64), server_default="")
    model_label: Mapped[str | None] = mapped_column(String(64))
    model_score: Mapped[float | None] = mapped_column(Float)
    first_frame: Mapped[int | None]
    last_frame: Mapped[int | None]


class AnswerRow(Base):
    """What a diagnosis model said about a case; the fields are those of `records.Answer`."""

    __tablename__ = "answers"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), index=True)
    model_id: Mapped[str] = mapped_column(String(128))
    model_version: Mapped[str] = mapped_column(String(64))
    probabilities: Mapped[dict[str, dict[str, float]]] = mapped_column(JSON)
    unlike_training: Mapped[bool]
    possible: Mapped[list[str] | None] = mapped_column(JSON(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    software: Mapped[str] = mapped_column(String(64))


class SnapshotRow(Base):
    """One saved set of model-input frames of a case, in an npz file named by its hash."""

    __tablename__ = "snapshots"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    case_id: Mapped[str] = mapped_column(ForeignKey("cases.id"), index=True)
    sha256: Mapped[str] = mapped_column(String(64))
    names: Mapped[list[str]] = mapped_column(JSON)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    software: Mapped[str] = mapped_column(String(64))


class SplitMemberRow(Base):
    """On which side of fine-tuning a patient stands, decided once per task."""

    __tablename__ = "split_members"

    task: Mapped[str] = mapped_column(String(16), primary_key=True)
    patient_key: Mapped[str] = mapped_column(String(64), primary_key=True)
    role: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)


class StudySettingRow(Base):
    """One thing that a reader set about a run; the fields are those of `records.Setting`."""

    __tablename__ = "study_settings"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    sop_instance_uid: Mapped[str] = mapped_column(String(64), index=True)
    source_hash: Mapped[str] = mapped_column(String(64), index=True)
    key: Mapped[str] = mapped_column(String(32))
    value: Mapped[Any | None] = mapped_column(JSON(none_as_null=True))
    author: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    software: Mapped[str] = mapped_column(String(64))


class WorklistRow(Base):
    """One event in the life of a worklist entry: added, removed, or what was learned of it."""

    __tablename__ = "worklist"
    __table_args__ = {"sqlite_autoincrement": True}

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=True)
    entry: Mapped[str] = mapped_column(String(64), index=True)
    action: Mapped[str] = mapped_column(String(16))
    root: Mapped[str] = mapped_column(Text)
    content: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    case_id: Mapped[str | None] = mapped_column(ForeignKey("cases.id"))
    problem: Mapped[str] = mapped_column(Text)
    author: Mapped[str] = mapped_column(String(128))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    software: Mapped[str] = mapped_column(String(64))
