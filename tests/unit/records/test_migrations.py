"""Workspaces of earlier versions open, keep all they hold, and gain what is new."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records import Store, Verdict
from napari_clipmed.study import Study

FIRST = Path(__file__).parents[2] / "fixtures" / "workspace_0001.sql"
"""A store as version 0.1 with schema 0001 left it: one case, two labels, one mask row, one split member."""


@pytest.fixture
def old(tmp_path: Path) -> Path:
    place = tmp_path / "w"
    place.mkdir()
    (place / "clipmed-workspace.json").write_text('{"format": "napari-clipmed workspace", "version": 1}')
    database = sqlite3.connect(place / "store.sqlite")
    database.executescript(FIRST.read_text())
    database.close()
    return place


def test_a_workspace_of_schema_0001_opens_and_goes_on(old: Path, study: Study) -> None:
    with Store.open(old) as store:
        (case,) = store.cases()
        first, second, mask = store.revisions(case.id)
        assert (first.label, second.label, second.parent_id) == ("IA", "MMD", first.id)
        assert (second.comment, second.verdict) == ("puff of smoke", Verdict.CORRECTED)
        assert (second.model_version, second.model_label, second.merges_id) == ("", None, None)
        assert (mask.view_index, mask.frame, mask.prompt) == (0, 2, "left ICA")
        assert mask.projected is None
        assert store.current_label(case.id) == second
        assert store.split_roles("diagnosis") == {case.patient_key: "train"}
        store.add_label(case.id, "AS", "corrected", model_label="MMD", model_score=0.9, based_on=first.id)
        assert len(store.conflicts(case.id)) == 1
        assert store.add_answer(case.id, "m", {"AP": {"MMD": 1.0}}).possible is None
        assert store.add_answer(case.id, "m", {"AP": {"MMD": 1.0}}, possible=("MMD",)).possible == ["MMD"]
    raw = sqlite3.connect(old / "store.sqlite")
    with pytest.raises(sqlite3.IntegrityError, match="never changed"), raw:
        raw.execute("UPDATE revisions SET merges_id = 1")
    with pytest.raises(sqlite3.IntegrityError, match="never changed"), raw:
        raw.execute("DELETE FROM answers")
    raw.close()


def test_reading_only_does_not_upgrade(old: Path) -> None:
    with pytest.raises(WorkspaceError, match="older version"):
        Store.open(old, read_only=True)
    raw = sqlite3.connect(old / "store.sqlite")
    assert raw.execute("SELECT version_num FROM alembic_version").fetchone() == ("0001",)
    raw.close()
