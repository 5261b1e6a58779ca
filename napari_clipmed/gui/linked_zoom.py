"""Linked zoom: every view in a pane of its own, moved and zoomed together, by napari's grid.

napari fills panes by counting layers, so all views must have the same number of them: hidden, empty layers
fill up. A layer that belongs to no view cannot be placed; linked zoom is then left, and AP|LA hang by
translation again.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer

from napari_clipmed.gui.layers import TAG, LayerTag, Placement, Role, spatial, tag_of
from napari_clipmed.gui.theme import view_colour

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer

    from napari_clipmed.gui.hanging import Hanging

SPACING_PX = 8
BORDER_PX = 3
NAME_SIZE = 11

ON_CANVAS = (Role.TITLES, Role.BORDER)
"""Layers over all views; hidden while each view has a pane with its own name and border."""


class LinkedZoom:
    """Grid mode of one hanging.

    Parameters
    ----------
    hanging : Hanging
        Whose views are put into panes.
    changed : callable
        Told whether linked zoom is on, and why it was left when a person did not ask for it.
    """

    def __init__(self, hanging: Hanging, changed: Callable[[bool, str], None]) -> None:
        self._hanging: Hanging = weakref.proxy(hanging)  # a circle would keep the frames
        self._changed = changed
        self._apart = hanging.placements
        self._arranging = self._waiting = False
        self.on = False

    @property
    def viewer(self) -> napari.Viewer:
        """The viewer of the hanging."""
        return self._hanging.viewer

    @property
    def apart(self) -> tuple[Placement, ...]:
        """Where the views lie, or would lie, side by side on one canvas."""
        return self._apart if self.on else self._hanging.placements

    def obstacle(self) -> str:
        """Why linked zoom cannot be entered; empty where it can."""
        if len(self._hanging.study.views) < 2:
            return "There is only one view."
        if any(image not in self.viewer.layers for image in self._hanging.images):
            return "An image was removed from the layer list."
        strangers = [layer.name for layer in self.viewer.layers if self._view_of(layer) is None]
        return f"The layer “{strangers[0]}” belongs to no view." if strangers else ""

    def enter(self) -> bool:
        """Put every view into a pane; whether that could be done."""
        if self.on or self.obstacle():
            return self.on
        self._apart = self._hanging.placements
        self.on = True
        with self._busy():
            self._move_to(_centred(self._apart))
            self._show_titles(False)
            self._arrange()
        self.mark_active(self._hanging.active)
        self._hanging.frame()
        self._listen(True)
        self._changed(True, "")
        return True

    def leave(self, why: str = "") -> None:
        """Hang the views side by side on one canvas again."""
        if not self.on:
            return
        self._listen(False)
        self.on = False
        with self._busy():
            self.viewer.canvas.grid.enabled = False
            self._remove_spacers()
            self._move_to(self._apart)
            self._show_titles(True)
        for image in self._hanging.images:
            image.name_overlay.visible = image.bounding_box.visible = False
        self._hanging.mark_active(self._hanging.active)
        self._hanging.frame()
        self._changed(False, why)

    def mark_active(self, index: int) -> None:
        """Draw the border around the pane that editing goes to."""
        for number, image in enumerate(self._hanging.images):
            colour = view_colour(self._hanging.names[number])
            box, name = image.bounding_box, image.name_overlay
            box.points, box.line_thickness, box.line_color = False, BORDER_PX, colour
            name.color, name.font_size = colour, NAME_SIZE
            box.visible, name.visible = number == index, True

    def view_in(self, viewbox: tuple[int, int] | None) -> int | None:
        """Which view lies in a pane of napari's grid, ours or one that the person switched on."""
        if viewbox is None:
            return None
        layers = self.viewer.layers
        inside = self.viewer.canvas.grid.contents_at(tuple(viewbox), layers)
        views = (self._view_of(layers[index]) for index in inside)
        return next((view for view in views if view is not None and view >= 0), None)

    # -- inside -------------------------------------------------------------------------------------------

    def _view_of(self, layer: Layer) -> int | None:
        """The view that a layer belongs to; -1 for titles and border, None for a stranger."""
        tag = tag_of(layer)
        if tag is None or (tag.view_index < 0 and tag.role not in ON_CANVAS):
            return None
        return tag.view_index

    def _arrange(self) -> None:
        """Order the layers view by view, fill up the shorter groups, and count the panes anew."""
        self._remove_spacers()
        layers = self.viewer.layers
        groups = [
            [layer for layer in layers if self._view_of(layer) == index]
            for index in range(len(self._hanging.images))
        ]
        longest = max(len(group) for group in groups)
        for index, group in enumerate(groups):
            for _ in range(longest - len(group)):
                spacer = self._spacer(index)
                layers.append(spacer)
                group.append(spacer)
        last = [layer for layer in layers if self._view_of(layer) == -1]
        for place, layer in enumerate([layer for group in [*groups, last] for layer in group]):
            if layers.index(layer) != place:
                layers.move(layers.index(layer), place)
        grid = self.viewer.canvas.grid
        grid.shape, grid.stride, grid.spacing = (1, -1), longest, SPACING_PX
        grid.enabled = True

    def _spacer(self, index: int) -> Layer:
        from napari.layers import Points

        tag = LayerTag(Role.SPACER, index, self._hanging.study.image_hash)
        place = self._hanging.placements[index]
        return Points(
            np.empty((0, 2)), name="·", visible=False, metadata={TAG: tag}, **spatial(place, flat=True)
        )

    def _remove_spacers(self) -> None:
        for layer in list(self.viewer.layers):
            if (tag := tag_of(layer)) is not None and tag.role is Role.SPACER:
                self.viewer.layers.remove(layer)

    def _move_to(self, placements: tuple[Placement, ...]) -> None:
        """Move all layers of the views from where they are to other places."""
        before, self._hanging.placements = self._hanging.placements, placements
        for layer in self.viewer.layers:
            index = self._view_of(layer)
            if index is not None and index >= 0:
                shift = np.subtract(placements[index].translate, before[index].translate)[-layer.ndim :]
                layer.translate = np.asarray(layer.translate) + shift

    def _show_titles(self, visible: bool) -> None:
        for layer in self.viewer.layers:
            if self._view_of(layer) == -1:
                layer.visible = visible

    def _listen(self, on: bool) -> None:
        layers, grid = self.viewer.layers.events, self.viewer.canvas.grid.events
        for emitter, heard in (
            (layers.inserted, self._on_layers),
            (layers.removed, self._on_layers_soon),
            (layers.reordered, self._on_layers_soon),
            (grid.enabled, self._on_grid),
        ):
            if on:
                emitter.connect(heard)
            else:
                emitter.disconnect(heard)

    def _on_layers_soon(self, event: Any = None) -> None:
        """Fill up only after the last of several layers has gone: the list may be being cleared."""
        if not self._arranging and not self._waiting:
            self._waiting = True
            QTimer.singleShot(0, self._on_layers)

    def _on_layers(self, event: Any = None) -> None:
        self._waiting = False
        if self._arranging or not self.on or self._hanging.gone:
            return
        why = self.obstacle()
        if why:
            cleared = not any(image in self.viewer.layers for image in self._hanging.images)
            self.leave("" if cleared else f"Linked zoom was left. {why}")
            return
        with self._busy():
            self._arrange()

    def _on_grid(self, event: Any = None) -> None:
        if not self._arranging and not self.viewer.canvas.grid.enabled:
            self.leave()

    @contextmanager
    def _busy(self) -> Iterator[None]:
        """While layers are moved about, the person's choice of a layer stays."""
        selection = self.viewer.layers.selection
        chosen, self._arranging = selection.active, True
        try:
            yield
        finally:
            if chosen is not None and chosen in self.viewer.layers:
                selection.active = chosen
            self._arranging = False


def _centred(placements: Sequence[Placement]) -> tuple[Placement, ...]:
    """The same views around one point, each in the middle of its pane."""
    y0, x0, y1, x1 = placements[0].box
    moved = []
    for place in placements:
        top, left, bottom, right = place.box
        shift = ((y0 + y1 - top - bottom) / 2, (x0 + x1 - left - right) / 2)
        corner = (place.translate[0], place.translate[1] + shift[0], place.translate[2] + shift[1])
        moved.append(replace(place, translate=corner))
    return tuple(moved)
