"""``napari-clipmed classify``: what CLIP-DSA makes of studies, with overlays that show why."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from napari_clipmed.cli._app import EXIT_FAILED, app, console, errors, print_json
from napari_clipmed.cli._batch import BatchOptions, Results, Resume, Scheduler, WithPaths, answer_all, measure
from napari_clipmed.cli._common import (
    RESEARCH_USE,
    AsJson,
    Device,
    Force,
    ModelId,
    Precision,
    Workspace,
    model_of,
    registry_of,
)
from napari_clipmed.errors import ClipmedError

BAR = 24


@app.command()
def classify(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders; a folder gives all its studies.")],
    model: ModelId = "",
    explain: Annotated[
        str, typer.Option(help="gradcam, gradcam++, layercam, hirescam, xgradcam, eigencam, or none.")
    ] = "layercam",
    out: Annotated[Path, typer.Option(help="Folder for a JSON file and an overlay of each study.")] = Path(
        "clipmed-classified"
    ),
    cam_mask: Annotated[
        float | None,
        typer.Option(min=0.01, max=1, help="Also write each view's heat map as a mask, cut at this share."),
    ] = None,
    results: Results = None,
    resume: Resume = False,
    with_paths: WithPaths = False,
    scheduler: Scheduler = "",
    only_measure: Annotated[
        bool, typer.Option("--measure", help="Only time the pipeline against one case after the other.")
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
    workspace: Workspace = None,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Name the disease of angiograms, per view and combined, and show which pixels said so.

    A file that cannot be read is reported and does not stop the others; the exit code is then 1.
    """
    from napari_clipmed.batch.case import Question
    from napari_clipmed.inference.device import choose_compute
    from napari_clipmed.inference.explain import raw_method

    method = "" if explain == "none" else explain
    if method:
        raw_method(method)
    if cam_mask is not None and not method:
        raise ClipmedError("There is no heat map to cut.", "Leave --explain none away, or --cam-mask.")
    entry = model_of(registry_of(workspace), "diagnosis", model)
    question = Question(
        "diagnosis",
        entry.id,
        entry.card.sha256,
        str(workspace.resolve()) if workspace else "",
        device,
        precision,
        method,
        threshold=cam_mask,
    )
    if only_measure:
        _show_measure(measure(paths, question), as_json)
        return
    options = BatchOptions(out, results, resume, with_paths, scheduler, force)
    tally = answer_all(paths, question, options, None if as_json else _show)
    if as_json:
        print_json(
            {
                "studies": tally.records,
                "failed": tally.failed,
                "skipped": tally.skipped,
                "out": str(out),
                "device": scheduler or choose_compute(device, precision).reason,
            }
        )
    else:
        skipped = f", {tally.skipped} known already" if tally.skipped else ""
        console.print(
            f"{tally.answered} answered by {entry.id}, {tally.failed} failed{skipped}. Files are in {out}."
        )
        console.print(RESEARCH_USE, style="dim")
    if tally.failed:
        raise typer.Exit(EXIT_FAILED)


def _show_measure(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    cases, ours, plain, ratio = (found[name] for name in ("cases", "seconds", "baseline_seconds", "ratio"))
    sentence = (
        f"{cases} cases: {ours:.1f} s as a pipeline, {plain:.1f} s one after another, ratio {ratio:.2f}"
    )
    rounds = len(found["rounds"]["streamed"])
    console.print(f"{sentence} (medians of {rounds} rounds in turns).", highlight=False)


def show_failure(answer: dict[str, Any], title: str) -> None:
    """Say on the terminal why a case has no answer."""
    from rich.markup import escape

    errors.print(f"[bold red]Failed:[/] {title}: {escape(answer['error'])}", highlight=False)
    if answer["hint"]:
        errors.print(f"  {escape(answer['hint'])}", highlight=False)


def title_of(answer: dict[str, Any]) -> str:
    """The files of a case, for the terminal."""
    from rich.markup import escape

    return escape(" + ".join(Path(path).name for path in answer["input"]))


def _show(answer: dict[str, Any]) -> None:
    """One study on the terminal: a row a class, a column a view."""
    from rich.markup import escape
    from rich.table import Table

    title = title_of(answer)
    if answer["status"] == "failed":
        show_failure(answer, title)
        return
    simulated = "  [bold yellow]SIMULATED[/]" if answer["synthetic"] else ""
    console.print(f"[bold]{title}[/]{simulated}", highlight=False)
    colour = "#E69F00" if answer["uncertain"] else "#56B4E9"
    console.print(f"[bold {colour}]{escape(answer['headline'])}[/]", highlight=False)
    for reason in answer["uncertain_because"]:
        console.print(f"  {escape(reason)}", highlight=False)
    table = Table(box=None, pad_edge=False)
    probabilities = answer["probabilities"]
    shown = probabilities.get("both") or next(iter(probabilities.values()))
    for heading in ("class", *probabilities, ""):
        table.add_column(heading, justify="right" if heading in probabilities else "left")
    for label, value in sorted(shown.items(), key=lambda item: -item[1]):
        style = "bold" if label == answer["predicted"] and not answer["uncertain"] else ""
        bar = "█" * round(BAR * value) or "▏"
        table.add_row(
            label, *(f"{p[label]:.3f}" for p in probabilities.values()), f"[#56B4E9]{bar}[/]", style=style
        )
    console.print(table)
    for note in answer["notes"]:
        console.print(f"  [#E69F00]•[/] {escape(note)}", highlight=False)
    console.print()
