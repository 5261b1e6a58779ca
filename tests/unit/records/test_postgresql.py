"""A workspace on a real PostgreSQL server: the same store, the same rules, and sentences for its troubles."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from postgres_server import PASSWORD, Server
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.exc import DBAPIError

from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records import SplitRole, Store
from napari_clipmed.records.schema import Base
from napari_clipmed.study import Study


def straight_to(url: str, user: str = "clipmed"):
    """Any other program on the same database."""
    return create_engine(make_url(url).set(drivername="postgresql+pg8000", username=user, password=PASSWORD))


def test_everything_is_read_back_and_the_password_is_nowhere(
    tmp_path: Path, database: str, study: Study
) -> None:
    mask = np.random.default_rng(0).random((12, 10)) > 0.5
    with Store.create(tmp_path / "w", database) as store:
        case = store.case_for(study)
        label = store.add_label(
            case, "MMD", "corrected", "m", "Dr Ä", "why", model_score=0.4, model_label="IA"
        )
        drawn = store.add_mask(case, 1, 2, mask, "nidus", name="nidus")
        store.save_inputs(case, {"AP": np.zeros((2, 4, 4), np.uint8)})
        store.freeze_roles("diagnosis", {"p": SplitRole.VALIDATION})
        store.add_answer(case, "m", {"AP": {"MMD": 0.25, "IA": 0.75}}, model_version="f" * 64)
    assert not (tmp_path / "w" / "store.sqlite").exists()
    with Store.open(tmp_path / "w") as store:
        assert store.current_label(case) == label
        assert store.current_label(case).created_at.utcoffset().total_seconds() == 0
        np.testing.assert_array_equal(store.read_mask(drawn), mask)
        assert store.input_names() == {case: {"AP"}}
        assert store.split_roles("diagnosis") == {"p": SplitRole.VALIDATION}
        assert store.newest_answers()[case].probabilities == {"AP": {"MMD": 0.25, "IA": 0.75}}
        assert store.undo(label).withdrawn
    for path in (tmp_path / "w").rglob("*"):
        assert path.is_dir() or PASSWORD.encode() not in path.read_bytes()


def test_migrations_build_exactly_the_schema(tmp_path: Path, database: str) -> None:
    with Store.create(tmp_path / "w", database) as store, store._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE revisions SET label = 'IA'",
        "DELETE FROM revisions",
        "TRUNCATE answers",
        "INSERT INTO cases SELECT * FROM cases ON CONFLICT (id) DO UPDATE SET patient_key = 'x'",
        "DELETE FROM split_members",
    ],
)
def test_the_server_itself_refuses_changes(
    tmp_path: Path, database: str, study: Study, statement: str
) -> None:
    with Store.create(tmp_path / "w", database) as store:
        case = store.case_for(study)
        store.add_label(case, "MMD", "accepted")
        store.freeze_roles("diagnosis", {"p": SplitRole.VALIDATION})
        with (
            pytest.raises(DBAPIError, match="never changed or removed"),
            straight_to(database).begin() as raw,
        ):
            raw.execute(text(statement))
        assert store.current_label(case).label == "MMD"


def test_a_database_belongs_to_one_workspace(tmp_path: Path, database: str) -> None:
    Store.create(tmp_path / "w", database).close()
    with pytest.raises(WorkspaceError, match="belongs to another"):
        Store.create(tmp_path / "other", database)
    assert not (tmp_path / "other").exists()
    with pytest.raises(WorkspaceError, match="workspace already"):
        Store.create(tmp_path / "w", database)
    marker = tmp_path / "w" / "clipmed-workspace.json"
    marker.write_text(marker.read_text().replace('"id": "', '"id": "0'))
    with pytest.raises(WorkspaceError, match="belongs to another"):
        Store.open(tmp_path / "w")


def test_a_user_without_the_right_to_write_reads(tmp_path: Path, database: str, study: Study) -> None:
    with Store.create(tmp_path / "w", database) as store:
        case = store.case_for(study)
        store.add_label(case, "MMD", "accepted")
    with straight_to(database).begin() as raw:
        raw.execute(text(f"DROP ROLE IF EXISTS reader; CREATE ROLE reader LOGIN PASSWORD '{PASSWORD}'"))
        raw.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader"))
    marker = tmp_path / "w" / "clipmed-workspace.json"
    marker.write_text(marker.read_text().replace("clipmed@", "reader@"))
    with pytest.raises(WorkspaceError, match="cannot be written"):
        Store.open(tmp_path / "w")
    with Store.open(tmp_path / "w", fall_back=True) as store:
        assert store.read_only and "for reading only" in store.notice
        assert store.current_label(case).label == "MMD"
        with pytest.raises(WorkspaceError, match="for reading only"):
            store.add_label(case, "IA", "corrected")
    with straight_to(database).begin() as raw:
        raw.execute(text("DROP OWNED BY reader; DROP ROLE reader"))


def test_reading_only_cannot_write_behind_our_back(tmp_path: Path, database: str, study: Study) -> None:
    Store.create(tmp_path / "w", database).close()
    with (
        Store.open(tmp_path / "w", read_only=True) as store,
        store._engine.connect() as connection,
        pytest.raises(DBAPIError, match="read-only transaction"),
    ):
        connection.execute(text("DELETE FROM workspace"))


def test_addresses_and_passwords_that_are_no_good(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for wrong in ("mysql://u@h/d", "postgresql://u@h", "nonsense"):
        with pytest.raises(WorkspaceError, match="not the address"):
            Store.create(tmp_path / "w", wrong)
    with pytest.raises(WorkspaceError, match="contains a password"):
        Store.create(tmp_path / "w", database.replace("clipmed@", "clipmed:secret@"))
    with pytest.raises(WorkspaceError, match="does not exist"):
        Store.create(tmp_path / "w", database + "x")
    monkeypatch.setenv("CLIPMED_DB_PASSWORD", "wrong")
    with pytest.raises(WorkspaceError, match="refused the user"):
        Store.create(tmp_path / "w", database)
    with pytest.raises(WorkspaceError, match="cannot be reached"):
        Store.create(tmp_path / "w", "postgresql://u@127.0.0.1:1/d")
    assert not (tmp_path / "w").exists()


def test_a_server_that_goes_and_comes_back(
    tmp_path: Path, postgres: Server, database: str, study: Study
) -> None:
    with Store.create(tmp_path / "w", database) as store:
        case = store.case_for(study)
        kept = store.add_label(case, "MMD", "accepted")
        postgres.stop()
        try:
            with pytest.raises(WorkspaceError, match="cannot be reached"):
                store.add_label(case, "IA", "corrected")
        finally:
            postgres.start()
        assert store.current_label(case) == kept
        store.add_label(case, "IA", "corrected")
        assert [r.label for r in store.revisions(case)] == ["MMD", "IA"]


def test_the_keyring_is_asked_where_the_environment_is_silent(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import keyring

    monkeypatch.delenv("CLIPMED_DB_PASSWORD")
    monkeypatch.delenv("PGPASSWORD", raising=False)
    asked = []

    def get_password(service: str, user: str) -> str:
        asked.append((service, user))
        return PASSWORD

    monkeypatch.setattr(keyring, "get_password", get_password)
    Store.create(tmp_path / "w", database).close()
    address = make_url(database)
    assert asked == [(f"napari-clipmed 127.0.0.1:{address.port}/{address.database}", "clipmed")]


def test_two_programs_may_open_a_new_database_at_once(tmp_path: Path, database: str) -> None:
    """One creates the tables, the other waits for it; one of them gets the database."""
    outcomes: list[str] = []

    def create(name: str) -> None:
        try:
            Store.create(tmp_path / name, database).close()
            outcomes.append("made")
        except WorkspaceError as error:
            outcomes.append(error.message)

    threads = [threading.Thread(target=create, args=(name,)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted("another" in outcome for outcome in outcomes) == [False, True]
