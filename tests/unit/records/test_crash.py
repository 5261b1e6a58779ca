"""A killed program loses nothing that it was told is safe."""

from __future__ import annotations

import random
import sqlite3
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path

from napari_clipmed.records import Store
from napari_clipmed.study import Study

KILLS = 25

WRITER = """
import sys
import numpy as np
from napari_clipmed.records import Store
store, case, rng = Store.open(sys.argv[1]), sys.argv[2], np.random.default_rng(int(sys.argv[3]))
print("ready", flush=True)
while True:
    label = store.add_label(case, "MMD", "accepted", author="writer")
    print(label.uid, flush=True)
    mask = store.add_mask(case, 0, int(rng.integers(4)), rng.random((64, 64)) > 0.5)
    print(mask.uid, flush=True)
"""


def test_kill_minus_nine_loses_no_committed_revision(tmp_path: Path, study: Study) -> None:
    """Each acknowledged revision is there and each file whole after 25 kills at random moments."""
    place = tmp_path / "w"
    with Store.open(place) as store:
        case = store.case_for(study)
    rng = random.Random(0)
    acknowledged: list[str] = []
    for round_number in range(KILLS):
        command = [sys.executable, "-c", WRITER, str(place), case, str(round_number)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert writer.stdout.readline() == "ready\n"
        time.sleep(rng.uniform(0.0, 0.08))
        writer.kill()
        lines, _ = writer.communicate()
        acknowledged += [line for line in lines.split("\n")[:-1] if line]
    database = sqlite3.connect(place / "store.sqlite")
    assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    database.close()
    with Store.open(place) as store:
        revisions = store.revisions(case)
        assert acknowledged
        assert set(acknowledged) <= {revision.uid for revision in revisions}
        for revision in revisions:
            if revision.mask_sha256:
                assert store.read_mask(revision).shape == (64, 64)
        for path in (p for p in store.workspace.masks.rglob("*") if p.is_file()):
            assert path.name == f"{sha256(path.read_bytes()).hexdigest()}.png"
