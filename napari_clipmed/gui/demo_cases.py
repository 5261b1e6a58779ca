"""Simulated studies as if a reader had labelled them: something for the demo's model to learn from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from napari_clipmed.progress import Progress

if TYPE_CHECKING:
    from napari_clipmed.records import Store

SEED = 4711
SIZE = 256
AUTHOR = "demo (simulated reader)"


def label_simulated_studies(store: Store, folder: Path, n: int, progress: Progress) -> int:
    """Simulate `n` studies as DICOM, read them back, and keep each with its true label.

    Returns
    -------
    int
        How many were kept.
    """
    from napari_clipmed.io import open_study
    from napari_clipmed.phantoms import write_dsa_phantoms
    from napari_clipmed.training.snapshots import save_diagnosis_inputs

    progress.step("Simulating studies", 0, n)
    write_dsa_phantoms(n, SEED, folder, "dicom", progress, size=SIZE, preset="shifted")
    rows = [json.loads(line) for line in (folder / "studies.jsonl").read_text(encoding="utf-8").splitlines()]
    for done, row in enumerate(rows):
        progress.step("Labelling studies", done, len(rows))
        study = open_study(folder / row["file"])
        case = store.case_for(study)
        save_diagnosis_inputs(store, case, study)
        store.add_label(case, row["label"], "corrected", author=AUTHOR, comment="truth of the simulator")
    return len(rows)
