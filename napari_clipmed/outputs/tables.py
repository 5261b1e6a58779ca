"""All labels and masks of a workspace as one table: CSV for people, JSON lines for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from napari_clipmed.errors import ClipmedError
from napari_clipmed.export.stamp import RESEARCH_USE
from napari_clipmed.outputs.mask_files import unlike, view_names
from napari_clipmed.progress import Progress
from napari_clipmed.records import Case, Revision, RevisionKind, Store
from napari_clipmed.whole_files import whole_file

FORMATS = (".csv", ".jsonl")
Row = dict[str, Any]
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""A cell that begins like this is a formula to a spreadsheet; a quote before it makes it words."""


def write_table(
    store: Store,
    path: Path,
    *,
    history: bool = False,
    with_identity: bool = False,
    replace: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Write a row for each label and mask.

    Parameters
    ----------
    path : Path
        ``.csv`` or ``.jsonl``.
    history : bool
        Every revision that was ever made; else what holds now.
    with_identity : bool
        Readers' comments too: they are free words and may name a patient.

    Raises
    ------
    ClipmedError
        For another suffix, an empty workspace, a file that exists or does not read back.
    """
    if path.suffix not in FORMATS:
        raise ClipmedError(
            f"A table cannot be written as {path.suffix!r}.", f"Choose {' or '.join(FORMATS)}."
        )
    rows = rows_of(store, history=history, with_identity=with_identity, progress=progress)
    if not rows:
        raise ClipmedError("The workspace holds no label and no mask.", "Save one first.")
    write = _csv if path.suffix == ".csv" else _lines
    with whole_file(path, replace=replace) as unfinished:
        unfinished.write_text(write(rows), encoding="utf-8", newline="")
        with unfinished.open(encoding="utf-8", newline="") as file:
            read = (
                list(csv.DictReader(file)) if path.suffix == ".csv" else [json.loads(line) for line in file]
            )
        if read != ([_cells(row) for row in rows] if path.suffix == ".csv" else rows):
            raise unlike(path)
    return path


def rows_of(
    store: Store, *, history: bool = False, with_identity: bool = False, progress: Progress | None = None
) -> list[Row]:
    """The rows of `write_table` as plain values, in order of case and revision."""
    progress = progress or Progress()
    cases = {case.id: case for case in store.cases()}
    holding = [*store.current_labels().values(), *store.all_current_masks()]
    held = {revision.id for revision in holding}
    told = (RevisionKind.LABEL, RevisionKind.MASK)
    wanted = [r for r in store.revisions() if r.kind in told] if history else holding
    order = {case: place for place, case in enumerate(cases)}
    rows = []
    for done, revision in enumerate(sorted(wanted, key=lambda r: (order[r.case_id], r.id))):
        progress.step("Gathering labels and masks", done, len(wanted))
        rows.append(_row(store, cases[revision.case_id], revision, revision.id in held, with_identity))
    return rows


def _row(store: Store, case: Case, revision: Revision, holds: bool, with_identity: bool) -> Row:
    index, frame = revision.view_index, revision.frame
    row: Row = {
        "case": case.id,
        "kind": case.kind,
        "synthetic": case.synthetic,
        "patient_group": case.patient_key[:16],
        "says": revision.kind.value,
        "holds": holds,
        "label": revision.label,
        "name": revision.name or None,
        "view": None if index is None else view_names(case)[index],
        "sop_instance_uid": revision.sop_instance_uid or None,
        "frame_number": None if frame is None else frame + 1,
        "pixels": int(store.read_mask(revision).sum()) if revision.mask_sha256 else None,
        "mask_sha256": revision.mask_sha256,
        "verdict": None if revision.verdict is None else revision.verdict.value,
        "prompt": revision.prompt or None,
        "read_as": revision.model_prompt or None,
        "left_of": revision.convention or None,
        "threshold": revision.threshold,
        "model_id": revision.model_id or None,
        "model_version": revision.model_version or None,
        "model_label": revision.model_label,
        "model_score": revision.model_score,
        "reader": revision.author or None,
        "saved": revision.created_at.isoformat(),
        "software": revision.software,
        "image_hash": revision.image_hash,
        "revision": revision.uid,
    }
    if with_identity:
        row["comment"] = revision.comment or None
    return row | {"use": RESEARCH_USE}


def _cells(row: Row) -> dict[str, str]:
    """A row as a spreadsheet holds it."""
    words = {key: "" if value is None else str(value) for key, value in row.items()}
    return {
        key: f"'{text}" if isinstance(row[key], str) and text.startswith(FORMULA) else text
        for key, text in words.items()
    }


def _csv(rows: Sequence[Row]) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(_cells(row) for row in rows)
    return out.getvalue()


def _lines(rows: Sequence[Row]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
