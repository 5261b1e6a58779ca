"""``models backbones``, ``models backbone`` and ``models convert``: the towers that a model can stand on."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from napari_clipmed.cli._app import console, print_json
from napari_clipmed.cli._common import AsJson, progress_line
from napari_clipmed.cli.models import commands
from napari_clipmed.errors import ModelError

SPEC_HELP = (
    "clip-compact, RN50:openai, NAME@FILE, FILE, hf-hub:OWNER/NAME, local-dir:FOLDER; see `models backbones`."
)


@commands.command("backbones")
def list_backbones(as_json: AsJson = False) -> None:
    """Backbones that are offered by name, and whether they are on this computer."""
    from rich.markup import escape
    from rich.table import Table

    from napari_clipmed.models.backbone_list import known_backbones
    from napari_clipmed.models.backbone_source import is_here

    known = known_backbones()
    if as_json:
        print_json(
            {
                "backbones": [
                    vars(entry) | {"here": is_here(entry.spec), "lacks": entry.lacks} for entry in known
                ]
            }
        )
        return
    table = Table("", "backbone", "here", "licence", box=None, pad_edge=False)
    table.columns[1].overflow = "fold"
    for entry in known:
        state = f"needs {entry.lacks}" if entry.lacks else "yes" if is_here(entry.spec) else "download"
        table.add_row(escape(entry.title), escape(entry.spec), state, escape(entry.licence))
    console.print(table)
    console.print(
        "Also: a checkpoint as NAME@FILE, a folder as local-dir:FOLDER, any hf-hub:OWNER/NAME.", style="dim"
    )


@commands.command("backbone")
def show_backbone(
    spec: Annotated[str, typer.Argument(help=SPEC_HELP)],
    load: Annotated[
        bool, typer.Option("--load", help="Download and load its weights, to see that they fit.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """What a backbone is: towers, sizes, how pictures are prepared, and what to know before using it."""
    from rich.markup import escape
    from rich.table import Table

    from napari_clipmed.models.backbone_list import describe_backbone

    with progress_line("Looking it up") as progress:
        facts = describe_backbone(spec, weights=load, progress=progress)
    if as_json:
        print_json(facts)
        return
    notes = facts.pop("notes")
    console.print(f"[bold]{escape(str(facts.pop('title')))}[/]")
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    for name, value in facts.items():
        if value != "":
            table.add_row(name.replace("_", " "), escape(_words(value)))
    console.print(table)
    if load:
        console.print("Its weights were loaded and fit.")
    for note in notes:
        console.print(f"  [#E69F00]•[/] {escape(note)}", highlight=False)


@commands.command("convert")
def convert_command(
    archive: Annotated[Path, typer.Argument(help="OpenAI's TorchScript archive, RN50.pt for instance.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write; default: your data folder, where the archive's name finds it."),
    ] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="You trust the file: opening it runs a program in it, once.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Convert OpenAI's archive into safetensors, once, after asking."""
    from napari_clipmed.models.archive_conversion import convert_archive
    from napari_clipmed.models.archive_words import RISK

    if not trust and sys.stdin.isatty() and not as_json:
        console.print(RISK, highlight=False)
        trust = typer.confirm(f"Open {archive.name}?", default=False)
        if not trust:
            raise ModelError(f"{archive.name} was not converted.")
    with progress_line("Converting") as progress:
        folder = convert_archive(archive, out, trusted=trust, progress=progress)
    if as_json:
        print_json({"spec": f"local-dir:{folder}", "folder": str(folder)})
    else:
        console.print(f"Converted; name it local-dir:{folder} or {archive}.", highlight=False)


def _words(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(part if isinstance(part, str) else f"{part:.4g}" for part in value)
    return str(value)
