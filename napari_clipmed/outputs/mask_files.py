"""Masks as PNG pictures and as NIfTI volumes."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from napari_clipmed.errors import ClipmedError
from napari_clipmed.export.look import names_of
from napari_clipmed.export.stamp import RESEARCH_USE, SIMULATED
from napari_clipmed.outputs.annotations import UNNAMED, check_case, held_masks, no_masks, segments_of
from napari_clipmed.progress import Progress
from napari_clipmed.records import Case, Revision, Store
from napari_clipmed.study import PixelSpacing, Study
from napari_clipmed.whole_files import refuse_existing, whole_file

LIST = "masks.json"
SHORT = 12
"""Digits of a case's id in names of files; the whole id stands inside them."""


LONGEST_SLUG = 40


def view_names(case: Case) -> list[str]:
    """Names of the views of a case for files, as `export.look` gives them to those of its study."""
    return names_of(view.projection for view in case.views)


def about(synthetic: bool) -> str:
    """What every file says of itself."""
    return f"{SIMULATED + '. ' if synthetic else ''}{RESEARCH_USE}"


def write_mask_pictures(
    store: Store,
    cases: Iterable[str],
    folder: Path,
    *,
    replace: bool = False,
    progress: Progress | None = None,
    written: list[Path] | None = None,
) -> list[Path]:
    """Write every mask that holds as PNG, 0 and 255, and ``masks.json`` that says what each one is.

    Parameters
    ----------
    cases : iterable of str
        Ids; each gets a folder.
    folder : Path
        Made where absent.
    written : list of Path, optional
        Receives every file as soon as it is there.

    Raises
    ------
    ClipmedError
        When there are no masks, a file exists, or one does not read back.
    Cancelled
    """
    progress, written = progress or Progress(), [] if written is None else written
    refuse_existing(folder / LIST, replace)
    found = [(store.case(case), revision) for case in cases for revision in held_masks(store, case)]
    if not found:
        raise no_masks()
    rows = []
    for done, (case, revision) in enumerate(found):
        progress.step("Writing masks", done, len(found))
        path = folder / case.id[:SHORT] / _name(case, revision)
        mask = store.read_mask(revision)
        with whole_file(path, replace=replace) as unfinished:
            _write_picture(unfinished, mask, case.synthetic)
        written.append(path)
        rows.append({"file": path.relative_to(folder).as_posix(), **describe(case, revision, mask)})
    with whole_file(folder / LIST, replace=replace) as unfinished:
        unfinished.write_text(json.dumps({"use": RESEARCH_USE, "masks": rows}, indent=2) + "\n", "utf-8")
    written.append(folder / LIST)
    return written


def describe(case: Case, revision: Revision, mask: NDArray[np.bool_]) -> dict[str, Any]:
    """A mask as plain values, without its comment; `projected_over` holds the first and the last frame."""
    index = revision.view_index or 0
    return {
        "case": case.id,
        "synthetic": case.synthetic,
        "view": view_names(case)[index],
        "sop_instance_uid": case.views[index].sop_instance_uid,
        "frame_number": (revision.frame or 0) + 1,
        "projected_over": [frame + 1 for frame in revision.projected] if revision.projected else None,
        "name": revision.name or UNNAMED,
        "prompt": revision.prompt,
        "verdict": str(revision.verdict),
        "model_id": revision.model_id,
        "model_version": revision.model_version,
        "pixels": int(mask.sum()),
        "revision": revision.uid,
    }


def write_volumes(
    store: Store,
    case_id: str,
    folder: Path,
    study: Study | None = None,
    *,
    replace: bool = False,
    progress: Progress | None = None,
    written: list[Path] | None = None,
) -> list[Path]:
    """Write the masks of a case as NIfTI: one ``.nii.gz`` a view and name, on the grid of the whole run.

    Axes are (column, row, frame). Columns grow towards the left of the patient on a frontal picture, and rows
    downwards, so the affine is diag(-column_mm, -row_mm, 1): a projection has no other place in the patient.
    The third axis counts frames; it is no length.

    Parameters
    ----------
    study : Study, optional
        Whose millimetres are written; without it a pixel counts as 1, unit unknown.

    Raises
    ------
    ClipmedError
        When there are no masks, the study is another one, a file exists, or one does not read back.
    """
    progress, written = progress or Progress(), [] if written is None else written
    if study is not None:
        check_case(store, case_id, study)
    case = store.case(case_id)
    names = view_names(case)
    made = False
    for index, view in enumerate(case.views):
        spacing = study.views[index].spacing if study is not None else PixelSpacing()
        for segment in segments_of(store, case_id, index, (view.rows, view.columns)):
            progress.step(f"Writing {names[index]} {segment.name}")
            volume = np.zeros((view.columns, view.rows, view.n_frames), np.uint8)
            for frame, mask in zip(segment.frames, segment.masks, strict=True):
                volume[..., frame] = mask.T
            path = folder / f"{case.id[:SHORT]}-{names[index]}-{slug(segment.name)}.nii.gz"
            with whole_file(path, replace=replace) as unfinished:
                _write_volume(unfinished, volume, spacing, case.synthetic)
            written.append(path)
            made = True
    if not made:
        raise no_masks()
    return written


def slug(words: str) -> str:
    """Words as part of a file's name."""
    cleaned = re.sub(r"[^\w.-]+", "_", words).strip("._")[:LONGEST_SLUG]
    if cleaned == words.replace(" ", "_") and "_" not in words:
        return cleaned
    return f"{cleaned}-{sha256(words.encode()).hexdigest()[:6]}"  # two names must not share a file


def _name(case: Case, revision: Revision) -> str:
    view = view_names(case)[revision.view_index or 0]
    return f"{view}-{(revision.frame or 0) + 1:04d}-{slug(revision.name or UNNAMED)}.png"


def _write_picture(path: Path, mask: NDArray[np.bool_], synthetic: bool) -> None:
    words = PngInfo()
    words.add_text("Comment", about(synthetic))
    Image.fromarray(mask.astype(np.uint8) * 255).save(path, pnginfo=words)
    with Image.open(path) as image:
        same = np.array_equal(np.asarray(image) > 127, mask)
    if not same:
        raise unlike(path)


def _write_volume(path: Path, volume: NDArray[np.uint8], spacing: PixelSpacing, synthetic: bool) -> None:
    affine = np.diag([-spacing.column_mm, -spacing.row_mm, 1.0, 1.0])
    image = nibabel.Nifti1Image(volume, affine)
    image.header.set_zooms((spacing.column_mm, spacing.row_mm, 1.0))
    image.header.set_xyzt_units("mm" if spacing.known else "unknown")
    image.header["descrip"] = about(synthetic).encode()
    image.header["intent_name"] = b"mask"
    path.write_bytes(gzip.compress(image.to_bytes(), mtime=0))
    read = nibabel.Nifti1Image.from_bytes(gzip.decompress(path.read_bytes()))
    same = np.array_equal(np.asanyarray(read.dataobj), volume)
    if not same or not np.allclose(read.header.get_zooms(), (spacing.column_mm, spacing.row_mm, 1.0)):
        raise unlike(path)


def unlike(path: Path) -> ClipmedError:
    """The error for a file that does not hold what was written to it."""
    return ClipmedError(
        f"What was written to {path.parent} does not read back; it was not kept.", "Check the disk."
    )
