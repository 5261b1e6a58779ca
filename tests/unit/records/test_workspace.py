"""The folder: created, refused, read-only, full, newer, damaged; and silent about the patient."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records import Store
from napari_clipmed.records.schema import Base
from napari_clipmed.study import Study


def test_a_new_folder_becomes_a_workspace_and_opens_again(tmp_path: Path, study: Study) -> None:
    place = tmp_path / "a folder? with 100% odd #name" / "w"
    with Store.open(place) as store:
        case = store.case_for(study)
        store.add_label(case, "MMD", "accepted")
    assert {p.name for p in place.iterdir()} >= {"masks", "inputs", "models", "runs", "store.sqlite"}
    assert not (place / "store.sqlite-wal").exists()
    for read_only in (False, True):
        with Store.open(place, read_only) as store:
            assert store.current_label(case).label == "MMD"


def test_migrations_build_exactly_the_schema(store: Store) -> None:
    with store._engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2  # FULL


def test_no_identity_reaches_the_disk(tmp_path: Path, study: Study) -> None:
    with Store.open(tmp_path / "w") as store:
        case = store.case_for(study)
        store.add_label(case, "MMD", "accepted", "model", "Dr A", "clear")
        store.add_mask(case, 0, 1, study.views[0].pixels[1] > 99, "vessels")
        store.save_inputs(case, {"AP": study.views[0].pixels})
        everything = [p for p in (tmp_path / "w").rglob("*") if p.is_file()]
        content = b"".join(p.read_bytes() + str(p.name).encode() for p in everything).lower()
    assert len(everything) >= 4
    for secret in ("PID-4711-SECRET", "Mustermann", "Erika", "19500101", "run.dcm"):
        assert secret.lower().encode() not in content
        assert secret.lower().encode("utf-16-le") not in content
    assert study.views[0].source.sop_instance_uid.encode() in content


def test_a_folder_with_other_things_is_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("sun")
    for read_only in (False, True):
        with pytest.raises(WorkspaceError, match="is not a workspace"):
            Store.open(tmp_path, read_only)
    assert [p.name for p in tmp_path.iterdir()] == ["holiday.txt"]
    with pytest.raises(WorkspaceError, match="There is no workspace"):
        Store.open(tmp_path / "nothing", read_only=True)
    with pytest.raises(WorkspaceError, match="is a file"):
        Store.open(tmp_path / "holiday.txt")


def test_a_newer_database_is_left_alone(tmp_path: Path) -> None:
    Store.open(tmp_path / "w").close()
    database = sqlite3.connect(tmp_path / "w" / "store.sqlite")
    with database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    before = (tmp_path / "w" / "store.sqlite").read_bytes()
    for read_only in (False, True):
        with pytest.raises(WorkspaceError, match="newer version"):
            Store.open(tmp_path / "w", read_only)
    assert (tmp_path / "w" / "store.sqlite").read_bytes() == before


def test_a_damaged_database_is_named(tmp_path: Path) -> None:
    Store.open(tmp_path / "w").close()
    (tmp_path / "w" / "store.sqlite").write_bytes(b"not a database at all" * 400)
    for read_only in (False, True):
        with pytest.raises(WorkspaceError, match="damaged"):
            Store.open(tmp_path / "w", read_only)


def test_reading_only_refuses_to_write(tmp_path: Path, study: Study) -> None:
    with Store.open(tmp_path / "w") as store:
        case = store.case_for(study)
        mask = store.add_mask(case, 0, 0, np.ones((12, 10), bool))
    before = _lasting_files(tmp_path / "w")
    with Store.open(tmp_path / "w", read_only=True) as store:
        assert store.case_for(study) == case
        assert store.read_mask(mask).all()
        for write in (
            lambda: store.add_label(case, "MMD", "accepted"),
            lambda: store.add_mask(case, 0, 0, np.zeros((12, 10), bool)),
            lambda: store.save_inputs(case, {"AP": np.zeros((2, 2), np.uint8)}),
            lambda: store.undo(mask),
        ):
            with pytest.raises(WorkspaceError, match="for reading only; nothing was saved"):
                write()
    assert _lasting_files(tmp_path / "w") == before


def _lasting_files(place: Path) -> set[tuple[Path, int]]:
    """All but the two helper files that SQLite keeps while a database in WAL mode is open."""
    return {
        (p, p.stat().st_mtime_ns)
        for p in place.rglob("*.*")
        if p.suffix not in (".sqlite-wal", ".sqlite-shm")
    }


def test_two_stores_see_each_other(tmp_path: Path, study: Study) -> None:
    with Store.open(tmp_path / "w") as writer, Store.open(tmp_path / "w", read_only=True) as reader:
        case = writer.case_for(study)
        writer.add_label(case, "IA", "accepted")
        assert reader.current_label(case).label == "IA"


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_loses_nothing(
    store: Store, study: Study, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    case = store.case_for(study)
    kept = store.add_mask(case, 0, 0, np.ones((12, 10), bool))

    def full(descriptor: int) -> None:
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(WorkspaceError, match="is full"):
            store.add_mask(case, 0, 0, np.zeros((12, 10), bool))
    assert store.current_masks(case) == [kept]
    assert list((store.workspace.root / "partial").iterdir()) == []
    assert len(list(store.workspace.masks.rglob("*.png"))) == 1


def test_a_full_database_is_a_sentence(store: Store, study: Study) -> None:
    case = store.case_for(study)
    kept = store.add_label(case, "IA", "accepted")
    store._engine.dispose()
    from sqlalchemy import event

    event.listen(store._engine, "connect", lambda raw, record: raw.execute("PRAGMA max_page_count=1"))
    with pytest.raises(WorkspaceError, match="is full"):
        store.add_label(case, "MMD", "corrected", comment="long " * 4000)
    assert store.current_label(case) == kept


@pytest.fixture
def open_place() -> Iterator[Path]:
    """A folder that other accounts can reach, unlike pytest's own."""
    place = Path(tempfile.mkdtemp(prefix="clipmed-test-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


OPEN_AS_A_GUEST = """
import os, sys
from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records import Store
Store.open(sys.argv[1], read_only=True).close()  # imports all, while the interpreter is within reach
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
case = sys.argv[2]
try:
    Store.open(sys.argv[1])
    sys.exit("opened for writing")
except WorkspaceError as error:
    assert "cannot be written" in error.message, error
with Store.open(sys.argv[1], fall_back=True) as store:
    assert store.read_only and "for reading only" in store.notice, store.notice
    assert store.current_label(case).label == "MMD"
with Store.open(sys.argv[1], read_only=True) as store:
    assert store.current_label(case).label == "MMD"
"""


@pytest.mark.skipif(os.name != "posix", reason="folders without write access are made by chmod")
def test_without_write_access_it_opens_for_reading(open_place: Path, study: Study) -> None:
    with Store.open(open_place / "w") as store:
        case = store.case_for(study)
        store.add_label(case, "MMD", "accepted")
    for path in [open_place / "w", *(open_place / "w").rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    command = [sys.executable, "-c", OPEN_AS_A_GUEST, str(open_place / "w"), case]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for path in [open_place / "w", *(open_place / "w").rglob("*")]:
        path.chmod(0o755)
    assert done.returncode == 0, done.stderr
