"""``napari-clipmed deidentify``: images without the identity of their patients."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_clipmed.cli._app import EXIT_FAILED, app, console, errors, print_json
from napari_clipmed.cli._common import AsJson, Force, progress_line, writing_to

if TYPE_CHECKING:
    from napari_clipmed.deidentify import Outcome

REPORT = "deidentify-report.json"
CANNOT = "Nobody can promise that a picture shows no name: look at every file before it leaves your hands."


@app.command("deidentify")
def deidentify_files(
    source: Annotated[
        Path, typer.Argument(metavar="IN", help="A file, a folder with all below it, or a zip archive.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="A new folder for the new files.")],
    keep_dates_relative: Annotated[
        bool,
        typer.Option(
            "--keep-dates-relative",
            help="Move all dates of a patient by one random number of days instead of removing them.",
        ),
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write DICOM files and pictures without identity (PS3.15 Basic Profile), and say what was removed.

    Sources are never touched. Reports, documents and anything that is no image are left out.
    """
    from napari_clipmed.deidentify import Disguise, deidentify, files_below

    sources = files_below(source)
    with progress_line("Reading") as progress, writing_to(out):
        outcomes = deidentify(sources, out, Disguise(keep_dates_relative), progress, force)
        answer = describe(outcomes, keep_dates_relative)
        out.mkdir(parents=True, exist_ok=True)
        (out / REPORT).write_text(json.dumps(answer, indent=2) + "\n", encoding="utf-8")
    if as_json:
        print_json(answer | {"report": str(out / REPORT)})
    else:
        _show(outcomes, sources, out)
    if answer["failed"]:
        raise typer.Exit(EXIT_FAILED)


def describe(outcomes: list[Outcome], keep_dates_relative: bool) -> dict[str, Any]:
    """The report as plain values: no removed value and no source name is in it."""
    return {
        "profile": "DICOM PS3.15 2026c, Basic Application Level Confidentiality Profile",
        "dates": "moved per patient, intervals kept" if keep_dates_relative else "removed",
        "written": sum(bool(outcome.output) for outcome in outcomes),
        "left_out": sum(outcome.left_out for outcome in outcomes),
        "failed": sum(bool(outcome.problem) and not outcome.left_out for outcome in outcomes),
        "files": [
            {
                "number": outcome.number,
                "output": outcome.output,
                "problem": outcome.problem,
                "warnings": list(outcome.warnings),
                "done": [
                    {"attribute": attribute, "action": action, "times": times}
                    for (attribute, action), times in sorted(outcome.done.items())
                ],
            }
            for outcome in outcomes
        ],
        "note": CANNOT,
    }


def _show(outcomes: list[Outcome], sources: list[Path], out: Path) -> None:
    """A summary for people; source names are shown on the screen only."""
    from rich.markup import escape
    from rich.table import Table

    total: Counter[str] = Counter()
    for outcome in outcomes:
        for (_, action), times in outcome.done.items():
            total[action] += times
    table = Table("attributes", "times", box=None, pad_edge=False)
    for action, times in total.most_common():
        table.add_row(action, str(times))
    console.print(table)
    for outcome in outcomes:
        if outcome.problem and not outcome.left_out:
            name = escape(sources[outcome.number - 1].name)
            errors.print(f"[bold red]Not written:[/] {name}: {escape(outcome.problem)}", highlight=False)
    for warning, files in _by_warning(outcomes).items():
        several = f"{files[0]} and {len(files) - 1} more" if len(files) > 1 else files[0]
        console.print(f"[#E69F00]Look at[/] {several}: {warning}", highlight=False)
    left_out = sum(outcome.left_out for outcome in outcomes)
    written = sum(bool(outcome.output) for outcome in outcomes)
    console.print(f"{written} files written to {out}, {left_out} left out. The report is {REPORT} there.")
    console.print(CANNOT, style="bold")


def _by_warning(outcomes: list[Outcome]) -> dict[str, list[str]]:
    """The files of each warning."""
    found: dict[str, list[str]] = {}
    for outcome in outcomes:
        for warning in outcome.warnings:
            found.setdefault(warning, []).append(outcome.output)
    return found
