"""``napari-clipmed measure`` and ``curve``: lengths, stenosis and time–density curves without a window."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_clipmed.cli._app import app, console, print_json
from napari_clipmed.cli._common import RESEARCH_USE, AsJson, progress_line, writing_to
from napari_clipmed.errors import ClipmedError

if TYPE_CHECKING:
    from napari_clipmed.inference.curves import Region
    from napari_clipmed.inference.measure import Line, Stenosis
    from napari_clipmed.inference.measure_table import Measured
    from napari_clipmed.study import Study

Paths = Annotated[list[Path], typer.Argument(help="A run, the two planes of a run, or a folder.")]
ViewName = Annotated[str, typer.Option("--view", help="AP, LA, or a number from 1.")]
WRITTEN = "R0,C0,R1,C1"
"""How a line is written."""


@app.command()
def measure(
    paths: Paths,
    view: ViewName = "1",
    frame: Annotated[int, typer.Option(min=1, help="Frame, counted from 1.")] = 1,
    line: Annotated[
        list[str] | None, typer.Option(metavar=WRITTEN, help="A distance; may be given several times.")
    ] = None,
    diameter: Annotated[
        list[str] | None, typer.Option(metavar=WRITTEN, help="A line across a vessel; likewise.")
    ] = None,
    stenosis: Annotated[str, typer.Option(metavar=WRITTEN, help="Across the narrowest place.")] = "",
    proximal: Annotated[str, typer.Option(metavar=WRITTEN, help="Normal diameter, first choice.")] = "",
    distal: Annotated[str, typer.Option(metavar=WRITTEN, help="Normal diameter, second choice.")] = "",
    feeder: Annotated[str, typer.Option(metavar=WRITTEN, help="Normal diameter, third choice.")] = "",
    as_json: AsJson = False,
) -> None:
    """Measure lengths, diameters and WASID stenosis on one frame. Rows and columns count from 0."""
    from napari_clipmed.inference.measure import Caliper, caliper, length_of
    from napari_clipmed.inference.measure_table import DIAMETER, DISTANCE, Measured, stenoses_of
    from napari_clipmed.inference.opacity import darkness_of

    asked = [(DISTANCE, text) for text in line or ()] + [(DIAMETER, text) for text in diameter or ()]
    diameters = {"stenosis": stenosis, "proximal": proximal, "distal": distal, "feeder": feeder}
    asked += [(kind, text) for kind, text in diameters.items() if text]
    if not asked:
        raise ClipmedError("There is nothing to measure.", "Give --line, --diameter or --stenosis.")
    study = open_one(paths)
    index, name = view_of(study, view)
    shown = study.views[index]
    if frame > shown.n_frames:
        raise ClipmedError(f"There is no frame {frame} in {name}; it has {shown.n_frames}.")
    darkness = darkness_of(shown, frame - 1)
    measured = []
    for kind, text in asked:
        drawn = _line(text)
        if kind == DISTANCE:
            found = Caliper(drawn, length_of(drawn, shown.spacing))
        else:
            found = caliper(darkness, drawn, shown.spacing)
        measured.append(Measured(kind, name, frame, found))
    _show_measures(study, measured, stenoses_of(measured), as_json)


@app.command()
def curve(
    paths: Paths,
    roi: Annotated[
        list[str],
        typer.Option(help="VIEW:R0,C0,R1,C1, a rectangle, or VIEW:ellipse:R0,C0,R1,C1. May be repeated."),
    ],
    out: Annotated[Path | None, typer.Option("--csv", help="Write the curves to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Give the time-density curves of regions: arrival, time to peak, width, mean transit time."""
    from napari_clipmed.inference.bolus import steady
    from napari_clipmed.inference.curves import curve_of, curves_csv
    from napari_clipmed.inference.opacity import OpacityRun, opacity_of

    regions = [_region(text, number) for number, text in enumerate(roi, start=1)]
    study = open_one(paths)
    runs: dict[int, OpacityRun] = {}
    curves = []
    with progress_line("Reading the run") as progress:
        for view, region in regions:
            index, name = view_of(study, view)
            if index not in runs:
                runs[index] = steady(opacity_of(study.views[index], progress))[0]
            curves.append(curve_of(runs[index], region, name))
    if out is not None:
        with writing_to(out):
            out.parent.mkdir(parents=True, exist_ok=True)
            out.write_text(curves_csv(curves, study.image_hash, synthetic=study.synthetic), encoding="utf-8")
    figures = ("arrival", "time_to_peak", "half_width", "transit", "peak", "area")
    told = [
        {"view": one.view, "roi": one.name, "pixels": one.pixels, "unit": one.time_unit}
        | {figure: _number(getattr(one, figure)) for figure in figures}
        | {"cut_off": one.cut_off, "times": one.times.tolist(), "opacity": one.opacity.tolist()}
        for one in curves
    ]
    if as_json:
        print_json({"image_hash": study.image_hash, "synthetic": study.synthetic, "curves": told})
        return
    for one in told:
        words = ", ".join(f"{figure.replace('_', ' ')} {one[figure]}" for figure in figures)
        console.print(f"{one['view']} {one['roi']} ({one['unit']}): {words}", highlight=False, markup=False)
    where = f"Curves in {out}. " if out is not None else ""
    console.print(f"{where}{'SIMULATED. ' if study.synthetic else ''}{RESEARCH_USE}", highlight=False)


