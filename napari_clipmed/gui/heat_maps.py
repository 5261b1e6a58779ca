"""The activation maps that lie over the frames of a study: laid once, scrubbing computes nothing further."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_clipmed.gui.cam_overlay import cam_layers
from napari_clipmed.gui.layers import TAG, Role

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_clipmed.gui.canvas import Canvas
    from napari_clipmed.inference.results import Saliency


class HeatMaps(QObject):
    """At most one saliency over the views of a canvas.

    Parameters
    ----------
    canvas : Canvas

    Attributes
    ----------
    changed : Signal(object)
        The `Saliency` now laid over the frames, or None.
    """

    changed = Signal(object)

    def __init__(self, canvas: Canvas) -> None:
        super().__init__(canvas)
        self._canvas = canvas
        self._saliency: Saliency | None = None

    @property
    def saliency(self) -> Saliency | None:
        """The activation maps now laid over the frames."""
        return self._saliency

    @property
    def layers(self) -> tuple[Image, ...]:
        """The overlays now on the canvas."""
        return self._canvas.layers_of(Role.CAM)

    def show(self, saliency: Saliency, opacity: float = 0.7) -> None:
        """Lay activation maps over their views, at once."""
        for _ in self.show_in_steps(saliency, opacity):
            pass

    def show_in_steps(self, saliency: Saliency, opacity: float = 0.7) -> Iterator[None]:
        """The same, view by view; ends early when another map is asked for, or none."""
        self._saliency, canvas = saliency, self._canvas
        if canvas.hanging is not None:
            views = {name: index for name in saliency.maps if (index := canvas.view_index(name)) is not None}
            shown = {layer.metadata[TAG].view_index: layer for layer in self.layers}
            self._remove(keep=views.values())
            for layer in cam_layers(saliency, views, canvas.hanging, shown):
                layer.opacity = opacity
                if layer not in shown.values():
                    canvas.add_below_titles(layer)
                yield
                if self._saliency is not saliency:
                    return
        self.changed.emit(saliency)

    def hide(self) -> None:
        """Remove the overlays."""
        self._remove()
        self.forget()

    def forget(self) -> None:
        """There is no map from now on; the overlays are removed elsewhere."""
        if self._saliency is not None:
            self._saliency = None
            self.changed.emit(None)

    def toggle(self) -> None:
        """Show or hide the overlays without forgetting them."""
        layers = self.layers
        if not layers:
            self._canvas.message.emit("No heat map yet: classify the study first.")
        visible = any(layer.visible for layer in layers)
        for layer in layers:
            layer.visible = not visible

    def _remove(self, keep: Collection[int] = ()) -> None:
        """Remove the overlays of all views but those in `keep`."""
        with self._canvas.arranging():
            for layer in self.layers:
                if layer.metadata[TAG].view_index not in keep:
                    self._canvas.viewer.layers.remove(layer)
