"""What the commands that open a window by themselves share: a display, and a sandbox for what they write."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from napari_clipmed.errors import ClipmedError


def need_a_display(command: str) -> None:
    """Refuse kindly where no window can open.

    Raises
    ------
    ClipmedError
        With the way to run the command on a display that is not there.
    """
    shown = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if sys.platform.startswith("linux") and not shown and "QT_QPA_PLATFORM" not in os.environ:
        raise ClipmedError(
            "There is no display for the window.", f"Run `xvfb-run -a napari-clipmed {command}`."
        )


def sandbox(out: Path) -> None:
    """Keep the person's own napari settings, workspace and models out of it, and start afresh."""
    home = out / "home"
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    os.environ["CLIPMED_HOME"] = str(home)
    os.environ["NAPARI_CONFIG"] = str(home / "napari.yaml")
