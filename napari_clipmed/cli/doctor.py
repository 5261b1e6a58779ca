"""``napari-clipmed doctor``: what this installation can do, and what it lacks."""

from __future__ import annotations

from dataclasses import asdict

import typer

from napari_clipmed.cli._app import EXIT_FAILED, app, console, print_json
from napari_clipmed.cli._common import AsJson, Workspace

_MARKS = {"ok": "[#009E73]✓[/]", "warn": "[#E69F00]![/]", "fail": "[#D55E00]✗[/]"}


@app.command()
def doctor(as_json: AsJson = False, workspace: Workspace = None) -> None:
    """Check packages, device, decoders, models, folder and display. Holds no patient data."""
    from rich.markup import escape
    from rich.table import Table

    from napari_clipmed.cli._checks import State, run_checks

    checks = run_checks(workspace)
    failed = any(check.state is State.FAIL for check in checks)
    if as_json:
        print_json({"ok": not failed, "checks": [asdict(check) for check in checks]})
    else:
        table = Table(box=None, show_header=False, pad_edge=False)
        for check in checks:
            detail = escape(check.detail) + (f"\n[bold]Fix:[/] {escape(check.fix)}" if check.fix else "")
            table.add_row(_MARKS[check.state], check.name, detail)
        console.print(table)
    if failed:
        raise typer.Exit(EXIT_FAILED)
