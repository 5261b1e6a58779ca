"""The workspaces that this person opened lately, newest first."""

from __future__ import annotations

import json
from pathlib import Path

from napari_clipmed.records.files import PARTIAL, write_atomically
from napari_clipmed.records.workspace import Workspace, workspace_errors

FILE = "recent-workspaces.json"
MOST = 10


def recent_workspaces(home: Path) -> list[Path]:
    """Workspaces opened lately that are there now.

    Parameters
    ----------
    home : Path
        The person's own data folder.
    """
    return [path for path in _remembered(home) if Workspace(path).exists]


def note_workspace(home: Path, root: Path) -> None:
    """Put a workspace at the head of the list.

    Raises
    ------
    WorkspaceError
        When the list cannot be written.
    """
    root = root.expanduser().absolute()
    paths = [root, *(path for path in _remembered(home) if path != root)][:MOST]
    with workspace_errors(home):
        content = json.dumps([str(path) for path in paths], indent=2) + "\n"
        write_atomically(home / FILE, content.encode(), home / PARTIAL)


def _remembered(home: Path) -> list[Path]:
    try:
        found = json.loads((home / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    return [Path(item) for item in found if isinstance(item, str)] if isinstance(found, list) else []
