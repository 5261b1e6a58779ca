"""A killed program loses nothing that it was told is safe, and corrupts nothing."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

from napari_clipmed.records import Store
from napari_clipmed.records.backup import check_workspace
from napari_clipmed.records.drafts import Drafts
from napari_clipmed.study import Study

KILLS = 200

NURSERY = """
import os, random, signal, sys, time
from pathlib import Path
import numpy as np
from napari_clipmed.records import Store
from napari_clipmed.records.drafts import Draft, Drafts

place, case, journal, kills = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
moments = random.Random(0)
warm = Store.open(place)
warm._engine.dispose()  # no connection crosses a fork

def write(number, tell):
    rng = np.random.default_rng(number)
    # Every eighth opens the workspace itself, so that some are killed while they do.
    store, drafts = warm if number % 8 else Store.open(place), Drafts(journal)
    while True:
        label = store.add_label(case, "MMD", "accepted", author="writer")
        os.write(tell, f"{label.uid}\\n".encode())
        mask = store.add_mask(case, 0, int(rng.integers(4)), rng.random((12, 10)) > 0.5)
        os.write(tell, f"{mask.uid}\\n".encode())
        drafts.keep(Draft(case, 0, 1, (rng.random((12, 10)) > 0.5).astype(np.uint8)))

for number in range(kills):
    hear, tell = os.pipe()
    child = os.fork()
    if child == 0:
        write(number, tell)
    os.close(tell)
    heard = b""
    for _ in range(moments.randint(0, 3)):
        heard += os.read(hear, 33)
    time.sleep(moments.uniform(0.0, 0.03))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    while rest := os.read(hear, 4096):
        heard += rest
    os.close(hear)
    os.write(1, heard)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the writers are forked from one warm process")
def test_kill_minus_nine_loses_no_committed_revision(tmp_path: Path, study: Study) -> None:
    """Each acknowledged revision is there, each file whole, after 200 kills at random (seeded) moments."""
    place = tmp_path / "w"
    with Store.open(place) as store:
        case = store.case_for(study)
    command = [sys.executable, "-c", NURSERY, str(place), case, str(tmp_path / "drafts"), str(KILLS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    acknowledged = done.stdout.split()
    database = sqlite3.connect(place / "store.sqlite")
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()
    with Store.open(place) as store:
        revisions = store.revisions(case)
        assert len(acknowledged) > KILLS
        assert set(acknowledged) <= {revision.uid for revision in revisions}
        # At most the one that was committed while its acknowledgement was cut off, for each kill.
        assert len(revisions) - len(acknowledged) <= KILLS
        assert store.conflicts(case) == []
        last: dict[object, int] = {}
        for revision in revisions:
            assert revision.parent_id == last.get(revision.slot)
            last[revision.slot] = revision.id
        assert check_workspace(store).problems == ()
        for path in (p for p in store.workspace.masks.rglob("*") if p.is_file()):
            assert path.name == f"{sha256(path.read_bytes()).hexdigest()}.png"
    drafts = Drafts(tmp_path / "drafts")
    (draft,) = drafts.of(case)
    assert draft.labels.shape == (12, 10)
    for path in (tmp_path / "drafts").glob(f"*/{case}/*.npz"):
        assert path.stat().st_size > 0
    drafts.drop(case)
    assert drafts.cases() == []
