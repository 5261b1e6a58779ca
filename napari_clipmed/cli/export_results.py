"""``napari-clipmed export seg|sr|capture|masks|nifti|coco|table``: what a workspace knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_clipmed.cli._app import console
from napari_clipmed.cli._common import (
    AsJson,
    Device,
    Force,
    ModelId,
    Precision,
    model_of,
    progress_line,
    registry_of,
    writing_to,
)
from napari_clipmed.cli.export import OutFolder, export, tell_written
from napari_clipmed.cli.history import WorkspaceOption, find_case
from napari_clipmed.errors import ClipmedError

if TYPE_CHECKING:
    from napari_clipmed.outputs.products import Checked
    from napari_clipmed.progress import Progress
    from napari_clipmed.records import Store
    from napari_clipmed.study import Study

Studies = Annotated[
    list[Path], typer.Argument(help="A study: its file, the two planes of a run, or a folder of studies.")
]
Cases = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[CASE|STUDY]…",
        help="Ids of cases (or their beginnings), or studies; all where none is given.",
    ),
]
WithIdentity = Annotated[
    bool,
    typer.Option(
        "--with-identity",
        help="Repeat the patient and study attributes of the source, for the archive that holds it.",
    ),
]
NAMES_PATIENT = "The files name the patient."
NAMES_NOBODY = "The files name no patient; they refer to their source by its UIDs."


@export.command("seg")
def export_seg(
    studies: Studies,
    workspace: WorkspaceOption,
    out: OutFolder,
    with_identity: WithIdentity = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write the masks of a study as DICOM Segmentation, frame by frame; a file for each plane."""
    _export_objects("seg", studies, workspace, out, with_identity, force, as_json)


