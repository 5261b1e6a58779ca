"""``napari-clipmed workspace``: make, look into, check, back up and restore a workspace."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from napari_clipmed.cli._app import app, console, print_json
from napari_clipmed.cli._common import AsJson, progress_line
from napari_clipmed.errors import WorkspaceError

if TYPE_CHECKING:
    from napari_clipmed.records import Store

Folder = Annotated[Path, typer.Argument(help="The workspace folder.")]
DATABASE_HELP = "postgresql://user@server:5432/database, without a password; default: SQLite in the folder."

workspaces = typer.Typer(help="Where labels, masks and fine-tuned models are kept.", no_args_is_help=True)
app.add_typer(workspaces, name="workspace")


@workspaces.command("create")
def create_command(
    folder: Annotated[Path, typer.Argument(help="A missing or empty folder.")],
    database: Annotated[str, typer.Option("--database", help=DATABASE_HELP)] = "",
) -> None:
    """Make a new workspace; a password is read from CLIPMED_DB_PASSWORD or the system's keyring."""
    from napari_clipmed.records import Store

    with Store.create(folder, database) as store:
        _remember(store.workspace.root)
        console.print(f"New workspace: {store.workspace.root}", highlight=False)


@workspaces.command("open")
def open_command(folder: Folder) -> None:
    """Open a workspace, bring its database up to date, and put it on the list of recent ones."""
    from napari_clipmed.records import Store, Workspace

    Workspace(folder.expanduser().absolute()).check()  # a mistyped path must not become a workspace
    with Store.open(folder, fall_back=True) as store:
        _remember(store.workspace.root)
        _show(facts_of(store))


@workspaces.command("info")
def info_command(folder: Folder, as_json: AsJson = False) -> None:
    """Say what a workspace holds, changing nothing."""
    from napari_clipmed.records import Store

    with Store.open(folder, read_only=True) as store:
        facts = facts_of(store)
    print_json(facts) if as_json else _show(facts)


@workspaces.command("recent")
def recent_command(as_json: AsJson = False) -> None:
    """List the workspaces opened lately, newest first."""
    from napari_clipmed.models.registry import user_folder
    from napari_clipmed.records.recent import recent_workspaces

    found = [str(path) for path in recent_workspaces(user_folder())]
    if as_json:
        print_json(found)
    else:
        console.print("\n".join(found) or "No workspace was opened yet: napari-clipmed workspace create DIR")


@workspaces.command("check")
def check_command(folder: Folder, as_json: AsJson = False) -> None:
    """Check database and files against one another, changing nothing; exit code 1 if something is wrong."""
    from napari_clipmed.records import Store
    from napari_clipmed.records.backup import check_workspace

    with Store.open(folder, read_only=True) as store, progress_line("Checking") as progress:
        found = check_workspace(store, progress.step)
    if as_json:
        print_json(found.__dict__)
    else:
        counted = f"{found.cases} cases, {found.revisions} revisions, {found.files} files"
        console.print(f"{counted}: {'all is well' if not found.problems else 'something is wrong'}.")
        for problem in found.problems:
            console.print(f"- {problem}", highlight=False, markup=False)
        if found.unused:
            console.print(f"{found.unused} files belong to no row; they do no harm.")
    if found.problems:
        raise typer.Exit(1)


@workspaces.command("backup")
def backup_command(
    folder: Folder,
    out: Annotated[Path, typer.Option("--out", help="The backup, a zip file that must not exist.")],
) -> None:
    """Write everything into one file, while the workspace may be in use; every file is checked afterwards."""
    from napari_clipmed.records import Store
    from napari_clipmed.records.backup import back_up

    with Store.open(folder, read_only=True) as store, progress_line("Backing up") as progress:
        size = back_up(store, out, progress.step)
    console.print(f"Backed up to {out} ({size / 1e6:.1f} MB); every file in it was checked.", highlight=False)


@workspaces.command("restore")
def restore_command(
    backup: Annotated[Path, typer.Argument(help="The backup.")],
    folder: Annotated[Path, typer.Argument(help="A missing or empty folder.")],
    database: Annotated[str, typer.Option("--database", help=DATABASE_HELP)] = "",
) -> None:
    """Make a workspace of a backup; nothing is overwritten."""
    from napari_clipmed.records.backup import restore_backup

    with progress_line("Restoring") as progress:
        place = restore_backup(backup, folder, database=database, tell=progress.step)
    _remember(place.root)
    console.print(f"Restored to {place.root}", highlight=False)


@workspaces.command("password")
def password_command(folder: Folder) -> None:
    """Store the database's password in the system's keyring; it is written nowhere else."""
    from napari_clipmed.credentials import keep_password
    from napari_clipmed.records import Workspace
    from napari_clipmed.records.postgresql import keyring_service, parse_url

    place = Workspace(folder.expanduser().absolute())
    place.check()
    if not place.database_url:
        raise WorkspaceError("The database of this workspace is a file and has no password.")
    url = parse_url(place.database_url)
    password = typer.prompt(f"Password of {url.username} at {url.host}", hide_input=True)
    keep_password(keyring_service(url), url.username or "", password)
    console.print("The password is in the system's keyring.")


def facts_of(store: Store) -> dict[str, Any]:
    """What a workspace holds, as plain data."""
    place = store.workspace
    conflicts = store.conflicts()
    return {
        "folder": str(place.root),
        "database": place.database_url or "SQLite in the folder",
        "read_only_because": store.notice,
        "cases": len(store.cases()),
        "labelled": len(store.current_labels()),
        "masks": len(store.all_current_masks()),
        "revisions": len(store.revisions()),
        "conflicts": len(conflicts),
        "readers": sorted({r.author for r in store.revisions() if r.author}),
        "models": sorted(path.name for path in place.models.glob("[!.]*") if path.is_dir()),
    }


def _show(facts: dict[str, Any]) -> None:
    for name, value in facts.items():
        shown = ", ".join(value) if isinstance(value, list) else value
        if shown != "":
            console.print(f"{name.replace('_', ' ')}: {shown}", highlight=False, markup=False)


def _remember(root: Path) -> None:
    from napari_clipmed.models.registry import user_folder
    from napari_clipmed.records.recent import note_workspace

    note_workspace(user_folder(), root)
