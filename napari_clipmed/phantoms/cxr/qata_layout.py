"""Simulated films in the folder layout of QaTa-COV19, which trainers of this field read.

``{Train,Val,Test}/{Images,GTs}/*.png`` and ``prompt/{train,val,test}.csv`` with the columns ``Image`` (file
of the mask) and ``Description``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from napari_clipmed.errors import ClipmedError
from napari_clipmed.phantoms.cxr.film import Film


def write_pictures(film: Film, folder: Path, split: str, name: str) -> Path:
    """Write a film and the mask of what its sentence names; the path of the film.

    Raises
    ------
    ClipmedError
        When the folder cannot be written.
    """
    image = folder / split.capitalize() / "Images" / f"{name}.png"
    mask = folder / split.capitalize() / "GTs" / f"mask_{name}.png"
    try:
        for path, pixels in ((image, film.image >> 4), (mask, film.mask * np.uint8(255))):
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return image


def write_table(folder: Path, split: str, sentences: Iterable[tuple[str, str]]) -> None:
    """Write the sentences of a split, as (name, sentence); last, so that the table tells a whole set."""
    path = folder / "prompt" / f"{split.lower()}.csv"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as handle:
            rows = csv.writer(handle)
            rows.writerow(("Image", "Description"))
            rows.writerows((f"mask_{name}.png", sentence) for name, sentence in sentences)
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(folder: Path, error: OSError) -> ClipmedError:
    return ClipmedError(
        f"{folder} cannot be written ({error.strerror}).", "Choose another folder with --out."
    )
