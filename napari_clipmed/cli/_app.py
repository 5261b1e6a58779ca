"""The typer application, its exit codes and the one place where errors become sentences."""

from __future__ import annotations

import json
import sys
from importlib import import_module
from typing import Any

import typer
from rich.console import Console

from napari_clipmed.errors import Cancelled, ClipmedError

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_CANCELLED = 0, 1, 2, 130
"""Exit codes: done; an error that its sentence explains; wrong call (typer); cancelled by the person."""

COMMAND_MODULES = (
    "demo",
    "open_window",
    "inspect_study",
    "deidentify",
    "export",
    "export_results",
    "classify",
    "zero_shot",
    "segment",
    "mask_edit",
    "measure",
    "phantom",
    "train",
    "finetune",
    "evaluate",
    "models",
    "backbones",
    "evaluate_clip",
    "workspace",
    "record",
    "history",
    "pacs",
    "benchmark",
    "benchmark_accuracy",
    "benchmark_window",
    "worklist",
    "doctor",
)

app = typer.Typer(
    name="napari-clipmed",
    help="Cerebral DSA and chest X-ray review with CLIP-DSA and CausalCLIPSeg. "
    "Research use only, not for diagnosis.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
console = Console()
errors = Console(stderr=True)


def print_json(answer: Any) -> None:
    """Write one JSON document to standard output, for machines."""
    sys.stdout.write(json.dumps(answer, indent=2, default=str) + "\n")


def main() -> None:
    """Run the command line; the console script."""
    for name in COMMAND_MODULES:
        import_module(f"napari_clipmed.cli.{name}")
    try:
        app()
    except (Cancelled, KeyboardInterrupt):
        errors.print("Cancelled; nothing half-made was kept.")
        sys.exit(EXIT_CANCELLED)
    except ClipmedError as error:
        errors.print(f"[bold red]Error:[/] {error.message}", highlight=False)
        if error.hint:
            errors.print(f"[bold]What to do:[/] {error.hint}", highlight=False)
        sys.exit(EXIT_FAILED)
