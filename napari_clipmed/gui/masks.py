"""Editable masks of the open study: one Labels layer a view, every write of ours one step of undo."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_clipmed.gui.grey_brush import Limit, limit_brush
from napari_clipmed.gui.layers import labels_layer, mask_colours, tag_of

DEFAULT_CLASSES = {1: "finding"}


class Masks:
    """The Labels layers of one session.

    Parameters
    ----------
    add : callable
        Puts a new layer on the canvas.
    on_canvas : callable
        Whether a layer is still there; the person may remove it from the layer list.
    painted : callable
        Told the view index after every change: painted, written, undone, redone.
    exhausted : callable
        Told the view index when Ctrl+Z finds nothing left to undo in its layer.
    """

    def __init__(
        self,
        add: Callable[[Labels], None],
        on_canvas: Callable[[Labels], bool],
        painted: Callable[[int], None],
        exhausted: Callable[[int], None],
    ) -> None:
        self.classes: dict[int, str] = dict(DEFAULT_CLASSES)
        self._add, self._on_canvas, self._painted, self._exhausted = add, on_canvas, painted, exhausted
        self._layers: dict[int, Labels] = {}
        self.brush_limit: Limit | None = None

    def get(self, view_index: int) -> Labels | None:
        """The mask of a view, if there is one."""
        layer = self._layers.get(view_index)
        return layer if layer is not None and self._on_canvas(layer) else None

    def make(self, view_index: int, image: Image, name: str) -> Labels:
        """Lay an empty mask over an image."""
        layer = labels_layer(image, name)
        layer.events.paint.connect(self._on_paint)
        limit_brush(layer, view_index, lambda: self.brush_limit)
        layer.bind_key("Control-Z", self._undo, overwrite=True)
        layer.bind_key("Control-Shift-Z", self._redo, overwrite=True)
        self._layers[view_index] = layer
        self._dress(layer)
        self._add(layer)
        return layer

    def forget(self) -> None:
        """Another study: its layers are removed elsewhere."""
        self._layers = {}

    def name_class(self, value: int, title: str) -> None:
        """Give a mask value a title; napari's status bar shows it under the mouse."""
        self.classes[value] = title
        for layer in self._layers.values():
            self._dress(layer)

    def write(self, layer: Labels, frame: int, mask: NDArray[np.bool_], value: int) -> int:
        """Make the pixels of `value` in one frame exactly `mask`; see `ReviewSession.write_mask`."""
        before = np.asarray(layer.data[frame])
        if mask.shape != before.shape:
            raise ValueError(f"A mask of {mask.shape} for frames of {before.shape}")
        own = (before == value) & (value > 0)
        after = np.where(mask, value, np.where(own, 0, before))
        changed = self.change(layer, {frame: after})
        if value:
            layer.selected_label = value
        return changed

    def change(self, layer: Labels, frames: Mapping[int, NDArray[np.integer]]) -> int:
        """Make frames of a mask what is given, all of them as one step of undo.

        Parameters
        ----------
        frames : mapping of int to (H, W) int array
            Mask values of the whole frame, by frame index.

        Returns
        -------
        int
            How many pixels changed.
        """
        places, values = [], []
        for frame, labels in frames.items():
            rows, columns = np.nonzero(np.asarray(layer.data[frame]) != labels)
            places.append(np.stack([np.full_like(rows, frame), rows, columns]))
            values.append(labels[rows, columns])
        where = np.concatenate(places, axis=1)
        if where.size:
            # Assigning `layer.data` would keep napari's old undo history and corrupt it.
            with layer.block_history():
                layer.data_setitem(tuple(where), np.concatenate(values))
        return int(where.shape[1])

    def load(self, layer: Labels, frame: int, labels: NDArray[np.integer]) -> None:
        """Show a frame as it was saved.

        Over marks that can still be undone it is written as one more step; otherwise it becomes what
        Ctrl+Z ends at, so that undoing does not erase what was saved.

        Parameters
        ----------
        labels : (H, W) int array
            Mask values of the whole frame.
        """
        if np.array_equal(layer.data[frame], labels):
            return
        if _can_undo(layer):
            self.change(layer, {frame: labels})
            return
        layer.data[frame] = labels
        layer._redo_history.clear()  # its steps start from other values; napari has no public call for this
        layer.refresh()

    def _dress(self, layer: Labels) -> None:
        values = sorted(self.classes)
        layer.colormap = mask_colours(self.classes)
        layer.features = {"index": values, "name": [self.classes[value] for value in values]}

    def _on_paint(self, event: Any) -> None:
        self._tell(event.source)

    def _undo(self, layer: Labels) -> None:
        tag = tag_of(layer)
        if tag is not None and not _can_undo(layer):
            self._exhausted(tag.view_index)
            return
        layer.undo()
        self._tell(layer)

    def _redo(self, layer: Labels) -> None:
        layer.redo()
        self._tell(layer)

    def _tell(self, layer: Labels) -> None:
        tag = tag_of(layer)
        if tag is not None:
            self._painted(tag.view_index)


def _can_undo(layer: Labels) -> bool:
    """Whether napari has a step to undo; it offers no public way to ask."""
    return bool(layer._undo_history)
