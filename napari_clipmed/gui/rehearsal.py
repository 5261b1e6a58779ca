"""What a window does for the first time takes long; it is rehearsed before a person waits for it.

The first layer of each kind makes napari import its units and build its controls, and the graphics driver
compile its shaders and draw every letter: more than a second, which used to pass while the first study was
being hung. Invisible layers of two frames go through it right after the docks were opened.
"""

from __future__ import annotations

import string
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from napari_clipmed.gui.layers import window_is_open
from napari_clipmed.gui.lettering import draw_letters, is_drawn

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer

LETTERS = string.digits + string.ascii_letters + string.punctuation + " ·–°×"


def rehearse(viewer: napari.Viewer) -> Iterator[None]:
    """Put each kind of layer on an empty, visible canvas and take it off again, step by step.

    Nothing is done where layers are there already, or come meanwhile, or where nothing is drawn.
    """
    window = weakref.ref(viewer)
    shown: list[Layer] = []
    try:
        for make in _kinds():
            viewer_now = window()
            if viewer_now is None or _in_use(viewer_now, shown):
                return
            layer = make()
            shown.append(layer)
            viewer_now.layers.append(layer)
            del viewer_now
            yield
        yield from _letters(window, shown)
    finally:
        viewer_now = window()
        if viewer_now is not None and window_is_open(viewer_now):
            with viewer_now.layers.batched_update():  # one collection of garbage instead of one for each
                for layer in shown:
                    if layer in viewer_now.layers:
                        viewer_now.layers.remove(layer)


def _letters(window: weakref.ref[napari.Viewer], shown: list[Layer]) -> Iterator[None]:
    """Draw all letters while nobody needs the canvas; a study draws its own first."""
    for first in range(0, len(LETTERS), 2):
        viewer_now = window()
        if viewer_now is None or _in_use(viewer_now, shown):
            return
        deque(draw_letters(viewer_now, LETTERS[first : first + 2]), maxlen=0)
        del viewer_now
        yield


def _in_use(viewer: napari.Viewer, ours: list[Layer]) -> bool:
    return not is_drawn(viewer) or any(layer not in ours for layer in viewer.layers)


def _kinds() -> Iterator[Callable[[], Layer]]:
    """A picture, a heat map, a mask, a border and words, as a study will have them."""
    from napari.layers import Image, Labels, Points, Shapes

    frames = np.zeros((2, 8, 8))
    yield lambda: Image(frames.astype(np.uint16), opacity=0.0, contrast_limits=(0, 1))
    yield lambda: Image(frames.astype(np.float32), opacity=0.0, contrast_limits=(0, 1), colormap="turbo")
    yield lambda: Labels(frames.astype(np.uint8), opacity=0.0)
    yield lambda: Shapes([[[0, 0], [1, 1]]], shape_type="path", opacity=0.0)
    words = {"string": "{words}", "size": 12, "color": "black"}
    yield lambda: Points([[0.0, 0.0]], size=0.001, opacity=0.0, features={"words": ["A"]}, text=words)
