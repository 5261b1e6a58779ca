"""From a folder to the worklist in the store, and back to studies."""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

sys.path.insert(0, str(Path(__file__).parents[2] / "fixtures"))

from worklist_folder import folder, store  # noqa: E402

from napari_clipmed.errors import UnreadableFileError, WorkspaceError
from napari_clipmed.io import open_study
from napari_clipmed.progress import Progress
from napari_clipmed.records import Listed, Store
from napari_clipmed.worklist.adding import entries_in
from napari_clipmed.worklist.lines import Status, progress_of, read_lines
from napari_clipmed.worklist.reading import entry_of, read_study
from napari_clipmed.worklist.thumbnails import SIDE, Thumbnails, peek, thumbnail_of

__all__ = ["folder", "store"]


@pytest.fixture
def listed(folder: Path) -> list[Listed]:
    return entries_in([folder], Progress())


def test_a_folder_gives_pairs_a_film_and_what_cannot_be_read_with_its_reason(listed, folder: Path) -> None:
    assert [entry.title for entry in listed] == [
        "exam 1/AP.dcm + LA.dcm", "exam 2/AP.dcm + LA.dcm", "film.png", "cut.dcm",
    ]  # fmt: skip
    assert [bool(entry.problem) for entry in listed] == [False, False, False, True]
    assert all(entry.root == str(folder) for entry in listed)
    study = read_study(listed[0])
    assert len(study.views) == 2 and study.pairing is not None


def test_single_files_that_belong_together_are_one_entry(folder: Path) -> None:
    exam, film = folder / "exam 1", folder / "film.png"
    found = entries_in([exam / "LA.dcm", exam / "AP.dcm", film, folder / "gone.dcm"], Progress())
    assert [len(entry.paths) for entry in found] == [2, 1, 1]
    assert "no file gone.dcm" in found[-1].problem


def test_an_archive_is_read_from_itself(folder: Path, tmp_path: Path) -> None:
    packed = tmp_path / "exams.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted(folder.rglob("*.*")):
            archive.write(path, path.relative_to(folder).as_posix())
    pair, *_ = entries_in([packed], Progress())
    assert pair.archive and pair.files == (packed,)
    assert len(read_study(pair).views) == 2


def test_the_store_keeps_the_list_and_only_adds_rows(store: Store, listed) -> None:
    assert store.add_to_worklist(listed, "AB") == 4
    assert store.add_to_worklist(listed) == 0
    assert store.worklist() == listed
    with store._reading() as session:
        assert session.execute(text("SELECT count(*) FROM worklist")).scalar() == 4
    case = store.case_for(read_study(listed[0]))
    store.learn_of_listed(listed[0], case)
    store.learn_of_listed(listed[1], problem="It was cut.")
    store.remove_from_worklist([listed[2]])
    first, second, _ = store.worklist()
    assert (first.case_id, second.problem) == (case, "It was cut.")
    store.add_to_worklist([listed[2]])
    assert store.worklist()[-1].paths == ("film.png",)
    with pytest.raises(DBAPIError, match="never changed"), store._engine.begin() as connection:
        connection.execute(text("DELETE FROM worklist"))
    with (
        Store.open(store.workspace.root, read_only=True) as again,
        pytest.raises(WorkspaceError, match="reading only"),
    ):
        again.add_to_worklist(listed[:1] + [Listed("/x", ("y",), "other")])


def test_no_identity_is_in_the_store(store: Store, listed) -> None:
    store.add_to_worklist(listed)
    store.learn_of_listed(listed[0], store.case_for(read_study(listed[0])))
    content = (
        store.workspace.database.read_bytes()
        + store.workspace.database.with_name("store.sqlite-wal").read_bytes()
    )
    assert b"SECRET" not in content and b"Doe" not in content


def test_a_folder_that_moved_is_found_where_it_is_added_again(store: Store, listed, folder: Path) -> None:
    store.add_to_worklist(listed)
    moved = folder.with_name("moved")
    shutil.move(folder, moved)
    lines = read_lines(store)
    assert lines[0].status is Status.PROBLEM and "no longer where it was added" in lines[0].problem
    with pytest.raises(UnreadableFileError, match="no longer"):
        entry_of(lines[0].listed)
    store.add_to_worklist(entries_in([moved / "exam 1"], Progress()))
    assert len(store.worklist()) == 4 and read_lines(store)[0].problem == ""


def test_lines_join_labels_answers_and_cases_found_by_their_runs(store: Store, listed) -> None:
    store.add_to_worklist(listed)
    case = store.case_for(open_study(Path(listed[0].root) / "exam 1"))
    store.add_answer(case, "m", {"both": {"a": 0.6, "b": 0.4}}, model_version="v")
    assert read_lines(store)[0].status is Status.TO_REVIEW
    store.add_label(case, "b", "corrected", author="AB")
    line = read_lines(store)[0]
    assert (line.case, line.label.label, line.confidence, line.status) == (case, "b", 0.6, Status.REVIEWED)
    assert read_lines(store, "another model")[0].answer is None
    assert progress_of(read_lines(store)) == (1, 3)


def test_thumbnails_are_made_from_a_peek_and_kept_within_a_budget(listed, tmp_path: Path) -> None:
    picture = peek(entry_of(listed[0]), Progress())
    assert picture.shape == (SIDE, SIDE) and picture.std() > 5
    assert thumbnail_of(read_study(listed[2])).shape == (SIDE, SIDE)
    kept = Thumbnails(tmp_path / "thumbnails", budget=3 * 1200)
    for number in range(102):
        kept.put(f"{number}", np.full((SIDE, SIDE), number, np.uint8))
    assert kept.get("101")[0, 0] == 101
    assert len(list((tmp_path / "thumbnails").iterdir())) < 102
    (tmp_path / "thumbnails" / "bad.png").write_bytes(b"not a picture")
    assert kept.get("bad") is None and kept.get("none") is None
