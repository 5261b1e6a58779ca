"""What readers set right about single runs: data about a study, never written into its file.

A setting is told apart by run and key; the newest one holds, and one without a value takes it back. Nothing
is changed or removed. A run is known by its SOP Instance UID, or by the hash of its stored frames where it
has none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, or_, select

from napari_clipmed.records.schema import StudySettingRow
from napari_clipmed.records.sessions import SOFTWARE, Sessions, now
from napari_clipmed.study import View


@dataclass(frozen=True)
class Run:
    """Which run: its SOP Instance UID (empty for a plain picture) and the hash of its stored frames.

    The hash may be empty where a DICOM file was not decoded yet.
    """

    sop_instance_uid: str
    source_hash: str = ""

    @classmethod
    def of(cls, view: View) -> Run:
        """The run that a view shows."""
        return cls(view.source.sop_instance_uid, view.source_hash)

    @property
    def name(self) -> str:
        """The UID, else the hash: what tells this run from others."""
        return self.sop_instance_uid or self.source_hash


@dataclass(frozen=True)
class Setting:
    """One thing that a reader set about a run.

    Parameters
    ----------
    key : str
        What it is about, for example "projection"; the words are the caller's.
    value : plain data or None
        None takes back what was set before.
    author, created_at
        Who set it, and when (UTC).
    """

    id: int
    sop_instance_uid: str
    source_hash: str
    key: str
    value: Any
    author: str
    created_at: datetime
    software: str

    @property
    def run(self) -> Run:
        """What it was set about."""
        return Run(self.sop_instance_uid, self.source_hash)


class StudySettings(Sessions):
    """Settings about runs, in the workspace's database."""

    def set_about(self, run: Run, key: str, value: Any, author: str = "") -> Setting:
        """Record a setting; None takes back what was set under this key.

        Parameters
        ----------
        run : Run
        key : str
            At most 32 characters.
        value : plain data or None
            Whatever JSON can hold; nothing about the patient.
        author : str
            Who says so.
        """
        if not run.name:
            raise ValueError("A run without UID and without hash cannot be found again")
        row = StudySettingRow(
            sop_instance_uid=run.sop_instance_uid,
            source_hash=run.source_hash,
            key=key,
            value=value,
            author=author,
            created_at=now(),
            software=SOFTWARE,
        )
        with self._writing() as session:
            session.add(row)
            session.flush()
            return _setting(row)

    def setting_history(self, runs: Iterable[Run]) -> list[Setting]:
        """All that was ever set about these runs, oldest first, what was taken back included."""
        chosen = [_is_about(run) for run in runs if run.name]
        if not chosen:
            return []
        query = select(StudySettingRow).where(or_(*chosen)).order_by(StudySettingRow.id)
        with self._reading() as session:
            return [_setting(row) for row in session.scalars(query)]

    def settings_about(self, runs: Iterable[Run]) -> list[Setting]:
        """What holds now: the newest setting of each run and key, unless it was taken back; oldest first."""
        newest = {(setting.run.name, setting.key): setting for setting in self.setting_history(runs)}
        held = [setting for setting in newest.values() if setting.value is not None]
        return sorted(held, key=lambda setting: setting.id)


def _is_about(run: Run) -> ColumnElement[bool]:
    if run.sop_instance_uid:
        return StudySettingRow.sop_instance_uid == run.sop_instance_uid
    return and_(StudySettingRow.sop_instance_uid == "", StudySettingRow.source_hash == run.source_hash)


def _setting(row: StudySettingRow) -> Setting:
    return Setting(**{field.name: getattr(row, field.name) for field in fields(Setting)})
