"""Backups: whole, consistent while in use, checked; a damaged one restores nothing."""

from __future__ import annotations

import json
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest

from napari_clipmed.errors import WorkspaceError
from napari_clipmed.records import SplitRole, Store
from napari_clipmed.records.backup import back_up, check_workspace, restore_backup
from napari_clipmed.study import Study


def fill(store: Store, make_study) -> None:
    """Two cases with labels, masks, inputs, answers, a split, and a model on disk."""
    for seed in range(2):
        study = make_study(seed)
        case = store.case_for(study)
        store.add_label(case, "MMD", "accepted", "m", "Dr A", model_label="MMD", model_score=0.75)
        store.undo(store.add_label(case, "IA", "corrected", author="Dr B"))
        store.add_mask(case, 0, seed, study.views[0].pixels[seed] > 99, "nidus", name="nidus")
        store.save_inputs(case, {"AP": study.views[0].pixels})
        store.add_answer(case, "m", {"AP": {"MMD": 1.0}})
    store.freeze_roles("diagnosis", {"p": SplitRole.TRAIN})
    model = store.workspace.models / "m-1"
    model.mkdir()
    (model / "model.safetensors").write_bytes(b"weights" * 1000)
    (model / "epoch=3.json").write_text("{}")


def everything(store: Store) -> dict[str, object]:
    cases = store.cases()
    return {
        "cases": cases,
        "revisions": store.revisions(),
        "masks": [store.read_mask(r).tolist() for r in store.all_current_masks()],
        "inputs": {case.id: {n: a.tolist() for n, a in store.inputs(case.id).items()} for case in cases},
        "answers": store.newest_answers(),
        "roles": store.split_roles("diagnosis"),
        "files": {
            p.relative_to(store.workspace.root).as_posix(): p.read_bytes()
            for p in store.workspace.root.rglob("*")
            if p.is_file() and p.parent.parent.name in ("masks", "inputs", "models")
        },
    }


def test_a_backup_brings_back_everything(either_store: Store, make_study, tmp_path: Path) -> None:
    fill(either_store, make_study)
    before = everything(either_store)
    size = back_up(either_store, tmp_path / "b.zip")
    assert size == (tmp_path / "b.zip").stat().st_size
    place = restore_backup(tmp_path / "b.zip", tmp_path / "again")
    with Store.open(place.root) as store:
        assert everything(store) == before
        assert check_workspace(store).problems == ()
        later = store.add_label(store.cases()[0].id, "AS", "corrected")
        assert later.id > max(r.id for r in before["revisions"])
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_backup_moves_to_a_server_and_goes_on_there(
    store: Store, make_study, tmp_path: Path, database: str
) -> None:
    fill(store, make_study)
    before = everything(store)
    back_up(store, tmp_path / "b.zip")
    place = restore_backup(tmp_path / "b.zip", tmp_path / "shared", database=database)
    assert not place.database.exists() and place.database_url.startswith("postgresql://")
    with Store.open(place.root) as moved:
        assert everything(moved) == before
        later = moved.add_label(moved.cases()[0].id, "AS", "corrected")
        assert later.id > max(r.id for r in before["revisions"])
    with pytest.raises(WorkspaceError, match="belongs to another"):
        restore_backup(tmp_path / "b.zip", tmp_path / "twice", database=database)
    assert not (tmp_path / "twice").exists()


def test_it_is_consistent_while_others_write(store: Store, study: Study, tmp_path: Path) -> None:
    case = store.case_for(study)
    stop, rng = threading.Event(), np.random.default_rng(0)

    def write() -> None:
        while not stop.is_set():
            store.add_mask(case, 0, 0, rng.random((12, 10)) > 0.5)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(4):
            back_up(store, tmp_path / f"{number}.zip")
    finally:
        stop.set()
        writer.join()
    for number in range(4):
        with Store.open(restore_backup(tmp_path / f"{number}.zip", tmp_path / f"r{number}").root) as again:
            assert check_workspace(again).problems == ()
            found = again.revisions(case)
            assert found == store.revisions(case)[: len(found)]


