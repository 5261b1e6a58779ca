"""``napari-clipmed models``: what is installed, how good it is, and how it travels."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_clipmed.cli._app import app, console, errors, print_json
from napari_clipmed.cli._common import (
    AsJson,
    Device,
    Force,
    Workspace,
    progress_line,
    registry_of,
    writing_to,
)

if TYPE_CHECKING:
    from napari_clipmed.models.card import ModelCard, ModelEntry
    from napari_clipmed.models.registry import Registry

commands = typer.Typer(
    name="models", help="List, show, import, export and choose models.", no_args_is_help=True
)
app.add_typer(commands)


class Task(StrEnum):
    """What a model answers."""

    diagnosis = "diagnosis"
    segmentation = "segmentation"


Id = Annotated[str, typer.Argument(help="Id of the model.")]


@commands.command("list")
def list_models(as_json: AsJson = False, workspace: Workspace = None) -> None:
    """All models: shipped, your own, and those of a workspace. A star marks the default of each task."""
    registry = registry_of(workspace)
    chosen = _defaults(registry)
    if as_json:
        rows = [_row(entry) | {"default": entry.id in chosen} for entry in registry.list()]
        print_json({"models": rows, "problems": list(registry.problems())})
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table("", "id", "task", "title", "from", "made", box=None, pad_edge=False)
    for entry in registry.list():
        card = entry.card
        star = "★" if entry.id in chosen else ""
        table.add_row(star, card.id, card.task, escape(card.title), card.parent or "", card.created[:10])
    console.print(table if table.row_count else "No model is installed.")
    for problem in registry.problems():
        errors.print(f"[yellow]Left out:[/] {escape(problem)}", highlight=False)


@commands.command("show")
def show_model(model: Id, as_json: AsJson = False, workspace: Workspace = None) -> None:
    """The card of a model: data, figures, limits, licence."""
    entry = registry_of(workspace).get(model)
    if as_json:
        print_json(entry.card.model_dump(mode="json") | {"folder": str(entry.folder)})
        return
    _show_card(entry.card, entry.folder)


@commands.command("import")
def import_model(
    path: Annotated[Path, typer.Argument(help="A folder with card.json and model.safetensors.")],
    as_json: AsJson = False,
    workspace: Workspace = None,
) -> None:
    """Take in a model from elsewhere, checked and tried before it is copied."""
    entry = registry_of(workspace).import_model(path)
    if as_json:
        print_json({"id": entry.id, "folder": str(entry.folder)})
    else:
        console.print(f"{entry.id} is installed in {entry.folder}.", highlight=False)


@commands.command("export")
def export_model(
    model: Id,
    out: Annotated[Path, typer.Argument(help="The model becomes a folder in here.")],
    as_json: AsJson = False,
    workspace: Workspace = None,
) -> None:
    """Copy a model, verified, for another machine."""
    folder = registry_of(workspace).export_model(model, out)
    if as_json:
        print_json({"id": model, "folder": str(folder)})
    else:
        console.print(f"{model} was copied to {folder}.", highlight=False)


Reason = Annotated[str, typer.Option(help="Why, where it is worse than its parent; put on record.")]


@commands.command("use")
@commands.command("promote")
def promote_model(model: Id, reason: Reason = "", workspace: Workspace = None) -> None:
    """Make a model the default of its task, in this workspace or for you; a worse one needs a reason."""
    from napari_clipmed.models.promotion import promote

    entry = promote(registry_of(workspace), model, reason)
    console.print(f"{model} now answers {entry.card.task}.", highlight=False)


@commands.command("rollback")
def rollback_model(
    task: Annotated[Task, typer.Argument(help="diagnosis or segmentation.")],
    to: Annotated[str, typer.Option(help="Id of the model; default: the one before.")] = "",
    workspace: Workspace = None,
) -> None:
    """Let an earlier model answer again; nothing is removed."""
    from napari_clipmed.models.promotion import roll_back

    entry = roll_back(registry_of(workspace), task.value, to)
    console.print(f"{entry.id} answers {task.value} again.", highlight=False)


@commands.command("compare")
def compare_models_command(
    old: Id,
    new: Id,
    workspace: Annotated[Path, typer.Option(help="Folder with the cases; those frozen are judged on.")],
    out: Annotated[Path | None, typer.Option(help="Also write the page with both, as HTML.")] = None,
    device: Device = "auto",
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Two models on the frozen cases of a workspace: figures with intervals, and what changed."""
    from napari_clipmed.records import Store
    from napari_clipmed.training.finetune import compare_models, plan
    from napari_clipmed.whole_files import whole_file

    registry = registry_of(workspace)
    before, after = registry.get(old), registry.get(new)
    with Store.open(workspace, read_only=True) as store, progress_line("Reading the cases") as progress:
        what = plan(store, before.card.task, before)
        comparison, page = compare_models(store, before, after, what, progress, device)
    if out is not None:
        with writing_to(out), whole_file(out, replace=force) as path:
            path.write_text(page, encoding="utf-8")
    if as_json:
        print_json(comparison)
        return
    for name, row in comparison["figures"].items():
        words = [f"{key} {_with_interval(row[key])}" for key in ("before", "after", "difference")]
        console.print(f"{name}: {', '.join(words)}", highlight=False)
    where = "frozen" if comparison["on"] == "validation" else "training"
    console.print(
        f"On {comparison['n']} {where} cases of {comparison['patients']} patients.", highlight=False
    )


def _with_interval(row: dict[str, Any]) -> str:
    low_high = row["ci95"]
    return f"{row['value']:.3f}" + (f" ({low_high[0]:.3f} to {low_high[1]:.3f})" if low_high else "")


def _row(entry: ModelEntry) -> dict[str, Any]:
    """What a list says about a model."""
    kept = {"id", "title", "task", "architecture", "licence", "parent", "created"}
    return entry.card.model_dump(mode="json", include=kept) | {"folder": str(entry.folder)}


def _defaults(registry: Registry) -> set[str]:
    """Ids of the models that answer unless another is named."""
    tasks = {entry.card.task for entry in registry.list()}
    return {registry.default(task).id for task in tasks}


def _show_card(card: ModelCard, folder: Path) -> None:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    rows: dict[str, Any] = {
        "id": card.id,
        "task": f"{card.task} ({card.architecture})",
        "made": card.created,
        "from": card.parent,
        "data": card.data,
        "licence": card.licence,
        "command": card.command,
        "sha256": card.sha256,
        "folder": folder,
    }
    for name, value in rows.items():
        if value:
            table.add_row(name, escape(str(value)))
    console.print(f"[bold]{escape(card.title)}[/]")
    console.print(table)
    figures = list(_flat(card.metrics))
    if figures:
        shown = Table("figure", "value", box=None, pad_edge=False)
        for name, figure in figures:
            shown.add_row(escape(name), escape(figure))
        console.print(shown)
    for limit in card.limits:
        console.print(f"  [#E69F00]•[/] {escape(limit)}", highlight=False)


def _flat(metrics: dict[str, Any], before: str = "") -> list[tuple[str, str]]:
    """Nested figures as dotted names; lists stay on one line."""
    rows: list[tuple[str, str]] = []
    for name, value in metrics.items():
        if isinstance(value, dict):
            rows += _flat(value, f"{before}{name}.")
        else:
            rows.append((before + name, f"{value:.4g}" if isinstance(value, float) else str(value)))
    return rows
