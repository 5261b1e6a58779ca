"""Files in, studies out: `open_study` opens a file, a folder, a medium, or files that a person chose.

What a folder holds is listed in `listing`; here its entries become studies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.errors import Cancelled, UnreadableFileError
from napari_clipmed.io.arriving import FIRST_LOOK_S, Arriving, first_tasks, provisional_view
from napari_clipmed.io.beginnings import on_one_clock
from napari_clipmed.io.dicom_headers import is_dicom, read_dicom
from napari_clipmed.io.dicom_values import identity_of, text
from napari_clipmed.io.dicom_view import kind_of, view_from
from napari_clipmed.io.grey import robust_window
from napari_clipmed.io.images import is_picture, read_picture
from napari_clipmed.io.listing import StudyEntry, entries_of, holds_several, list_studies
from napari_clipmed.io.quiet import quiet_pydicom
from napari_clipmed.io.run_decoder import RunDecoder, decode_runs, one_by_one
from napari_clipmed.io.timing import frame_index
from napari_clipmed.progress import Progress
from napari_clipmed.study import (
    FrameTiming,
    Guess,
    Kind,
    PixelSpacing,
    Projection,
    Source,
    Study,
    Topic,
    View,
)

READING = "Reading frame"

Show = Callable[[Arriving], None]
"""Receives a study of which the first picture can be shown, on the thread that reads it."""


@quiet_pydicom
def open_study(
    path: str | Path | Sequence[str | Path], progress: Progress | None = None, show: Show | None = None
) -> Study:
    """Open a file, a folder, or the files of one examination.

    Parameters
    ----------
    path : str, Path or sequence of them
        A DICOM, PNG, JPEG or TIFF file; a folder, zip archive or DICOMDIR, of which the first entry of
        `list_studies` that can be shown is opened and the others are named in a warning; or a list of files
        that belong together.
    progress : Progress, optional
        Told about every frame; may cancel.
    show : callable, optional
        Receives the study as soon as its first picture can be shown, where the rest takes its time; see
        `Arriving`. It may be called again with the next study, when one of several turns out to be broken.

    Returns
    -------
    Study
        With every guess and every fault on record.

    Raises
    ------
    UnreadableFileError
        When nothing of it can be shown, or the files of a list belong to different patients.
    """
    progress = progress or Progress()
    if isinstance(path, str | Path):
        path = Path(path)
        if not path.exists():
            raise UnreadableFileError(
                f"There is no file or folder {path}.", "Check the spelling of the path."
            )
        if holds_several(path):
            return _open_first(list_studies(path, progress), path, progress, show)
        return open_entry(_single_entry(path), progress, show)
    return _open_list([Path(part) for part in path], progress, show)


@quiet_pydicom
def open_entry(entry: StudyEntry, progress: Progress | None = None, show: Show | None = None) -> Study:
    """Open one entry of `list_studies`; the other parameters are those of `open_study`."""
    progress = progress or Progress()
    dicom = is_dicom(entry.paths[0])
    study = _open_dicom(entry, progress, show) if dicom else _open_pictures(entry, progress)
    return replace(study, warnings=(*entry.notes, *study.warnings))


def first_picture(path: str | Path | Sequence[str | Path]) -> NDArray[np.generic]:
    """The first picture of a study, (H, W), as it is shown first; the rest is not read."""
    progress = Progress()
    pictures: list[NDArray[np.generic]] = []

    def show(arriving: Arriving) -> None:
        pictures.append(arriving.study.views[0].pixels[0])
        progress.cancel()

    try:
        picture: NDArray[np.generic] = open_study(path, progress, show).views[0].pixels[0]
        return picture  # few frames, or a small uncompressed run: everything was there at once
    except Cancelled:
        return pictures[0]


# -- lists and folders -------------------------------------------------------------------------------------


def _open_list(paths: list[Path], progress: Progress, show: Show | None) -> Study:
    """Files that a person chose together."""
    missing = [path.name for path in paths if not path.is_file()]
    if not paths or missing:
        raise UnreadableFileError(
            f"Not a file: {', '.join(missing)}." if missing else "No file was chosen.",
            "Choose one or two files.",
        )
    if len(paths) == 1:
        return open_study(paths[0], progress, show)
    entries = entries_of(paths, progress)
    if len(entries) == 1:
        return open_entry(entries[0], progress, show)
    if not entries:
        raise UnreadableFileError(
            "None of the chosen files is an image.", "Choose DICOM, PNG, JPEG or TIFF files."
        )
    patients = {entry.identity.key for entry in entries} - {""}
    if len(patients) > 1:
        raise UnreadableFileError(
            "The chosen files belong to different patients.", "Open them one after the other."
        )
    if len(entries) == 2 and all(len(entry.paths) == 1 for entry in entries):
        chosen = Guess(
            Topic.PAIRING, "chosen together", "no rule pairs the two files; they were opened together"
        )
        first, second = entries
        both = replace(first, paths=first.paths + second.paths, sops=first.sops + second.sops, pairing=chosen)
        return open_entry(both, progress, show)
    return _open_first(entries, paths[0].parent, progress, show)


def _open_first(entries: list[StudyEntry], folder: Path, progress: Progress, show: Show | None) -> Study:
    """The first entry that can be shown, with a warning that names the others."""
    notes: list[str] = []
    for index, entry in enumerate(entries):
        try:
            study = open_entry(entry, progress, show)
        except UnreadableFileError as error:
            notes.append(error.message)
            continue
        study = replace(study, warnings=(*study.warnings, *notes))
        return _naming_others(study, folder, entries[index + 1 :])
    raise UnreadableFileError(
        f"None of the {len(entries)} studies in {folder.name} can be shown; the first one: {notes[0]}",
        "Export them again.",
    )


def _naming_others(study: Study, folder: Path, others: Sequence[StudyEntry]) -> Study:
    """A warning with the entries that were not opened."""
    if not others:
        return study
    names = "; ".join(entry.title for entry in others[:6]) + ("…" if len(others) > 6 else "")
    note = f"{folder.name} holds {len(others)} more to open, kept apart from this one: {names}."
    return replace(study, warnings=(*study.warnings, note))


def _single_entry(path: Path) -> StudyEntry:
    """The entry of one file, or the sentence why there is none."""
    if path.stat().st_size == 0:
        raise UnreadableFileError(f"{path.name} is empty.", "Copy or export it again.")
    if is_picture(path):
        return StudyEntry((path,), Kind.CHEST)
    if not is_dicom(path):
        packed = path.suffix.lower() in (".gz", ".7z", ".rar", ".tar", ".bz2", ".xz")
        hint = "Unpack the archive first." if packed else "Choose a DICOM, PNG, JPEG or TIFF file."
        raise UnreadableFileError(f"{path.name} is no image that can be read here.", hint)
    header = read_dicom(path, with_pixels=False).dataset
    return StudyEntry(
        (path,), kind_of(header)[0], identity=identity_of(header), sops=(text(header, "SOPInstanceUID"),)
    )


# -- opening -----------------------------------------------------------------------------------------------


def _open_dicom(entry: StudyEntry, progress: Progress, show: Show | None) -> Study:
    """Decode the files of an entry; a broken plane leaves the other one."""
    runs: list[RunDecoder] = []
    views: list[View] = []
    faults: list[UnreadableFileError] = []
    for path in entry.paths:
        try:
            runs.append(RunDecoder(read_dicom(path, pixels_later=True)))
        except UnreadableFileError as fault:
            faults.append(fault)
    arriving = None if show is None else _shown_early(entry, runs, progress, show)
    if arriving is None:
        decode_runs(runs, one_by_one(runs), progress, READING)
    else:
        arriving.seen.wait(FIRST_LOOK_S)
        decode_runs(arriving.runs, arriving.nearest_first(), progress, READING, arriving.tell)
    progress.step("Checking the pixels")
    for run in tuple(runs):
        try:
            views.append(view_from(run.file, run.finished()))
        except UnreadableFileError as fault:
            faults.append(fault)
            runs.remove(run)
    if not views:
        raise faults[-1]
    study = _study_of(entry, runs, views)
    missing = (f"One view is missing: {fault.message}" for fault in faults)
    return replace(study, warnings=(*missing, *study.warnings))


def _shown_early(
    entry: StudyEntry, runs: Sequence[RunDecoder], progress: Progress, show: Show
) -> Arriving | None:
    """Decode the first frames of every run, and show them where the rest takes its time."""
    decode_runs(runs, first_tasks(runs), progress, READING)
    if all(run.tried.all() for run in runs):
        return None
    views = [view for run in runs if (view := provisional_view(run)) is not None]
    if len(views) < len(runs):
        return None
    study = _study_of(entry, runs, views)
    run_of = {str(run.file.path): run for run in runs}
    arriving = Arriving(study, [run_of[view.source.path] for view in study.views])
    show(arriving)
    return arriving


def _study_of(entry: StudyEntry, runs: Sequence[RunDecoder], views: Sequence[View]) -> Study:
    """The views of an entry as one study."""
    headers = [run.file.dataset for run in runs]
    kind, why = kind_of(headers[0])
    pairing = entry.pairing if len(views) > 1 else None
    notes = []
    if pairing is not None and pairing.value in ("angles", "chosen together"):
        notes.append(f"The two views were paired by {pairing.value} only: {pairing.reason}.")
    ordered = in_order(on_one_clock(views, headers))
    return Study(
        views=ordered,
        kind=kind,
        pairing=pairing,
        identity=identity_of(headers[0]),
        synthetic=any(text(header, "SyntheticData").upper() == "YES" for header in headers),
        title=title_of(kind, ordered),
        guesses=() if why is None else (why,),
        warnings=tuple(notes),
    )


def _open_pictures(entry: StudyEntry, progress: Progress) -> Study:
    """A film, a TIFF stack, two pictures opened together, or a numbered sequence."""
    if entry.sequence:
        return _open_sequence(entry, progress)
    views = []
    for index, path in enumerate(entry.paths):
        progress.step(f"Reading {path.name}", index, len(entry.paths))
        picture = read_picture(path)
        views.append(_picture_view(path, picture.frames, picture.warnings))
    return _picture_study(tuple(views), entry.pairing)


def _open_sequence(entry: StudyEntry, progress: Progress) -> Study:
    """Numbered pictures as the frames of one run; those of another size are left out."""
    frames: list[np.ndarray] = []
    left: list[str] = []
    for index, path in enumerate(entry.paths):
        progress.step(f"Reading {path.name}", index, len(entry.paths))
        frame = read_picture(path).frames[0]
        if frames and (frame.shape != frames[0].shape or frame.dtype != frames[0].dtype):
            left.append(path.name)
        else:
            frames.append(frame)
    notes = (f"{len(left)} pictures of another size were left out: {', '.join(left[:5])}.",) if left else ()
    view = _picture_view(entry.paths[0], np.stack(frames), notes)
    reason = f"{len(frames)} pictures with consecutive numbers in their names"
    return replace(_picture_study((view,), None), guesses=(Guess(Topic.KIND, Kind.ANGIOGRAM, reason),))


def _picture_view(path: Path, frames: np.ndarray, notes: tuple[str, ...]) -> View:
    window = robust_window(frames)
    timing = FrameTiming(np.zeros(1), "single frame", True) if len(frames) == 1 else frame_index(len(frames))
    return View(
        projection=Projection.UNKNOWN,
        pixels=frames,
        timing=timing,
        spacing=PixelSpacing(),
        window=window,
        windows=(window,),
        source=Source(path=str(path), transfer_syntax=path.suffix.lstrip(".").upper()),
        guesses=(Guess(Topic.WINDOW, "0.5 to 99.5 percentile", "plain pictures carry no window"),),
        warnings=notes,
    )


def _picture_study(views: tuple[View, ...], pairing: Guess | None) -> Study:
    """Several frames are a run, one is a film."""
    several = max(view.n_frames for view in views) > 1
    kind = Kind.ANGIOGRAM if several else Kind.CHEST
    reason = "a picture with several frames" if several else "a single plain picture"
    return Study(
        views, kind, pairing, title=title_of(kind, views), guesses=(Guess(Topic.KIND, kind, reason),)
    )


def in_order(views: Iterable[View]) -> tuple[View, ...]:
    """Views as they hang: AP before LA."""
    return tuple(sorted(views, key=lambda view: view.projection.side))


def title_of(kind: Kind, views: Sequence[View]) -> str:
    """What it is, without who it is."""
    what = {Kind.ANGIOGRAM: "Angiogram", Kind.CHEST: "Chest X-ray", Kind.OTHER: "Image"}[kind]
    known = [view.projection for view in views if view.projection is not Projection.UNKNOWN]
    frames = " + ".join(str(view.n_frames) for view in views)
    label = f" {' + '.join(known)}" if known else ""
    return f"{what}{label}" if max(v.n_frames for v in views) == 1 else f"{what}{label}, {frames} frames"
