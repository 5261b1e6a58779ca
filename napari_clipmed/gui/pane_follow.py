"""The mouse acts on the view it is over: drawing tools follow it, and never write into the other view."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from napari_clipmed.gui.layers import Role, tag_of

if TYPE_CHECKING:
    import napari
    from napari.layers import Labels

    from napari_clipmed.gui.canvas import Canvas

MOVING_ABOUT = ("pan_zoom", "transform")
"""Modes of a labels layer that write nothing."""


class PaneFollow:
    """Mouse callbacks of one viewer.

    Moving over a pane with a drawing tool in hand chooses that pane's mask and hands it the tool. A stroke
    that has begun stays where it began: napari sends no move events during a drag.
    """

    def __init__(self, canvas: Canvas) -> None:
        self._canvas = weakref.ref(canvas)

    def attach(self, viewer: napari.Viewer) -> None:
        """Start listening."""
        viewer.mouse_move_callbacks.append(self.on_move)
        viewer.mouse_drag_callbacks.append(self.on_press)

    def on_move(self, viewer: napari.Viewer, event: Any) -> None:
        """Hand the drawing tool to the mask under the mouse."""
        tool, target = self._drawing_layer(viewer), self.pane(viewer, event)
        if tool is None or target is None:
            return
        tag = tag_of(tool)
        if tag is not None and tag.view_index != target:
            self._hand_over(viewer, tool, target)

    def on_press(self, viewer: napari.Viewer, event: Any) -> None:
        """Choose the pane that was clicked; refuse to draw where nothing is shown."""
        canvas, target = self._canvas(), self.pane(viewer, event)
        if canvas is None or target is None:
            return
        tool = self._drawing_layer(viewer)
        if tool is None:
            self._choose(viewer, target)
            return
        tag = tag_of(tool)
        if tag is not None and tag.view_index != target:
            self._hand_over(viewer, tool, target)
            tool = canvas.labels_layer(target)
        if canvas.outside_run(target):
            tool.mode = "pan_zoom"
            name = canvas.view_names[target]
            ended = canvas.hanging is not None and canvas.hanging.slider_frame(target) > 0
            where = "has ended here: move back" if ended else "has not begun here: move on"
            canvas.message.emit(f"The {name} run {where} in time to draw on it.")

    def pane(self, viewer: napari.Viewer, event: Any) -> int | None:
        """The view under the mouse; None between and around the panes."""
        canvas = self._canvas()
        if canvas is None or canvas.hanging is None or viewer.dims.ndisplay != 2:
            return None
        if viewer.canvas.grid.enabled:  # all panes share their world points: only the pane tells the view
            return canvas.hanging.linked.view_in(event.viewbox)
        y, x = viewer.cursor.position[-2:]
        return canvas.hanging.pane_at(y, x)

    def pixel(self, viewer: napari.Viewer, event: Any) -> tuple[int, int, int] | None:
        """View, row and column under the mouse; None beside the pictures."""
        canvas, view_index = self._canvas(), self.pane(viewer, event)
        image = None if canvas is None or view_index is None else canvas.image_layer(view_index)
        if view_index is None or image is None:
            return None
        row, column = (round(float(at)) for at in image.world_to_data(viewer.cursor.position)[-2:])
        height, width = image.data.shape[-2:]
        return (view_index, row, column) if 0 <= row < height and 0 <= column < width else None

    def _drawing_layer(self, viewer: napari.Viewer) -> Labels | None:
        """The active mask, if it has a drawing tool in hand."""
        layer = viewer.layers.selection.active
        tag = tag_of(layer) if layer is not None else None
        if tag is None or tag.role is not Role.LABELS or str(layer.mode) in MOVING_ABOUT:
            return None
        return layer

    def _hand_over(self, viewer: napari.Viewer, tool: Labels, target: int) -> None:
        canvas = self._canvas()
        if canvas is None or canvas.image_layer(target) is None:
            return
        mask = canvas.labels_layer(target)
        mask.selected_label, mask.brush_size = tool.selected_label, tool.brush_size
        mode, tool.mode = tool.mode, "pan_zoom"
        viewer.layers.selection.active = mask
        mask.mode = mode

    def _choose(self, viewer: napari.Viewer, target: int) -> None:
        """Choose the layer of the clicked view that does the job of the one chosen now."""
        canvas, active = self._canvas(), viewer.layers.selection.active
        tag = tag_of(active) if active is not None else None
        if canvas is None or tag is None or tag.view_index in (-1, target):
            return
        twins = (
            layer
            for layer in viewer.layers
            if (other := tag_of(layer)) and (other.role, other.view_index) == (tag.role, target)
        )
        chosen = next(twins, None) or canvas.image_layer(target)
        if chosen is not None:
            viewer.layers.selection.active = chosen
