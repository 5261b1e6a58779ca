"""The journal of the unsaved, and the list of recent workspaces."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records import Store
from napari_clipmed.records.drafts import Draft, Drafts, drafts_folder
from napari_clipmed.records.recent import note_workspace, recent_workspaces

CASE = "0" * 31 + "a"


def marks(frame: int = 3, value: int = 2) -> Draft:
    labels = np.zeros((6, 5), np.uint8)
    labels[1] = value
    return Draft(CASE, 0, frame, labels, {"classes": {"2": "nidus"}})


def test_a_draft_is_kept_and_replaced_and_dropped(tmp_path: Path) -> None:
    drafts = Drafts(tmp_path / "d")
    assert drafts.of(CASE) == [] and drafts.cases() == []
    drafts.keep(marks())
    drafts.keep(marks(value=4))
    drafts.keep(Draft(CASE, said={"label": "MMD", "verdict": "accepted"}))
    found, verdict = drafts.of(CASE)
    assert (found.view_index, found.frame, found.said) == (0, 3, {"classes": {"2": "nidus"}})
    np.testing.assert_array_equal(found.labels, marks(value=4).labels)
    assert verdict.said == {"label": "MMD", "verdict": "accepted"} and verdict.labels is None
    drafts.drop(CASE, "mask-0-3")
    assert [d.key for d in drafts.of(CASE)] == ["label"]
    drafts.drop(CASE)
    assert drafts.cases() == [] and list((tmp_path / "d").glob("*/*.npz")) == []


def test_a_running_program_keeps_its_drafts_to_itself(tmp_path: Path) -> None:
    """A dead program's drafts are offered, a living one's are not, even with the same process number."""
    code = (
        "import sys, numpy as np\nfrom pathlib import Path\n"
        "from napari_clipmed.records.drafts import Draft, Drafts\n"
        "Drafts(Path(sys.argv[1])).keep(Draft(sys.argv[2], 0, 3, np.ones((6, 5), np.uint8)))\n"
        "print('kept', flush=True)\nsys.stdin.read()\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), CASE],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout.readline() == "kept\n"
    drafts = Drafts(tmp_path)
    assert drafts.of(CASE) == []
    child.kill()
    child.communicate()
    (found,) = drafts.of(CASE)
    assert found.frame == 3
    drafts.keep(marks())
    drafts.drop(CASE, own=False)
    assert [d.labels.max() for d in drafts.of(CASE)] == [2]
    owner = next(tmp_path.glob("*/owner.json"))
    owner.write_text(f'{{"pid": {os.getpid()}, "started": 1.0}}')  # the number was given out again
    assert len(Drafts(tmp_path).of(CASE)) == 1


def test_damaged_and_odd_files_are_left_out(tmp_path: Path) -> None:
    drafts = Drafts(tmp_path)
    drafts.keep(marks())
    (path,) = tmp_path.glob(f"*/{CASE}/*.npz")
    path.with_name("mask-0-4.npz").write_bytes(path.read_bytes()[:50])
    path.with_name("else.npz").write_bytes(path.read_bytes())
    path.with_name("mask-0-5.npz").write_bytes(b"")
    assert [d.key for d in drafts.of(CASE)] == ["mask-0-3"]


def test_a_full_disk_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    drafts = Drafts(tmp_path)
    drafts.keep(marks())
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(WorkspaceError, match="is full"):
        drafts.keep(marks(value=9))
    np.testing.assert_array_equal(drafts.of(CASE)[0].labels, marks().labels)


def test_workspaces_do_not_share_drafts(tmp_path: Path) -> None:
    assert drafts_folder(tmp_path, tmp_path / "a") != drafts_folder(tmp_path, tmp_path / "b")


def test_recent_workspaces_are_newest_first_once_and_there(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert recent_workspaces(home) == []
    for name in ("a", "b", "a", "gone"):
        if name != "gone":
            Store.open(tmp_path / name).close()
        note_workspace(home, tmp_path / name)
    assert recent_workspaces(home) == [tmp_path / "a", tmp_path / "b"]
    for number in range(12):
        note_workspace(home, tmp_path / f"n{number}")
    assert recent_workspaces(home) == []
    (home / "recent-workspaces.json").write_text("not json")
    assert recent_workspaces(home) == []
