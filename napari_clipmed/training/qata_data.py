"""QaTa-COV19 with the sentences of LViT, in the folder layouts that public code expects.

=================  ======================================================================================
LanGuideMedSeg     ``{Train,Val,Test}/{Images,GTs}/*.png``, ``prompt/{train,val,test}.csv``
LViT               ``{Train,Val,Test}_Folder/{img,labelcol}/*.png``, ``…_Folder/…_text.xlsx``
=================  ======================================================================================

Both tables have the columns ``Image`` (file name of the mask) and ``Description``.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_clipmed.errors import UnreadableFileError

SPLITS = ("Train", "Val", "Test")


@dataclass(frozen=True)
class QaTaItem:
    """One radiograph with its lesion mask and the sentence that refers to it."""

    id: str
    image: Path
    mask: Path
    sentence: str
    patient: str


def load_split(root: Path, split: str, patients: Mapping[str, str] | None = None) -> list[QaTaItem]:
    """The items of a split, in the order of its table, each radiograph once.

    Parameters
    ----------
    root : Path
        The data set, or a folder somewhere above it.
    split : str
        "Train", "Val" or "Test", in any case.
    patients : mapping of str to str, optional
        Patient of each id (`read_patients`); otherwise patients are read off the file names.

    Raises
    ------
    UnreadableFileError
        When the folder has neither layout, lacks the split, or files of the table are missing.
    """
    name = split.capitalize()
    if name not in SPLITS:
        raise UnreadableFileError(
            f"QaTa-COV19 has no split {split!r}.", f"Choose one of {', '.join(SPLITS)}."
        )
    table, images, masks = _locate(Path(root), name)
    items: dict[str, QaTaItem] = {}
    missing: list[str] = []
    for mask_name, sentence in _read_table(table):
        identifier = Path(mask_name).stem.removeprefix("mask_")
        image, mask = images / mask_name.removeprefix("mask_"), masks / mask_name
        if not (image.is_file() and mask.is_file()):
            missing.append(mask_name)
            continue
        patient = (patients or {}).get(identifier) or patient_of(identifier)
        items[identifier] = QaTaItem(identifier, image, mask, sentence, patient)
    if missing:
        raise UnreadableFileError(
            f"{len(missing)} of the radiographs named in {table} are missing, {missing[0]} for one.",
            "Unpack the archive of the data set again.",
        )
    if not items:
        raise UnreadableFileError(f"{table} names no radiograph.")
    return list(items.values())


def patient_of(identifier: str) -> str:
    """The patient, as far as the file name tells (BIMCV: the subject number), else the id itself."""
    found = re.match(r"(?:cxr|sub)[_-]s(\d+)", identifier)
    return f"sub-s{found[1]}" if found else identifier


def read_patients(path: Path) -> dict[str, str]:
    """A table with the columns ``id`` and ``patient``.

    Raises
    ------
    UnreadableFileError
        When the file is missing or lacks these columns.
    """
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as handle:
            return {row["id"]: row["patient"] for row in csv.DictReader(handle)}
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise UnreadableFileError(
            f"{path} is no table of patients.", "It needs the columns id and patient."
        ) from error


def patients_of(root: Path, split: str, patients: Mapping[str, str] | None = None) -> frozenset[str]:
    """The patients of a split; none where the folder does not hold that split."""
    try:
        return frozenset(item.patient for item in load_split(root, split, patients))
    except UnreadableFileError:
        return frozenset()


def without_patients(items: Sequence[QaTaItem], other: Sequence[QaTaItem]) -> list[QaTaItem]:
    """The items whose patient does not appear in `other`."""
    taken = {item.patient for item in other}
    return [item for item in items if item.patient not in taken]


def _locate(root: Path, split: str) -> tuple[Path, Path, Path]:
    """Table, image folder and mask folder of a split."""
    for folder in _folders(root):
        if (folder / split / "Images").is_dir():
            return (
                _first(folder / "prompt", f"{split}.csv", f"{split}.xlsx"),
                folder / split / "Images",
                folder / split / "GTs",
            )
        lvit = folder / f"{split}_Folder"
        if (lvit / "img").is_dir():
            return _first(lvit, f"{split}_text.xlsx", f"{split}_text.csv"), lvit / "img", lvit / "labelcol"
    raise UnreadableFileError(
        f"{root} holds no {split} split of QaTa-COV19.",
        f"Expected {split}/Images, {split}/GTs and prompt/{split.lower()}.csv (LanGuideMedSeg), "
        f"or {split}_Folder/img, labelcol and {split}_text.xlsx (LViT).",
    )


def _folders(root: Path, depth: int = 3) -> Iterator[Path]:
    """The folder and those below it, to a small depth, nearest first."""
    level = [root]
    for _ in range(depth + 1):
        yield from level
        level = [child for folder in level if folder.is_dir() for child in sorted(folder.iterdir())]
        level = [child for child in level if child.is_dir()]


def _first(folder: Path, *names: str) -> Path:
    """The first of some files that exists, whatever the case of its letters."""
    present = {path.name.lower(): path for path in folder.iterdir()} if folder.is_dir() else {}
    for name in names:
        if name.lower() in present:
            return present[name.lower()]
    raise UnreadableFileError(f"{folder} holds none of {', '.join(names)}.")


def _read_table(path: Path) -> Iterator[tuple[str, str]]:
    """(mask file name, sentence) of each row; duplicate rows included."""
    rows = _xlsx_rows(path) if path.suffix == ".xlsx" else _csv_rows(path)
    header = [str(cell).strip() for cell in next(rows, [])]
    if "Image" not in header or "Description" not in header:
        raise UnreadableFileError(f"{path} lacks the columns Image and Description.")
    image, description = header.index("Image"), header.index("Description")
    for row in rows:
        if len(row) > max(image, description) and row[image]:
            yield str(row[image]).strip(), str(row[description] or "").strip()


def _csv_rows(path: Path) -> Iterator[list[object]]:
    with path.open(newline="", encoding="utf-8-sig") as handle:
        yield from csv.reader(handle)


def _xlsx_rows(path: Path) -> Iterator[list[object]]:
    from openpyxl import load_workbook

    book = load_workbook(path, read_only=True, data_only=True)
    try:
        for row in book.worksheets[0].iter_rows(values_only=True):
            yield list(row)
    finally:
        book.close()