def _show_measures(
    study: Study, measured: list[Measured], stenoses: dict[str, Stenosis], as_json: bool
) -> None:
    from napari_clipmed.inference.measure_table import stenosis_json

    if as_json:
        print_json(
            {
                "image_hash": study.image_hash,
                "synthetic": study.synthetic,
                "measured": [one.to_json() for one in measured],
                "stenosis": {view: stenosis_json(one) for view, one in stenoses.items()},
                "use": RESEARCH_USE,
            }
        )
        return
    for one in measured:
        told = one.to_json()
        meant = f" ({told['calibration']})" if told["calibration"] else ""
        note = f"  {told['note']}" if told["note"] else ""
        console.print(f"{one.view} frame {one.frame}: {one.kind} {one.words}{meant}{note}", highlight=False)
    for view, stenosis in stenoses.items():
        told = stenosis_json(stenosis)
        console.print(
            f"{view}: stenosis {told['wasid_percent']} % (WASID, {told['method']}; "
            f"normal diameter: {told['reference']})",
            highlight=False,
        )
    console.print(f"{'SIMULATED. ' if study.synthetic else ''}{RESEARCH_USE}", highlight=False)


def open_one(paths: list[Path]) -> Study:
    """The study of one file, of the two planes of a run, or of a folder."""
    from napari_clipmed.io import open_study

    with progress_line("Reading the study") as progress:
        return open_study(paths[0] if len(paths) == 1 else paths, progress)


def view_of(study: Study, name: str) -> tuple[int, str]:
    """Index and name of the view that "AP", "LA" or a number means."""
    names = [view.projection.value for view in study.views]
    wanted = name.strip().upper()
    if wanted in names:
        return names.index(wanted), wanted
    if wanted.isdigit() and 1 <= int(wanted) <= len(names):
        return int(wanted) - 1, names[int(wanted) - 1]
    raise ClipmedError(f"There is no view {name!r} here.", f"Choose one of: {', '.join(names)}, or a number.")


def _four(text: str) -> tuple[float, float, float, float]:
    try:
        row0, column0, row1, column1 = (float(part) for part in text.split(","))
    except ValueError:
        raise ClipmedError(
            f"{text!r} are not four numbers.", "Write ROW0,COLUMN0,ROW1,COLUMN1, for example 120,80,120,110."
        ) from None
    return row0, column0, row1, column1


def _line(text: str) -> Line:
    from napari_clipmed.inference.measure import Line

    row0, column0, row1, column1 = _four(text)
    return Line((row0, column0), (row1, column1))


def _region(text: str, number: int) -> tuple[str, Region]:
    """The view and the region that an option means."""
    from napari_clipmed.inference.curves import Outline, Region

    view, _, rest = text.partition(":")
    outline, _, corners = rest.rpartition(":")
    if not rest or outline.lower() not in ("", "rectangle", "ellipse"):
        raise ClipmedError(f"{text!r} is no region.", "Write VIEW:R0,C0,R1,C1 or VIEW:ellipse:R0,C0,R1,C1.")
    row0, column0, row1, column1 = _four(corners)
    box = Region.box(Outline(outline.lower() or "rectangle"), row0, column0, row1, column1)
    return view, Region(box.outline, box.points, f"ROI {number}")


def _number(value: float) -> float | None:
    """For JSON, which knows no NaN."""
    return round(value, 4) if value == value else None
