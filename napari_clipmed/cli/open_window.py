"""`napari-clipmed open`: the window, with studies in it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from napari_clipmed.cli._app import app


@app.command("open")
def open_window(
    paths: Annotated[
        list[Path] | None,
        typer.Argument(help="A run, a film, several files of one examination, or its folder.", exists=True),
    ] = None,
) -> None:
    """Open the review window with all docks, and the given study in it."""
    import napari

    from napari_clipmed.gui.commands import add_docks
    from napari_clipmed.gui.session import session_for

    viewer = napari.Viewer(title="CLIP-Med")
    add_docks(viewer)
    if paths:
        session_for(viewer).open_paths(paths)
    napari.run()
