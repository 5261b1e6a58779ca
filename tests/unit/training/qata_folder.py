"""A data set in QaTa's layouts, drawn on the spot: one bright blob a picture, in the zone that is named."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

ROWS = {"upper": 12, "middle": 30, "lower": 48}
COLUMNS = {"left": 18, "right": 46}  # of the picture


def draw(zone: str, side: str, rng: np.random.Generator, size: int = 64) -> tuple[np.ndarray, np.ndarray]:
    """A noisy picture with a blob in every zone, and the mask of the named one."""
    y, x = np.mgrid[:size, :size]
    picture = rng.integers(20, 60, (size, size))
    for row in ROWS.values():
        for column in COLUMNS.values():
            picture[(y - row) ** 2 + (x - column) ** 2 < 36] += 120
    mask = (y - ROWS[zone]) ** 2 + (x - COLUMNS[side]) ** 2 < 36
    return picture.astype(np.uint8), mask


def make_qata(root: Path, counts: dict[str, int], layout: str = "LanGuideMedSeg", seed: int = 0) -> Path:
    """Write splits of `counts` pictures, two a patient; one patient of Train is in Val too."""
    rng = np.random.default_rng(seed)
    for split, count in counts.items():
        rows = []
        for index in range(count):
            zone, side = rng.choice(list(ROWS)), rng.choice(list(COLUMNS))
            subject = index // 2 if split == "Train" else 1000 * (index > 1) + index // 2
            stem = f"cxr_s{subject:05d}-e{split}{index}-r1"
            rows.append(
                (
                    f"mask_{stem}.png",
                    f"Unilateral pulmonary infection, one infected area, {zone} {side} lung.",
                )
            )
            _save(root, layout, split, stem, *draw(str(zone), str(side), rng))
        _table(root, layout, split, rows)
    return root


def _save(root: Path, layout: str, split: str, stem: str, picture: np.ndarray, mask: np.ndarray) -> None:
    images, masks = (
        (root / split / "Images", root / split / "GTs")
        if layout == "LanGuideMedSeg"
        else (root / f"{split}_Folder" / "img", root / f"{split}_Folder" / "labelcol")
    )
    for folder in (images, masks):
        folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(images / f"{stem}.png")
    Image.fromarray((mask * 255).astype(np.uint8)).save(masks / f"mask_{stem}.png")


def _table(root: Path, layout: str, split: str, rows: list[tuple[str, str]]) -> None:
    header = ("Image", "Description")
    if layout == "LanGuideMedSeg":
        (root / "prompt").mkdir(exist_ok=True)
        with (root / "prompt" / f"{split.lower()}.csv").open("w", newline="") as handle:
            csv.writer(handle).writerows([header, *rows])
        return
    from openpyxl import Workbook

    book = Workbook()
    for row in (header, *rows):
        book.active.append(row)
    book.save(root / f"{split}_Folder" / f"{split}_text.xlsx")
