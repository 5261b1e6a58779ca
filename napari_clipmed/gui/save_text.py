"""Saving a table where the person says."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtWidgets import QFileDialog, QWidget

from napari_clipmed.errors import ClipmedError
from napari_clipmed.whole_files import whole_file


def ask_and_save(parent: QWidget, title: str, name: str, text: str) -> str:
    """Ask for a file and write a short text into it, whole or not at all.

    Returns
    -------
    str
        What was done, for the person; empty where nothing was chosen.
    """
    path, _ = QFileDialog.getSaveFileName(parent, title, str(Path.home() / name), "Tables (*.csv)")
    if not path:
        return ""
    target = Path(path)
    try:
        with whole_file(target, replace=True) as unfinished:
            unfinished.write_text(text, encoding="utf-8")
    except ClipmedError as error:
        return f"{error.message} {error.hint}"
    except OSError as error:
        return f"Nothing could be written to {target.name} ({error.strerror or error}). Choose another place."
    return f"Saved as {target}."