def test_nothing_is_overwritten(store: Store, tmp_path: Path) -> None:
    back_up(store, tmp_path / "b.zip")
    before = (tmp_path / "b.zip").read_bytes()
    with pytest.raises(WorkspaceError, match="already a file"):
        back_up(store, tmp_path / "b.zip")
    assert (tmp_path / "b.zip").read_bytes() == before
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").write_text("mine")
    with pytest.raises(WorkspaceError, match="not an empty folder"):
        restore_backup(tmp_path / "b.zip", tmp_path / "full")
    with pytest.raises(WorkspaceError, match="could not be written"):
        back_up(store, tmp_path / "no such folder" / "b.zip")
    with pytest.raises(WorkspaceError, match="There is no file"):
        restore_backup(tmp_path / "none.zip", tmp_path / "r")


def test_a_workspace_that_lacks_a_file_says_so(store: Store, make_study, tmp_path: Path) -> None:
    fill(store, make_study)
    masks = sorted(store.workspace.masks.rglob("*.png"))
    masks[0].unlink()
    masks[1].write_bytes(b"other")
    (store.workspace.masks / "00").mkdir(exist_ok=True)
    (store.workspace.masks / "00" / "left over.png").write_bytes(b"x")
    found = check_workspace(store)
    assert len(found.problems) == 2 and found.unused == 1
    with pytest.raises(WorkspaceError, match="lacks 1 files"):
        back_up(store, tmp_path / "b.zip")
    assert not list(tmp_path.glob("*b.zip*"))


def rewrite(path: Path, change) -> None:
    """Write a zip anew with other members; `change` gets name to bytes."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    path.unlink()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def cut(members: dict[str, bytes]) -> None:
    members["store.sqlite"] = members["store.sqlite"][:-100]


def swap(members: dict[str, bytes]) -> None:
    name = next(name for name in members if name.startswith("masks/"))
    members[name] = members[name][:-1] + b"?"


def lose(members: dict[str, bytes]) -> None:
    members.pop(next(name for name in members if name.startswith("masks/")))


def smuggle(members: dict[str, bytes]) -> None:
    members["extra.txt"] = b"x"


def climb(members: dict[str, bytes]) -> None:
    manifest = json.loads(members["manifest.json"])
    name = "masks/../../../evil.txt"
    members[name] = b"x"
    digest = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"
    manifest["members"][name] = {"sha256": digest, "size": 1}
    members["manifest.json"] = json.dumps(manifest).encode()


def grow(members: dict[str, bytes]) -> None:
    manifest = json.loads(members["manifest.json"])
    name = next(name for name in manifest["members"] if name.startswith("masks/"))
    manifest["members"][name]["size"] = 3
    members["manifest.json"] = json.dumps(manifest).encode()


def garble(members: dict[str, bytes]) -> None:
    members["manifest.json"] = b"[1, 2"


@pytest.mark.parametrize("change", [cut, swap, lose, smuggle, climb, grow, garble])
def test_a_damaged_backup_restores_nothing(store: Store, make_study, tmp_path: Path, change) -> None:
    fill(store, make_study)
    back_up(store, tmp_path / "b.zip")
    rewrite(tmp_path / "b.zip", change)
    with pytest.raises(WorkspaceError, match="damaged"):
        restore_backup(tmp_path / "b.zip", tmp_path / "r")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.zip", "workspace"]


def test_a_backup_cut_short_or_flipped_restores_nothing(store: Store, make_study, tmp_path: Path) -> None:
    fill(store, make_study)
    back_up(store, tmp_path / "b.zip")
    whole = (tmp_path / "b.zip").read_bytes()
    rng = np.random.default_rng(0)
    for number in range(12):
        damaged = bytearray(whole)
        if number % 2:
            del damaged[int(rng.integers(10, len(whole) - 10)) :]
        else:
            damaged[int(rng.integers(60, len(whole) // 2))] ^= 0xFF
        (tmp_path / "d.zip").write_bytes(damaged)
        with pytest.raises(WorkspaceError):
            restore_backup(tmp_path / "d.zip", tmp_path / "r")
        assert not (tmp_path / "r").exists()
