"""Putting layers into napari's list and taking them out, without what napari does beside (napari 0.9.2)."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtCore import QTimer

from napari_clipmed.gui.layers import STUDY, window_is_open

if TYPE_CHECKING:
    import napari
    from napari.components import LayerList
    from napari.layers import Layer


@contextmanager
def inserting(viewer: napari.Viewer) -> Iterator[LayerList]:
    """Around insertions: what is new does not become the active layer, and is drawn when others had a turn.

    Showing the controls of a layer takes napari as long as drawing it, and there is no public way around it.
    """
    layers = viewer.layers
    before, layers._activate_on_insert = layers._activate_on_insert, False
    try:
        with undrawn(viewer):
            yield layers
    finally:
        layers._activate_on_insert = before


@contextmanager
def undrawn(viewer: napari.Viewer) -> Iterator[None]:
    """Layers come and go without the canvas being drawn; that follows in a turn of the event loop of its own.

    Otherwise Qt draws at once what napari's slider, shown or hidden, makes another size: one long wait.
    """
    if not window_is_open(viewer):
        yield
        return
    canvas = viewer.window._qt_viewer.canvas.native
    canvas.setUpdatesEnabled(False)
    try:
        yield
    finally:
        window = weakref.ref(viewer)
        QTimer.singleShot(0, lambda: _draw_again(window))


def _draw_again(window: weakref.ref[napari.Viewer]) -> None:
    viewer = window()
    if viewer is not None and window_is_open(viewer):
        viewer.window._qt_viewer.canvas.native.setUpdatesEnabled(True)


@contextmanager
def list_at_rest(viewer: napari.Viewer) -> Iterator[None]:
    """While only the frame changes, napari's list of layers looks the same and is not painted anew.

    It hears of everything again as soon as somebody who follows the frame adds, removes or moves a layer.
    """
    if not window_is_open(viewer):
        yield
        return
    model, events = viewer.window._qt_viewer.layers.model().sourceModel(), viewer.layers.events
    before = model.blockSignals(True)

    def hear_again(event: object = None) -> None:
        model.blockSignals(before)

    changes = (events.inserting, events.removing, events.moving)
    for change in changes:
        change.connect(hear_again)  # the latest to connect is told first: before the list
    try:
        yield
    finally:
        for change in changes:
            change.disconnect(hear_again)
        hear_again()


def remove_in_steps(viewer: napari.Viewer, leaving: Sequence[Layer]) -> Iterator[None]:
    """Remove layers for good, with time for the window to draw and answer between the steps.

    One in each step: napari takes 40 ms for a layer, and 20 more to collect its garbage.
    """
    layers = viewer.layers
    for layer in reversed(leaving):
        if layer in layers:
            with undrawn(viewer), layers.batched_update():
                layers.remove(layer)
                let_go(layer)
        yield


def let_go(layer: Layer) -> None:
    """Take the frames or masks out of a layer that left the canvas: napari itself keeps the layer for good.

    The canvas stays connected to the overlays of every layer that it ever showed.
    """
    from napari.layers import Image, Labels

    if isinstance(layer, Image | Labels):
        layer.metadata.pop(STUDY, None)
        channels = layer.data.shape[-1:] if getattr(layer, "rgb", False) else ()
        layer.data = np.zeros((1,) * layer.ndim + channels, layer.data.dtype)
