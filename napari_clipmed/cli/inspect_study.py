"""``napari-clipmed inspect``: what was understood of a file or folder, and why."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_clipmed.cli._app import app, console, errors, print_json
from napari_clipmed.cli._listing import describe_entries, show_entries, time_words
from napari_clipmed.errors import ClipmedError

if TYPE_CHECKING:
    from napari_clipmed.io import StudyEntry
    from napari_clipmed.study import DisplayWindow, Guess, Study, View


HELP_SET = (
    "Put a conclusion right, as WORD=VALUE or WORD=VALUE,VALUE (one a view): kind=chest, projection=AP,LA, "
    "interval-ms=250, subtraction=native, pixel-mm=0.3, pair=apart, mask=1-3, shift=0.3:-0.4 (rows down: "
    "columns left) or shift=auto. Kept in --workspace, else for this call only."
)
HELP_AS_READ = "Take back what was set under a word, for example projection."


@app.command()
def inspect(
    path: Annotated[
        list[Path],
        typer.Argument(help="A file, a folder, a zip archive, a DICOMDIR, or the files of one examination."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Answer in JSON, for machines.")] = False,
    identity: Annotated[bool, typer.Option(help="Show the patient's identity as well.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="Only list what a folder holds.")] = False,
    entry: Annotated[
        int | None, typer.Option(min=1, help="Decode and describe this entry of the list, counted from 1.")
    ] = None,
    workspace: Annotated[
        Path | None, typer.Option("--workspace", help="Apply what readers set about it in this workspace.")
    ] = None,
    words: Annotated[list[str] | None, typer.Option("--set", help=HELP_SET)] = None,
    as_read: Annotated[list[str] | None, typer.Option("--as-read", help=HELP_AS_READ)] = None,
    author: Annotated[str, typer.Option(help="Who sets it; kept beside it.")] = "",
) -> None:
    """Say what was understood: views, frames, times, pairing, calibration, every guess and warning.

    A folder of several studies is listed by its headers; nothing is decoded then.
    """
    from napari_clipmed.cli._overrules import as_readers_set_it, memory
    from napari_clipmed.io import holds_several, list_studies, open_entry, open_study

    if len(path) == 1 and path[0].exists() and holds_several(path[0]):
        entries = list_studies(path[0])
        if listing or (entry is None and len(entries) > 1):
            if as_json:
                print_json(describe_entries(entries, identity))
            else:
                show_entries(entries, identity)
            return
        study = open_entry(_entry_of(entries, entry or 1))
    else:
        study = open_study(path[0] if len(path) == 1 else list(path))
    changes = bool(words or as_read)
    with memory(workspace, writing=changes) as store:
        study = as_readers_set_it(study, store, words or (), as_read or (), author)
    if changes and workspace is None:
        errors.print("Shown for this call only; name a --workspace to keep it.")
    if as_json:
        print_json(describe(study, identity))
    else:
        _show(study, identity)


def _entry_of(entries: list[StudyEntry], number: int) -> StudyEntry:
    if number > len(entries):
        raise ClipmedError(f"There is no entry {number}.", f"The list has {len(entries)}; see --list.")
    return entries[number - 1]


def describe(study: Study, identity: bool = False) -> dict[str, Any]:
    """A study as plain values, without the patient unless asked for."""
    answer: dict[str, Any] = {
        "title": study.title,
        "kind": study.kind.value,
        "synthetic": study.synthetic,
        "image_hash": study.image_hash,
        "pairing": None if study.pairing is None else asdict(study.pairing),
        "views": [_describe_view(view) for view in study.views],
        "guesses": [asdict(guess) for guess in study.guesses],
        "warnings": list(study.warnings),
    }
    if identity:
        answer["identity"] = asdict(study.identity)
    return answer


def _describe_view(view: View) -> dict[str, Any]:
    return {
        "projection": view.projection.value,
        "angles": view.angles,
        "frames": view.n_frames,
        "rows": view.pixels.shape[1],
        "columns": view.pixels.shape[2],
        "dtype": view.pixels.dtype.name,
        "subtracted": view.subtracted,
        "subtracted_here": view.native is not None,
        "subtraction": None if view.subtraction is None else view.subtraction.to_json(),
        "motion": view.motion,
        "shutter": view.shutter is not None,
        "overlays": [overlay.label for overlay in view.overlays],
        "source_hash": view.source_hash,
        "times_ms": [round(float(time), 3) for time in view.timing.times_ms],
        "time_source": view.timing.source,
        "times_known": view.timing.known,
        "spacing_mm": [view.spacing.row_mm, view.spacing.column_mm] if view.spacing.known else None,
        "calibration": view.spacing.calibration.value,
        "window": asdict(view.window),
        "windows": [asdict(window) for window in view.windows],
        "source": asdict(view.source),
        "guesses": [asdict(guess) for guess in view.guesses],
        "warnings": list(view.warnings),
    }


def _show(study: Study, identity: bool) -> None:
    """One table of the views, then what was concluded and what was wrong."""
    from rich.markup import escape
    from rich.table import Table

    simulated = " [bold yellow]SIMULATED[/]" if study.synthetic else ""
    console.print(f"[bold]{escape(study.title)}[/]{simulated}")
    if identity:
        person = study.identity
        console.print(f"Patient: {escape(person.name)} ({escape(person.patient_id)}), {person.study_date}")
    table = Table("", *(f"{index}: {view.projection}" for index, view in enumerate(study.views, start=1)))
    for label, values in _rows(study.views):
        if any(values):
            table.add_row(label, *(escape(value) for value in values))
    console.print(table)
    if study.pairing:
        console.print(f"Paired by {study.pairing.value}: {escape(study.pairing.reason)}", highlight=False)
    guesses = Table("view", "guess", "value", "because", box=None, pad_edge=False)
    for where, guess in _guesses(study):
        guesses.add_row(where, *(escape(str(part)) for part in (guess.what, guess.value, guess.reason)))
    if guesses.row_count:
        console.print(guesses)
    for note in study.warnings:
        console.print(f"[yellow]Warning:[/] {escape(note)}", highlight=False)
    for index, view in enumerate(study.views, start=1):
        for note in view.warnings:
            console.print(f"[yellow]Warning, view {index}:[/] {escape(note)}", highlight=False)
    console.print("Research use only, not for diagnosis.", style="dim")


def _guesses(study: Study) -> list[tuple[str, Guess]]:
    """Everything that was concluded, with the number of the view from 1."""
    of_views = [(str(number), g) for number, view in enumerate(study.views, start=1) for g in view.guesses]
    return [("", guess) for guess in study.guesses] + of_views


def _rows(views: tuple[View, ...]) -> list[tuple[str, list[str]]]:
    """Rows of the table: a label and one value a view."""
    return [
        ("file", [Path(view.source.path).name for view in views]),
        ("frames", [f"{view.n_frames} × {view.pixels.shape[2]} × {view.pixels.shape[1]}" for view in views]),
        ("times", [f"{time_words(view.timing)} ({view.timing.source})" for view in views]),
        ("moves", [f"{view.motion} run, no bolus series" if view.motion else "" for view in views]),
        ("subtracted", [_subtraction(view) for view in views]),
        ("angles", ["–" if view.angles is None else "{:g}°, {:g}°".format(*view.angles) for view in views]),
        ("spacing", [_spacing(view) for view in views]),
        ("windows", ["; ".join(_window(window) for window in view.windows) for view in views]),
        ("shutter", ["yes" if view.shutter is not None else "" for view in views]),
        ("overlays", [", ".join(overlay.label for overlay in view.overlays) for view in views]),
        ("modality", [view.source.modality or "–" for view in views]),
        ("encoding", [view.source.transfer_syntax or "–" for view in views]),
    ]


def _subtraction(view: View) -> str:
    if not view.subtracted:
        return "no"
    return "by us, from the mask" if view.native is not None else "already"


def _spacing(view: View) -> str:
    if not view.spacing.known:
        return view.spacing.calibration.value
    return f"{view.spacing.row_mm:.4g} × {view.spacing.column_mm:.4g} mm, {view.spacing.calibration.value}"


def _window(window: DisplayWindow) -> str:
    return f"{window.name} {window.low:.5g}…{window.high:.5g}"
