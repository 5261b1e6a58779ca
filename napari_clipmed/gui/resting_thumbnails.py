"""The small pictures in napari's list of layers follow when the slider rests, not frame by frame.

napari makes them anew for every frame and then paints the whole list: a third of the time that a frame takes.
"""

from __future__ import annotations

import weakref
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from napari_clipmed.gui.layers import tag_of

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer

REST_MS = 300


class RestingThumbnails(QObject):
    """Puts off the thumbnails of our layers until none was asked for during `REST_MS`.

    Parameters
    ----------
    viewer : napari.Viewer
        Held weakly.
    parent : QObject
    """

    def __init__(self, viewer: napari.Viewer, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)
        self._waiting: weakref.WeakSet[Layer] = weakref.WeakSet()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(REST_MS)
        self._timer.timeout.connect(self._draw)

    def put_off(self, layer: Layer) -> None:
        """Have a layer wait with its thumbnails from now on; the present one stays meanwhile."""
        layer._update_thumbnail = partial(_ask, weakref.ref(self), weakref.ref(layer))

    def ask(self, layer: Layer) -> None:
        """A layer looks different now."""
        self._waiting.add(layer)
        self._timer.start()

    def _draw(self) -> None:
        viewer = self._viewer()
        for layer in list(self._waiting):
            if viewer is not None and layer in viewer.layers and tag_of(layer):
                type(layer)._update_thumbnail(layer)
        self._waiting.clear()


def _ask(thumbnails: weakref.ref[RestingThumbnails], layer: weakref.ref[Layer]) -> None:
    waiting, who = thumbnails(), layer()
    if waiting is not None and who is not None:
        waiting.ask(who)
