"""Letters are drawn a few at a time, before the words that need them: one takes eight milliseconds.

napari keeps each letter of a font as a small picture and draws those that it lacks while it draws the window,
so that a line of new words stopped it for a tenth of a second.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from napari_clipmed.gui.layers import window_is_open

if TYPE_CHECKING:
    import napari

A_TURN_S = 0.02
"""So long letters are drawn before the window may answer again."""


def is_drawn(viewer: napari.Viewer) -> bool:
    """Whether a viewer has a window that is on the screen."""
    return window_is_open(viewer) and viewer.window._qt_window.isVisible()


def draw_letters(viewer: napari.Viewer, words: Iterable[str]) -> Iterator[None]:
    """Have every letter of these words ready for the canvas, step by step; those it has take no time."""
    if not is_drawn(viewer):
        return
    info = viewer.window._qt_viewer.canvas.font_info()
    font = info.font_manager.get_font(info.face)
    began = time.perf_counter()
    for letter in sorted(set("".join(words))):
        font[letter]
        if time.perf_counter() - began > A_TURN_S:
            yield
            if not is_drawn(viewer):
                return
            began = time.perf_counter()
