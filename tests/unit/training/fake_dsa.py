"""A folder of labelled angiograms in which the class is a dark square at a place of its own."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

LABELS = ("Control", "MMD", "IA", "AM", "AS")


def write_fake_dsa(folder: Path, n: int = 30, size: int = 64, frames: int = 10, seed: int = 0) -> Path:
    """Two studies a patient, of the same split; every class in every split."""
    rng = np.random.default_rng(seed)
    (folder / "studies").mkdir(parents=True)
    with (folder / "studies.jsonl").open("w") as lines:
        for number in range(n):
            label = number % len(LABELS)
            split = ("train", "val", "test")[min(2, (number // 10) % 3)]
            arrays: dict[str, np.ndarray] = {}
            for view in ("AP", "LA"):
                run = rng.normal(200, 10, (frames, size, size)).clip(0, 255)
                lesion = np.zeros((size, size), np.uint8)
                visible = np.zeros(frames, bool)
                if label:
                    row, column = divmod(label - 1, 2)
                    lesion[8 + 28 * row : 24 + 28 * row, 8 + 28 * column : 24 + 28 * column] = 1
                    visible[3:7] = True
                    run[3:7] -= 150 * lesion
                arrays |= {
                    view: run.clip(0, 255).astype(np.uint8),
                    f"lesion_{view}": lesion,
                    f"visible_{view}": visible,
                }
            np.savez(folder / "studies" / f"{number:04d}.npz", **arrays)
            row_of_index = {
                "id": f"{number:04d}", "patient": f"P{number // 2}", "split": split, "label": LABELS[label],
                "file": f"studies/{number:04d}.npz", "severity": {"size": number}, "synthetic": True,
            }  # fmt: skip
            lines.write(json.dumps(row_of_index) + "\n")
    return folder
