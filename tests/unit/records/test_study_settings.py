"""What readers set right about a run: remembered, taken back, never changed."""

from __future__ import annotations

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records import Run, Store
from napari_clipmed.study import Study

UID = Run("1.2.3", "a" * 64)
PICTURE = Run("", "b" * 64)


def held(store: Store, *runs: Run) -> dict[tuple[str, str], object]:
    return {(setting.run.name, setting.key): setting.value for setting in store.settings_about(runs)}


def test_the_newest_setting_of_a_key_holds(store: Store) -> None:
    store.set_about(UID, "projection", "AP", "Dr A")
    store.set_about(UID, "time base", 250.0)
    newest = store.set_about(UID, "projection", "LA", "Dr B")
    assert held(store, UID) == {("1.2.3", "projection"): "LA", ("1.2.3", "time base"): 250.0}
    assert (newest.author, newest.created_at.utcoffset().total_seconds()) == ("Dr B", 0)
    assert [setting.value for setting in store.setting_history([UID])] == ["AP", 250.0, "LA"]


def test_what_was_set_can_be_taken_back(store: Store) -> None:
    store.set_about(UID, "projection", "AP")
    store.set_about(UID, "projection", None)
    assert held(store, UID) == {}
    assert [setting.value for setting in store.setting_history([UID])] == ["AP", None]
    store.set_about(UID, "projection", "LA")
    assert held(store, UID) == {("1.2.3", "projection"): "LA"}


def test_a_run_is_known_by_its_uid_and_a_picture_by_its_pixels(store: Store) -> None:
    store.set_about(UID, "kind", "other")
    store.set_about(PICTURE, "kind", "chest")
    assert held(store, Run("1.2.3")) == {("1.2.3", "kind"): "other"}  # not decoded yet: no hash
    assert held(store, Run("9.9", "a" * 64)) == {}
    assert held(store, Run("", "a" * 64)) == {}
    assert held(store, UID, PICTURE) == {("1.2.3", "kind"): "other", ("b" * 64, "kind"): "chest"}
    assert store.settings_about([Run("")]) == []
    with pytest.raises(ValueError, match="cannot be found again"):
        store.set_about(Run(""), "kind", "chest")


def test_settings_hold_any_plain_data_and_outlive_the_program(store: Store, study: Study) -> None:
    value = {"items": [{"mask_frames": [1, 2], "shift": [0.1, -0.2]}], "landmark": 0.25}
    store.set_about(Run.of(study.views[0]), "mask", value)
    store.close()
    with Store.open(store.workspace.root, read_only=True) as again:
        (setting,) = again.settings_about(map(Run.of, study.views))
        assert setting.value == value
        assert setting.sop_instance_uid == study.views[0].source.sop_instance_uid
        assert setting.source_hash == study.views[0].source_hash
        with pytest.raises(WorkspaceError, match="reading only"):
            again.set_about(UID, "kind", "chest")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE study_settings SET value = '\"LA\"'",
        "DELETE FROM study_settings",
        "INSERT OR REPLACE INTO study_settings SELECT * FROM study_settings",
    ],
)
def test_the_database_itself_refuses_to_change_a_setting(store: Store, statement: str) -> None:
    store.set_about(UID, "projection", "AP")
    with pytest.raises(DBAPIError, match="never changed"), store._engine.begin() as connection:
        connection.execute(text(statement))
    assert held(store, UID) == {("1.2.3", "projection"): "AP"}


def test_an_earlier_workspace_gains_the_table(store: Store) -> None:
    from alembic import command

    from napari_clipmed.records.migrating import _script_config

    with store._engine.begin() as connection:
        command.downgrade(_script_config(connection), "0002")
    store.close()
    with Store.open(store.workspace.root) as again:
        again.set_about(UID, "projection", "AP")
        assert held(again, UID)
