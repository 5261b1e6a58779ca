"""Every result by one call, for the command line and the window alike: written, read back, all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from pydicom import Dataset

from napari_clipmed.io.quiet import quiet_pydicom
from napari_clipmed.outputs.annotations import views_with_masks
from napari_clipmed.outputs.capture import check_capture, mask_captures
from napari_clipmed.outputs.coco import write_coco
from napari_clipmed.outputs.mask_files import SHORT, write_mask_pictures, write_volumes
from napari_clipmed.outputs.report import NOT_STATED, check_report, reports_of
from napari_clipmed.outputs.segmentation import check_segmentation, segmentation_of
from napari_clipmed.outputs.statements import statements_of
from napari_clipmed.outputs.tables import write_table
from napari_clipmed.progress import Progress
from napari_clipmed.records import Store
from napari_clipmed.study import Study
from napari_clipmed.whole_files import all_or_none, whole_file


class Result(StrEnum):
    """What leaves a workspace."""

    SEG = "seg"
    SR = "sr"
    CAPTURE = "capture"
    MASKS = "masks"
    NIFTI = "nifti"
    COCO = "coco"
    TABLE = "table"

    @property
    def is_dicom(self) -> bool:
        """Whether it refers to a DICOM source and may repeat its patient."""
        return self in (Result.SEG, Result.SR, Result.CAPTURE)


@dataclass(frozen=True, eq=False)
class Checked:
    """A DICOM object, the name of its file, and how to see that it reads back."""

    name: str
    dataset: Dataset
    check: Callable[[bytes], None]


def objects_of(
    result: Result,
    store: Store,
    case: str,
    study: Study,
    *,
    with_identity: bool = False,
    organization: str = "",
    frames: Mapping[int, Sequence[int]] | None = None,
) -> list[Checked]:
    """The DICOM objects of a case, for files and for archives.

    Parameters
    ----------
    result : Result
        SEG, SR or CAPTURE (of masks).
    with_identity, organization, frames
        As for `segmentation.segmentations_of` and `report.reports_of`.

    Raises
    ------
    ClipmedError
        When there is nothing to say, or the source is no DICOM image.
    """
    short = case[:SHORT]
    if result is Result.SR:
        said: dict[str, Any] = {"organization": organization or NOT_STATED, "frames": frames}
        documents = reports_of(store, case, study, with_identity=with_identity, **said)
        statements = statements_of(store, case)
        return [
            Checked(
                f"{short}-{number}-{statement.verdict.value if statement.verdict else 'answer'}-sr.dcm",
                document,
                partial(check_report, statement=statement),
            )
            for number, (document, statement) in enumerate(zip(documents, statements, strict=True), start=1)
        ]
    if result is Result.CAPTURE:
        return captured(mask_captures(store, case, study, with_identity=with_identity), f"{short}-masks")
    return [
        Checked(
            f"{short}-{source.name}-seg.dcm",
            segmentation_of(segments, source, study),
            partial(check_segmentation, segments=segments, source=source),
        )
        for source, segments in views_with_masks(store, case, study, with_identity)
    ]


def captured(captures: Sequence[Dataset], name: str) -> list[Checked]:
    """Captures with names for their files."""
    return [
        Checked(f"{name}-{number}-sc.dcm", capture, partial(check_capture, wanted=capture))
        for number, capture in enumerate(captures, start=1)
    ]


@quiet_pydicom
def write_objects(
    objects: Iterable[Checked],
    folder: Path,
    *,
    replace: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Write DICOM objects; each is read back before it gets its name, and all are there or none."""
    progress = progress or Progress()
    with all_or_none() as written:
        for one in objects:
            progress.step(f"Writing {one.name}")
            path = folder / one.name
            with whole_file(path, replace=replace) as unfinished:
                one.dataset.save_as(unfinished, enforce_file_format=True)
                one.check(unfinished.read_bytes())
            written.append(path)
        return list(written)


def write_files(
    result: Result,
    store: Store,
    cases: Sequence[str],
    out: Path,
    *,
    study: Study | None = None,
    history: bool = False,
    with_identity: bool = False,
    replace: bool = False,
    progress: Progress | None = None,
) -> list[Path]:
    """Write masks or the table of a workspace; all files or none.

    Parameters
    ----------
    result : Result
        MASKS, NIFTI (folders), COCO or TABLE (files).
    cases : sequence of str
        Ids; of no account for the table, which is about the whole workspace.
    study : Study, optional
        Of the only case, for the millimetres of NIfTI.
    """
    common: dict[str, Any] = {"replace": replace, "progress": progress}
    with all_or_none() as written:
        if result is Result.MASKS:
            write_mask_pictures(store, cases, out, written=written, **common)
        elif result is Result.NIFTI:
            for case in cases:
                write_volumes(store, case, out, study, written=written, **common)
        elif result is Result.COCO:
            written.append(write_coco(store, cases, out, **common))
        else:
            table = write_table(store, out, history=history, with_identity=with_identity, **common)
            written.append(table)
        return list(written)


def with_masks(store: Store) -> list[str]:
    """The cases of a workspace that have masks."""
    return sorted({revision.case_id for revision in store.all_current_masks()})
