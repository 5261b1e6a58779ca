"""``napari-clipmed export frames|tiff|mp4|maps``: runs and maps as files, without identity."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_clipmed.cli._app import app, console, print_json
from napari_clipmed.cli._common import RESEARCH_USE, AsJson, Force, progress_line, writing_to
from napari_clipmed.errors import ClipmedError

if TYPE_CHECKING:
    from napari_clipmed.progress import Progress
    from napari_clipmed.study import Study, View

export = typer.Typer(
    name="export",
    help="Write runs as pictures, stacks or films, maps of their bolus, and what a workspace knows of them. "
    "No identity travels along, unless --with-identity asks for it.",
    no_args_is_help=True,
)
app.add_typer(export)

Paths = Annotated[list[Path], typer.Argument(help="A run, the two planes of a run, or a folder.")]
OutFolder = Annotated[Path, typer.Option(help="Folder to write; made if absent.")]
ViewName = Annotated[str, typer.Option("--view", help="AP, LA, a number from 1, or all.")]
Native = Annotated[
    bool,
    typer.Option("--native/--subtracted", help="The run as stored, or as it is recommended for viewing."),
]
MaskFrames = Annotated[
    str, typer.Option("--mask-frames", help="Frames averaged as the mask, from 1: 2 or 1,3-5.")
]
Shift = Annotated[
    str, typer.Option("--shift", help="Move the mask by ROWS,COLUMNS (down, LEFT), or auto: onto the bones.")
]
Landmark = Annotated[
    float, typer.Option("--landmark", min=0, max=1, help="Share of the anatomy shown behind the vessels.")
]
Window = Annotated[str, typer.Option("--window", help="LOW,HIGH in grey values, or a window of the file.")]
Invert = Annotated[bool, typer.Option("--invert", help="White and black change places.")]


class Depth(StrEnum):
    """Bits of a picture."""

    eight = "8"
    sixteen = "16"


class CodecName(StrEnum):
    """How a film is compressed; the values of `export.film.Codec`."""

    mpeg4 = "mpeg4"
    vp9 = "vp9"


class PaletteName(StrEnum):
    """Colours of times."""

    clinical = "clinical"
    safe = "safe"


@dataclass(frozen=True)
class Wanted:
    """A study with the views to export, their names, and the line of progress."""

    study: Study
    views: list[tuple[str, View]]
    progress: Progress


@contextmanager
def _reading(
    paths: list[Path],
    out: Path,
    view: str,
    native: bool = False,
    mask_frames: str = "",
    shift: str = "",
    landmark: float = 0.0,
) -> Iterator[Wanted]:
    """Open the study and subtract its views as asked."""
    from napari_clipmed.export.request import Request, parse_frames, requested
    from napari_clipmed.io import open_study

    request = Request(view, native, parse_frames(mask_frames), shift, landmark)
    with progress_line("Reading") as progress, writing_to(out):
        study = open_study(paths[0] if len(paths) == 1 else list(paths), progress)
        yield Wanted(study, requested(study, request, progress), progress)


@export.command("frames")
def export_frames(
    paths: Paths,
    out: OutFolder,
    depth: Annotated[Depth, typer.Option(help="8: what is seen; 16: what was stored.")] = Depth.eight,
    view: ViewName = "all",
    native: Native = False,
    mask_frames: MaskFrames = "",
    shift: Shift = "",
    landmark: Landmark = 0.0,
    window: Window = "",
    invert: Invert = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write numbered PNG pictures, and a list of their times, sizes and grey values."""
    with _reading(paths, out, view, native, mask_frames, shift, landmark) as wanted:
        written = _write("frames", wanted, out, window, invert, force, bits=int(depth.value))
    tell_written(written, as_json)


@export.command("tiff")
def export_tiff(
    paths: Paths,
    out: Annotated[
        Path, typer.Option(help="The .tif file; with two views, AP and LA are added to its name.")
    ],
    view: ViewName = "all",
    native: Native = False,
    mask_frames: MaskFrames = "",
    shift: Shift = "",
    landmark: Landmark = 0.0,
    window: Window = "",
    invert: Invert = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write an OME-TIFF (axes TYX) with times and pixel size: values as they are, or 8 bits with --window."""
    _check_suffix(out, (".tif", ".tiff"))
    with _reading(paths, out, view, native, mask_frames, shift, landmark) as wanted:
        written = _write("stack", wanted, out, window, invert, force)
    tell_written(written, as_json)


@export.command("mp4")
def export_mp4(
    paths: Paths,
    out: Annotated[
        Path, typer.Option(help="The .mp4 file; with two views, AP and LA are added to its name.")
    ],
    codec: Annotated[
        CodecName, typer.Option(help="mpeg4 for players such as VLC, vp9 for browsers.")
    ] = CodecName.mpeg4,
    view: ViewName = "all",
    native: Native = False,
    mask_frames: MaskFrames = "",
    shift: Shift = "",
    landmark: Landmark = 0.0,
    window: Window = "",
    invert: Invert = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write a film that plays at the time at which the run was taken."""
    from napari_clipmed.export.film import Codec

    _check_suffix(out, (".mp4",))
    with _reading(paths, out, view, native, mask_frames, shift, landmark) as wanted:
        written = _write("film", wanted, out, window, invert, force, codec=Codec(codec.value))
    tell_written(written, as_json)


@export.command("maps")
def export_maps(
    paths: Paths,
    out: OutFolder,
    palette: Annotated[
        PaletteName, typer.Option(help="clinical: red to blue; safe: for all colour vision.")
    ] = PaletteName.clinical,
    view: ViewName = "all",
    mask_frames: MaskFrames = "",
    shift: Shift = "",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Write time to peak, arrival, transit, peak and area: float32 TIFF, and PNG with a legend in seconds."""
    from napari_clipmed.export.products import Product, write_product
    from napari_clipmed.inference.colour_maps import Palette

    colours = Palette.CLINICAL if palette is PaletteName.clinical else Palette.SAFE
    with _reading(paths, out, view, mask_frames=mask_frames, shift=shift) as wanted:
        written, refusals = write_product(
            Product.MAPS,
            wanted.study,
            wanted.views,
            out,
            (),
            palette=colours,
            replace=force,
            progress=wanted.progress,
        )
    if not as_json:
        for refusal in refusals:
            console.print(f"[#E69F00]•[/] {refusal.message}", highlight=False)
    tell_written(written, as_json, [refusal.message for refusal in refusals])


def _write(
    product: str, wanted: Wanted, out: Path, window: str, invert: bool, force: bool, **options: Any
) -> list[Path]:
    """Write a product of all wanted views in one look."""
    from napari_clipmed.export.look import Look
    from napari_clipmed.export.products import Product, write_product

    written, _ = write_product(
        Product(product),
        wanted.study,
        wanted.views,
        out,
        [Look(window, invert)] * len(wanted.views),
        replace=force,
        progress=wanted.progress,
        **options,
    )
    return written


def _check_suffix(out: Path, suffixes: tuple[str, ...]) -> None:
    if out.suffix.lower() not in suffixes:
        raise ClipmedError(f"{out.name} does not end in {suffixes[0]}.", f"Name the file run{suffixes[0]}.")


def tell_written(written: list[Path], as_json: bool, notes: list[str] | None = None) -> None:
    """Say what was written, for a person or a machine."""
    if as_json:
        print_json({"files": [str(path) for path in written], "notes": notes or [], "use": RESEARCH_USE})
        return
    several = f"{len(written)} files, the first is {written[0]}" if len(written) > 1 else str(written[0])
    console.print(f"Written: {several}. {RESEARCH_USE}", highlight=False, soft_wrap=True)