@export.command("sr")
def export_sr(
    studies: Studies,
    workspace: WorkspaceOption,
    out: OutFolder,
    with_identity: WithIdentity = False,
    organization: Annotated[str, typer.Option(help="For whom the readers verify; DICOM asks for it.")] = "",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write what model and readers said of a study as DICOM reports (TID 1500), each naming the last."""
    _export_objects("sr", studies, workspace, out, with_identity, force, as_json, organization=organization)


@export.command("capture")
def export_capture(
    studies: Studies,
    workspace: WorkspaceOption,
    out: OutFolder,
    saliency: Annotated[
        bool, typer.Option("--saliency", help="Ask the model and show where it looked, instead of masks.")
    ] = False,
    label: Annotated[str, typer.Option(help="Class that is explained; default: the most probable one.")] = "",
    method: Annotated[str, typer.Option(help="CAM method; see `classify --help`.")] = "",
    model: ModelId = "",
    device: Device = "auto",
    precision: Precision = "auto",
    with_identity: WithIdentity = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write frames with masks or AI saliency as DICOM Secondary Capture, marked in the picture."""
    if not saliency:
        _export_objects("capture", studies, workspace, out, with_identity, force, as_json)
        return
    from napari_clipmed.inference.engine import Engine
    from napari_clipmed.outputs.products import write_objects

    entry = model_of(registry_of(workspace), "diagnosis", model)
    engine = Engine(entry, None, device=device, precision=precision)
    written: list[Path] = []
    with progress_line("Reading") as progress, writing_to(out):
        for study in _opened(studies, progress):
            objects = _saliency(engine, study, label, method, with_identity, progress)
            written += write_objects(objects, out, replace=force, progress=progress)
    _tell(written, as_json, [NAMES_PATIENT if with_identity else NAMES_NOBODY])


@export.command("masks")
def export_masks(
    workspace: WorkspaceOption,
    out: OutFolder,
    cases: Cases = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write masks as PNG, 0 and 255, with a list of what each one is."""
    _export_files("masks", workspace, out, cases, force, as_json)


@export.command("nifti")
def export_nifti(
    workspace: WorkspaceOption,
    out: OutFolder,
    cases: Cases = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write masks as NIfTI (column, row, frame); millimetres where the study itself is given."""
    from napari_clipmed.outputs.products import Result, with_masks, write_files

    written: list[Path] = []
    with _reading(workspace, out) as (store, progress):
        for words in cases or with_masks(store):
            study = _study_of(words, progress)
            case = find_case(store, words) if study is None else _case_of(store, study)
            written += write_files(
                Result.NIFTI, store, [case], out, study=study, replace=force, progress=progress
            )
    if not written:
        raise ClipmedError("There are no masks to export.", "Save one first.")
    tell_written(written, as_json)


@export.command("coco")
def export_coco(
    workspace: WorkspaceOption,
    out: Annotated[Path, typer.Option(help="The .json file.")],
    cases: Cases = None,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write masks as one COCO file: run lengths, boxes and categories."""
    _export_files("coco", workspace, out, cases, force, as_json)


@export.command("table")
def export_table(
    workspace: WorkspaceOption,
    out: Annotated[Path, typer.Option(help="A .csv or .jsonl file.")],
    history: Annotated[
        bool, typer.Option("--history", help="Every revision, not only what holds now.")
    ] = False,
    with_identity: Annotated[
        bool, typer.Option("--with-identity", help="Readers' comments too, which may name a patient.")
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write all labels and masks of a workspace as one table."""
    _export_files("table", workspace, out, [], force, as_json, history=history, with_identity=with_identity)


def _export_objects(
    result: str,
    studies: Sequence[Path],
    workspace: Path,
    out: Path,
    with_identity: bool,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """DICOM objects of one study, or of all in a folder that have something to say."""
    from napari_clipmed.outputs.products import Result, objects_of, write_objects

    written: list[Path] = []
    refusals: list[ClipmedError] = []
    disputed = 0
    with _reading(workspace, out) as (store, progress):
        for study in _opened(studies, progress):
            try:
                case = _case_of(store, study)
                disputed += len(store.conflicts(case))
                objects = objects_of(
                    Result(result), store, case, study, with_identity=with_identity, **options
                )
            except ClipmedError as refusal:
                refusals.append(refusal)
                continue
            written += write_objects(objects, out, replace=force, progress=progress)
    if not written:
        raise refusals[0]
    told = [NAMES_PATIENT if with_identity else NAMES_NOBODY]
    if refusals:
        told.append(f"{len(refusals)} of the studies have nothing to export.")
    if disputed:
        told.append(f"Readers disagree about {disputed} labels or masks; what holds was written.")
    _tell(written, as_json, told)


def _export_files(
    result: str,
    workspace: Path,
    out: Path,
    cases: Sequence[str] | None,
    force: bool,
    as_json: bool,
    **options: Any,
) -> None:
    from napari_clipmed.outputs.products import Result, with_masks, write_files

    with _reading(workspace, out) as (store, progress):
        chosen = [find_case(store, words) for words in cases or ()] or with_masks(store)
        written = write_files(Result(result), store, chosen, out, replace=force, progress=progress, **options)
    tell_written(written, as_json)


def _tell(written: list[Path], as_json: bool, notes: list[str]) -> None:
    tell_written(written, as_json, notes)
    if not as_json:
        console.print(" ".join(notes), highlight=False)


@contextmanager
def _reading(workspace: Path, out: Path) -> Iterator[tuple[Store, Progress]]:
    from napari_clipmed.records import Store

    with (
        Store.open(workspace, read_only=True) as store,
        progress_line("Reading") as progress,
        writing_to(out),
    ):
        yield store, progress


def _opened(paths: Sequence[Path], progress: Progress) -> Iterator[Study]:
    """One study of several files, or each of a folder."""
    from napari_clipmed.io import holds_several, list_studies, open_entry, open_study

    if len(paths) == 1 and holds_several(paths[0]):
        for entry in list_studies(paths[0]):
            yield open_entry(entry, progress)
    else:
        yield open_study(paths[0] if len(paths) == 1 else list(paths), progress)


def _study_of(words: str, progress: Progress) -> Study | None:
    if not Path(words).exists():
        return None
    return next(_opened([Path(words)], progress))


def _case_of(store: Store, study: Study) -> str:
    case = store.find_case(study)
    if case is None:
        raise ClipmedError("The workspace knows nothing of this study.", "Save a label or mask first.")
    return case


def _saliency(
    engine: Any, study: Study, label: str, method: str, with_identity: bool, progress: Progress
) -> list[Checked]:
    """Ask the model, and show where it looked."""
    from datetime import UTC, datetime

    from napari_clipmed.inference.explain import DEFAULT_METHOD
    from napari_clipmed.outputs.capture import saliency_captures
    from napari_clipmed.outputs.products import captured

    diagnosis = engine.classify(study, progress)
    label = label or diagnosis.predicted
    if label not in diagnosis.labels:
        raise ClipmedError(f"There is no class {label!r}.", f"Classes: {', '.join(diagnosis.labels)}.")
    answer = engine.explain(diagnosis, label, method or DEFAULT_METHOD, progress)
    captures = saliency_captures(study, diagnosis, answer, datetime.now(UTC), with_identity=with_identity)
    return captured(captures, f"{study.image_hash[:12]}-saliency")
