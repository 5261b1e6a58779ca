"""``napari-clipmed zero-shot``: what a CLIP that was trained elsewhere makes of studies, by sentences."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_clipmed.cli._app import EXIT_FAILED, app, console, errors, print_json
from napari_clipmed.cli._common import (
    RESEARCH_USE,
    AsJson,
    Device,
    Force,
    Precision,
    progress_line,
    writing_to,
)
from napari_clipmed.cli.backbones import SPEC_HELP
from napari_clipmed.errors import Cancelled, ClipmedError
from napari_clipmed.models.backbone_list import SHIPPED_BACKBONE

if TYPE_CHECKING:
    from napari_clipmed.inference.towers import Towers
    from napari_clipmed.inference.zero_shot import FindingAnswer
    from napari_clipmed.models.zero_shot_sets import ZeroShotSet
    from napari_clipmed.study import Study

BAR = 16


@app.command("zero-shot")
def zero_shot(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="Runs, films or folders of one study each; none with --sentences."),
    ] = None,
    backbone: Annotated[str, typer.Option(help=SPEC_HELP)] = SHIPPED_BACKBONE,
    label_set: Annotated[
        str, typer.Option(help="dsa, chest, one of your own, or a YAML file; default: as suits the study.")
    ] = "",
    heat: Annotated[
        list[str] | None, typer.Option(help="Also a heat map of this sentence; may be given several times.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the heat maps, as PNG.")] = Path("clipmed-zero-shot"),
    temperature: Annotated[
        float | None,
        typer.Option(min=0.001, max=100, help="What cosines are divided by; default: the backbone's own."),
    ] = None,
    sentences: Annotated[
        bool, typer.Option("--sentences", help="Only compare the sentences of the set with each other.")
    ] = False,
    force: Force = False,
    as_json: AsJson = False,
    device: Device = "auto",
    precision: Precision = "auto",
) -> None:
    """Rank findings by how near their sentences are to a study. Uncalibrated: ranks, no probabilities.

    A file that cannot be read is reported and does not stop the others; the exit code is then 1.
    """
    from napari_clipmed.inference.device import choose_compute
    from napari_clipmed.inference.towers import Towers
    from napari_clipmed.inference.zero_shot import UNCALIBRATED

    if not paths and not sentences:
        raise ClipmedError("No study was named.", "Give files or folders, or --sentences.")
    asked = _set(label_set) if label_set else None
    with progress_line("Loading the backbone") as progress:
        towers = Towers(backbone, choose_compute(device, precision), progress=progress)
    if sentences:
        _compare(towers, asked or _set("dsa"), as_json)
        return
    answers, failed = [], 0
    for path in paths or []:
        try:
            answers.append(_ask(towers, path, asked, heat or [], out, temperature, force, as_json))
        except Cancelled:
            raise
        except ClipmedError as error:
            failed += 1
            answers.append(
                {"input": str(path), "status": "failed", "error": error.message, "hint": error.hint}
            )
            if not as_json:
                errors.print(f"[bold red]Failed:[/] {path.name}: {error}", highlight=False)
    if as_json:
        print_json({"calibrated": False, "caution": UNCALIBRATED, "studies": answers, "failed": failed})
    else:
        console.print(f"[bold #E69F00]{UNCALIBRATED}[/]", highlight=False)
        console.print(RESEARCH_USE, style="dim")
    if failed:
        raise typer.Exit(EXIT_FAILED)


def _set(name: str) -> ZeroShotSet:
    from napari_clipmed.models.zero_shot_sets import read_set

    return read_set(name)


def _ask(
    towers: Towers,
    path: Path,
    asked: ZeroShotSet | None,
    heat: list[str],
    out: Path,
    temperature: float | None,
    force: bool,
    as_json: bool,
) -> dict[str, Any]:
    from napari_clipmed.io import open_study
    from napari_clipmed.models.zero_shot_sets import suits

    with progress_line(f"Reading {path.name}") as progress:
        study = open_study(path, progress)
        questions = asked or _set(suits(study.kind))
        answer = towers.ask(study, questions, progress, temperature)
    pictures = [
        _heat(towers, study, text, questions.neutral, out / _name(path, text), force) for text in heat
    ]
    plain = {"input": str(path), "status": "done", "synthetic": study.synthetic} | answer.to_plain()
    if not as_json:
        simulated = "  [bold yellow]SIMULATED[/]" if study.synthetic else ""
        console.print(
            f"[bold]{path.name}[/]{simulated}: {questions.title}, by {towers.title}", highlight=False
        )
        _show(answer.ranked)
        for note in answer.notes[1:]:
            console.print(f"  [#E69F00]•[/] {note}", highlight=False, markup=True)
        for picture in pictures:
            console.print(f"  Heat map in {picture}", highlight=False)
    return plain | {"heat_maps": [str(picture) for picture in pictures]}


def _heat(towers: Towers, study: Study, text: str, neutral: str, path: Path, force: bool) -> Path:
    from napari_clipmed.export.overlay import sentence_montage
    from napari_clipmed.whole_files import whole_file

    with progress_line("Looking for the sentence") as progress:
        saliency = towers.heat(study, text, neutral, progress)
    with writing_to(path), whole_file(path, replace=force) as fresh:
        sentence_montage(study, saliency, towers.title).save(fresh)
    return path


def _name(path: Path, text: str) -> str:
    words = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:60] or "sentence"
    return f"{path.stem}-{words}.png"


def _show(findings: list[FindingAnswer]) -> None:
    """A row a finding: its share among all, with against without, its descriptors together."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("finding", "cosine", "share", "with", "described"):
        table.add_column(heading, justify="left" if heading == "finding" else "right")
    table.add_column("")
    for one in findings:
        bar = f"[#56B4E9]{'█' * round(BAR * one.share) or '▏'}[/]"
        rest = ["–" if value is None else f"{value:.3f}" for value in (one.with_it, one.described)]
        table.add_row(escape(one.title), f"{one.cosine:.3f}", f"{one.share:.3f}", *rest, bar)
    console.print(table)


def _compare(towers: Towers, questions: ZeroShotSet, as_json: bool) -> None:
    from rich.table import Table

    from napari_clipmed.inference.zero_shot import alike, warn_alike

    with progress_line("Reading sentences") as progress:
        similarity = towers.compare_sentences(questions, progress)
    keys = questions.keys
    if as_json:
        rows = {
            key: dict(zip(keys, map(float, row), strict=True))
            for key, row in zip(keys, similarity, strict=True)
        }
        pairs = [list(pair) for pair in alike(similarity, keys)]
        print_json(
            {
                "backbone": towers.title,
                "label_set": questions.name,
                "similarity": rows,
                "nearly_the_same": pairs,
            }
        )
        return
    table = Table("", *keys, box=None, pad_edge=False)
    for key, row in zip(keys, similarity, strict=True):
        table.add_row(key, *(f"{value:.2f}" for value in row))
    console.print(table)
    if warning := warn_alike(similarity, keys):
        console.print(f"[bold #E69F00]•[/] {warning}", highlight=False)
