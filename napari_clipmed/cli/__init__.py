"""Every job that the window can start, without a window.

One module a command; each registers itself on `app` (see `_app`). Heavy imports stay inside the commands,
so that ``--help`` answers at once.
"""

from __future__ import annotations

from napari_clipmed.cli._app import app, main

__all__ = ["app", "main"]
