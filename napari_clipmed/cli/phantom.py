"""``napari-clipmed phantom dsa|cxr``: simulated studies with their truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from napari_clipmed.cli._app import app, console, errors, print_json
from napari_clipmed.progress import Progress, Step

phantom = typer.Typer(
    name="phantom",
    help="Write simulated studies with their truth (synthetic, for development and tests).",
    no_args_is_help=True,
)
app.add_typer(phantom)


class FileFormat(StrEnum):
    """How a study is stored."""

    npz = "npz"
    dicom = "dicom"


class FilmFormat(StrEnum):
    """How a chest film is stored."""

    npz = "npz"
    dicom = "dicom"
    qata = "qata"


class Truth(StrEnum):
    """How much of the truth is stored."""

    lesion = "lesion"
    full = "full"


class Split(StrEnum):
    """Which split the studies belong to; mixed is 70/12/18 by patient."""

    mixed = "mixed"
    train = "train"
    val = "val"
    test = "test"


Count = Annotated[int, typer.Option("--n", min=1, help="Number of studies.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of every draw.")]
Out = Annotated[Path, typer.Option(help="Folder to write; made if absent.")]
Format = Annotated[FileFormat, typer.Option("--format", help="npz for training, dicom for the reader.")]
Workers = Annotated[int, typer.Option(min=1, help="Processes.")]
Shift = Annotated[
    str, typer.Option(help="Another hospital: shifted, of phantom_…_shifted.yaml. Default: none.")
]
Json = Annotated[bool, typer.Option("--json", help="Answer as one JSON document.")]


def _write(job: Callable[[Progress], Path], n: int, as_json: bool) -> None:
    """Run a writer under a progress bar and say where the studies lie."""
    from rich.progress import Progress as Bar

    with Bar(console=errors, transient=True) as bar:
        task = bar.add_task("simulating", total=n)

        def show(step: Step) -> None:
            bar.update(task, completed=step.done, description=step.what)

        folder = job(Progress(show))
    if as_json:
        print_json({"folder": str(folder), "studies": n, "synthetic": True})
    else:
        console.print(f"{n} simulated studies in {folder}", highlight=False)


@phantom.command("dsa")
def dsa(
    out: Out,
    n: Count = 20,
    seed: Seed = 0,
    file_format: Format = FileFormat.npz,
    workers: Workers = 1,
    size: Annotated[int, typer.Option(min=64, max=1024, help="Pixels along each side.")] = 224,
    preset: Annotated[str, typer.Option(help="Acquisition preset of phantom_dsa.yaml.")] = "training",
    truth: Annotated[Truth, typer.Option(help="full adds vessel masks and arrival maps.")] = Truth.lesion,
    split: Annotated[
        Split, typer.Option(help="Put every study into one split, for a test set of its own.")
    ] = Split.mixed,
    shift: Shift = "",
    beside: Annotated[
        Path | None,
        typer.Option(
            help="Instead: a page (--out page.html) that sets --n simulated runs under each real run of this "
            "folder. It holds the real pictures, so it stays local."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Simulated biplane cerebral angiograms: Control, MMD, IA, AM, AS."""
    if beside is not None:
        _compare(beside, out, n, seed, size, preset, as_json)
        return
    from napari_clipmed.phantoms.dsa.writer import write_dsa_phantoms

    _write(
        lambda progress: write_dsa_phantoms(
            n,
            seed,
            out,
            file_format.value,
            progress,
            workers,
            size=size,
            preset=preset,
            truth=truth.value,
            split=None if split is Split.mixed else split.value,  # type: ignore[arg-type]
            shift=shift,
        ),
        n,
        as_json,
    )


def _compare(beside: Path, out: Path, n: int, seed: int, size: int, preset: str, as_json: bool) -> None:
    """Write the page of real and simulated strips, and tell their figures."""
    from dataclasses import asdict

    from napari_clipmed.cli._common import progress_line
    from napari_clipmed.phantoms.dsa.beside import beside_page, look_of

    with progress_line("Starting") as progress:
        groups = beside_page(beside, out, n, seed, size, preset, progress)
    if as_json:
        strips = [strip for real, simulated in groups for strip in (real, *simulated)]
        told = [
            {"title": strip.title, "view": strip.view, "real": strip.real} | asdict(look_of(strip.frames))
            for strip in strips
        ]
        print_json({"page": str(out), "strips": told})
    else:
        console.print(f"{len(groups)} real runs, {n} simulated beside each, in {out}", highlight=False)


@phantom.command("cxr")
def cxr(
    out: Out,
    n: Count = 20,
    seed: Seed = 0,
    file_format: Annotated[
        FilmFormat,
        typer.Option(
            "--format", help="npz for training, dicom for the reader, qata: laid out as QaTa-COV19."
        ),
    ] = FilmFormat.npz,
    workers: Workers = 1,
    size: Annotated[int, typer.Option(min=64, max=1024, help="Pixels along each side.")] = 512,
    subset: Annotated[
        float, typer.Option(min=0, max=1, help="Share of films, infected on both sides, that name one only.")
    ] = 0.3,
    split: Annotated[Split, typer.Option(help="Put every film into one split.")] = Split.mixed,
    shift: Shift = "",
    as_json: Json = False,
) -> None:
    """Simulated chest X-rays with infected areas and the sentences that name them."""
    from napari_clipmed.phantoms.cxr import FilmRecipe, load_style_ranges, write_cxr_phantoms

    recipe = FilmRecipe(size=size, subset_prompts=subset)
    if shift:
        recipe = replace(recipe, style=load_style_ranges(shift))
    one_split = None if split is Split.mixed else split.value
    _write(
        lambda progress: write_cxr_phantoms(
            n, seed, out, file_format.value, progress, workers, recipe, one_split
        ),
        n,
        as_json,
    )
