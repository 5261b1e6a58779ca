"""AP and LA side by side on one canvas: layers, pane titles, the border of the active pane, the camera.

The views are told apart by `translate`, so that a brush stroke over the other pane falls outside the layer
and writes nothing there.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QTimer

from napari_clipmed.gui.file_graphics import file_graphics
from napari_clipmed.gui.grey_scale import GreyScale
from napari_clipmed.gui.layer_list import inserting, list_at_rest
from napari_clipmed.gui.layers import (
    NAMED,
    TAG,
    LayerTag,
    Placement,
    Role,
    describe_angles,
    image_layer,
    layer_name,
    padded,
    place_views,
    spatial,
    tag_of,
)
from napari_clipmed.gui.lettering import draw_letters
from napari_clipmed.gui.linked_zoom import LinkedZoom
from napari_clipmed.gui.theme import RESEARCH_USE, view_colour
from napari_clipmed.io.mask_settings import same_greys
from napari_clipmed.study import Kind, Projection, Study, view_names

if TYPE_CHECKING:
    import napari
    from napari.layers import Image, Layer, Points, Shapes

ROOM_PX = (76, 28)
"""Pixels of the canvas left free in height (title above, standing words below) and in width."""

TURNS_TO_DRAW = 3
"""Turns of the event loop in which Qt draws what was added: titles and border take as long to add as a
picture, and the picture is to be seen first."""

SETTLED_MS = 100
"""How long napari's panes take to follow a new size of the window."""

TITLE_SIZE = 11
TITLE_GAP = 0.006
"""Room between a title and its picture, as a fraction of the picture's width."""


class Hanging:
    """One study on one viewer's canvas.

    Parameters
    ----------
    viewer : napari.Viewer
        Held weakly.
    study : Study
        What to hang.
    images : sequence of Image, optional
        Layers of that study that a reader has already put on the canvas, in view order.
    linked_changed : callable, optional
        Told when the views were put into panes or taken out of them; see `LinkedZoom`.
    grey_changed : callable, optional
        Told when the window or inversion of a view has changed; see `GreyScale`.
    """

    def __init__(
        self,
        viewer: napari.Viewer,
        study: Study,
        images: Sequence[Image] = (),
        linked_changed: Callable[[bool, str], None] = lambda on, why: None,
        grey_changed: Callable[[int], None] = lambda index: None,
    ) -> None:
        self._viewer = weakref.ref(viewer)
        self.study = study
        self.names = view_names(study)
        self.placements = place_views(study)
        self.images = list(images) or [
            image_layer(view, index, self.names[index], self.placements[index], study.image_hash)
            for index, view in enumerate(study.views)
        ]
        self._titles: Points | None = None
        self._border: Shapes | None = None
        self.active = 0
        self.native = False
        self.unread: set[int] = set()
        self.pictures_drawn = False
        self._framed: tuple[int | None, Any, float] | None = None
        self.linked = LinkedZoom(self, linked_changed)
        self.grey = GreyScale(self, grey_changed)

    @property
    def viewer(self) -> napari.Viewer:
        """The viewer; gone only when the window is."""
        viewer = self._viewer()
        if viewer is None:
            raise RuntimeError("The viewer of this study was closed")
        return viewer

    @property
    def gone(self) -> bool:
        """Whether the viewer was closed."""
        return self._viewer() is None

    def hang(self) -> Iterator[None]:
        """Add the layers, draw titles and border, write the standing words, frame all views, step by step.

        napari takes a tenth of a second for a layer, and the first words of a window take longer, since each
        letter is drawn anew; between two steps the window may draw and answer. Pictures come first.
        """
        layers, dims = self.viewer.layers, self.viewer.dims
        if not layers and dims.ndim != self.images[0].ndim:
            # napari builds its sliders then, which is half of adding a first layer
            dims.ndim = self.images[0].ndim
            yield
        for image in self.images:
            if image not in layers:
                self._append(image)
                self.move_slider(0, 0)  # napari begins in the middle, which may not have arrived
                self.frame()
                yield
        for _ in range(TURNS_TO_DRAW):
            yield
        self.pictures_drawn = True
        yield from draw_letters(self.viewer, [self._standing_words])
        self.write_standing_words()
        yield
        for drawing in file_graphics(self.study, self.placements, self.names):
            self._append(drawing)
            yield
        self.grey.listen()
        if len(self.images) > 1:
            self._border = self._make_border()
            self._append(self._border)
            yield
        self._titles = self._make_titles()
        self._titles.text.visible = False  # words are drawn in a turn of their own
        self._append(self._titles)
        yield
        yield from draw_letters(self.viewer, self._title_words()[1])
        self._titles.text.visible = True
        yield
        layers.selection.active = self.images[0]
        self.frame()

    def _append(self, layer: Layer) -> None:
        with inserting(self.viewer) as layers:
            layers.append(layer)

    def retire(self) -> None:
        """Let go of camera and greys and take the standing words away; the layers are yet to be removed."""
        self.linked.leave()
        self.grey.stop()
        self.viewer.canvas.overlays.text.visible = False

    def insert(self, layer: Layer) -> None:
        """Add a layer below titles and border, keeping the current selection."""
        tops = [i for i, other in enumerate(self.viewer.layers) if other in (self._border, self._titles)]
        with inserting(self.viewer) as layers:
            layers.insert(min(tops, default=len(layers)), layer)

    def relabel(self, study: Study) -> None:
        """Show other projections for the same pixels: names, tags and titles change, masks stay."""
        before, self.study, self.names = self.names, study, view_names(study)
        for layer in self.viewer.layers:
            tag = tag_of(layer)
            if tag is None or tag.view_index < 0 or tag.role is Role.SPACER:
                continue
            view = study.views[tag.view_index]
            layer.metadata[TAG] = LayerTag(tag.role, tag.view_index, tag.study_hash, view.projection)
            name = self.names[tag.view_index]
            if tag.role in NAMED:
                layer.name = layer_name(name, tag.role)
            else:
                layer.name = name + layer.name.removeprefix(before[tag.view_index])
        self.redraw_titles()
        self.mark_active(self.active)

    def fits(self, study: Study) -> bool:
        """Whether a study can take the place of the one that hangs, layer by layer."""
        same = [view.source.path for view in study.views] == [view.source.path for view in self.study.views]
        return same and study.kind is self.study.kind and place_views(study) == self.linked.apart

    def complete(self, study: Study) -> None:
        """Put the whole study in the place of the provisional one; camera, slider and windows stay."""
        provisional, self.study, self.unread = self.study, study, set()
        for index, (image, view) in enumerate(zip(self.images, study.views, strict=True)):
            frames = view.native if self.native and view.native is not None else view.pixels
            image.data = padded(frames, self.placements[index].n_shown)
            if not provisional.views[index].window.resembles(view.window):
                self.grey.apply(index)
        drawn = {tag.role for layer in self.viewer.layers if (tag := tag_of(layer))}
        if not drawn & {Role.SHUTTER, Role.GRAPHICS}:
            for layer in file_graphics(study, self.placements, self.names):
                self.insert(layer)
        for layer in self.viewer.layers:
            tag = tag_of(layer)
            if tag is not None:
                layer.metadata[TAG] = replace(tag, study_hash=study.image_hash)
        self.relabel(study)

    def mark_unread(self, unread: set[int]) -> None:
        """Say over the pictures of which views the frame on screen is still being read."""
        self.unread = unread
        self.redraw_titles()

    @property
    def position(self) -> float:
        """Where the time slider stands, in milliseconds or frames; 0 where nothing moves."""
        axis = self._time_axis()
        return 0.0 if axis is None else float(self.viewer.dims.point[axis])

    @position.setter
    def position(self, position: float) -> None:
        axis = self._time_axis()
        if axis is not None:
            with list_at_rest(self.viewer):
                self.viewer.dims.set_point(axis, position)

    def slider_frame(self, index: int) -> int:
        """Frame of a view at the slider's time, rounded as napari does; may lie outside the run."""
        place = self.placements[index]
        return int(np.round((self.position - place.translate[0]) / place.scale[0]))

    def frame_of(self, index: int) -> int:
        """Frame of a view at the slider's time, kept within the run."""
        return min(max(self.slider_frame(index), 0), self.study.views[index].n_frames - 1)

    def move_slider(self, index: int, frame: int) -> None:
        """Move the slider to a frame of a view, kept within the run."""
        frame, place = min(max(frame, 0), self.study.views[index].n_frames - 1), self.placements[index]
        self.position = place.translate[0] + frame * place.scale[0]

    def _time_axis(self) -> int | None:
        """Which slider moves time, found by its label."""
        labels = tuple(self.viewer.dims.axis_labels)
        name = self.placements[0].axis_labels[0]
        return labels.index(name) if name in labels else None

    def pane_at(self, y: float, x: float) -> int | None:
        """Which view lies under a world point of the one canvas; None between and around them."""
        return next((i for i, place in enumerate(self.placements) if place.contains(y, x)), None)

    def mark_active(self, index: int) -> None:
        """Draw the border around the pane that editing goes to."""
        self.active = index
        if self.linked.on:
            self.linked.mark_active(index)
        if self._border is None or self._border not in self.viewer.layers:
            return
        self._border.data = [_rectangle(self.placements[index])]
        self._border.edge_color = [view_colour(self.names[index])]
        self._border.selected_data = set()

    def frame(self, index: int | None = None) -> None:
        """Point the camera at one view, or at all (`None`)."""
        places = self.placements if index is None else (self.placements[index],)
        boxes = np.array([place.box for place in places])
        y0, x0 = boxes[:, :2].min(axis=0)
        y1, x1 = boxes[:, 2:].max(axis=0)
        height, width = self.viewer.canvas.viewbox_size(self.viewer.layers)
        camera = self.viewer.scene.camera
        camera.center = (0.0, (y0 + y1) / 2, (x0 + x1) / 2)
        room_y, room_x = max(height - ROOM_PX[0], height / 2), max(width - ROOM_PX[1], width / 2)
        camera.zoom = min(room_y / (y1 - y0), room_x / (x1 - x0))
        self._framed = (index, camera.center, camera.zoom)

    def keep_framed(self) -> None:
        """After the canvas was resized: frame anew, unless the person has moved or zoomed since."""
        camera = self.viewer.scene.camera
        if self._framed is not None and self._framed[1:] == (camera.center, camera.zoom):
            self.frame(self._framed[0])
            if self.linked.on:
                # napari lays its panes out while it draws, and stretches their cameras then.
                QTimer.singleShot(SETTLED_MS, partial(self._frame_panes, self._framed[0]))

    def _frame_panes(self, index: int | None) -> None:
        """Frame once more when the panes have their new size."""
        if not self.gone and self.linked.on:
            self.frame(index)

    def redraw_titles(self, ended: Collection[int] = ()) -> None:
        """Write the pane titles anew; the views in `ended` have no frame at the slider's time."""
        if self._titles is None or self._titles not in self.viewer.layers:
            return
        _, words, colours = self._title_words(ended)
        self._titles.features = {"words": words}
        self._titles.text = _text(colours)

    def show_native(self, native: bool) -> bool:
        """Switch between the subtracted and the unsubtracted frames; whether any view has both."""
        changed = False
        for image, view, place in zip(self.images, self.study.views, self.placements, strict=True):
            if view.native is None:
                continue
            image.data = padded(view.native if native else view.pixels, place.n_shown)
            changed = True
        self.native = native and changed
        for index in range(len(self.images)):
            self.grey.apply(index)
        return changed

    def repaint(self, study: Study, index: int) -> None:
        """Show a view of the same run, subtracted differently; its grey window stays where it fits."""
        old, new = self.study.views[index], study.views[index]
        self.study = study
        image = self.images[index]
        native = new.native if self.native else None
        image.data = padded(new.pixels if native is None else native, self.placements[index].n_shown)
        if native is None and not same_greys(old.subtraction, new.subtraction):
            self.grey.forget(index)

    @property
    def _standing_words(self) -> str:
        return f"SIMULATED   ·   {RESEARCH_USE}" if self.study.synthetic else RESEARCH_USE

    def write_standing_words(self) -> None:
        """Keep "research use" and SIMULATED on the canvas."""
        overlay = self.viewer.canvas.overlays.text
        overlay.text = self._standing_words
        overlay.position = "bottom_center"
        overlay.font_size = 9
        overlay.visible = True

    def _make_border(self) -> Shapes:
        from napari.layers import Shapes

        place = self.placements[0]
        layer = Shapes(
            [_rectangle(place)],
            shape_type="rectangle",
            face_color="transparent",
            edge_color=view_colour(self.names[0]),
            edge_width=0.008 * (place.box[3] - place.box[1]),
            name="Active pane",
            metadata={TAG: self._canvas_tag(Role.BORDER)},
            **spatial(place, flat=True),
        )
        layer.editable = False
        return layer

    def _make_titles(self) -> Points:
        from napari.layers import Points

        places, words, colours = self._title_words()
        layer = Points(
            np.array(places),
            size=0.001,
            face_color="transparent",
            border_color="transparent",
            features={"words": words},
            text=_text(colours),
            name="Pane titles",
            metadata={TAG: self._canvas_tag(Role.TITLES)},
            **spatial(self.placements[0], flat=True),
        )
        layer.editable = False
        return layer

    def _title_words(
        self, ended: Collection[int] = ()
    ) -> tuple[list[tuple[float, float]], list[str], list[str]]:
        """Position, text and colour of each title, and of R and L beside a film."""
        places: list[tuple[float, float]] = []
        words: list[str] = []
        colours: list[str] = []
        for index, (place, name, view) in enumerate(
            zip(self.placements, self.names, self.study.views, strict=True)
        ):
            y0, x0, y1, x1 = place.box
            unread = index in self.unread  # instead of the angles: there is no room for both
            parts = [
                name,
                "being read …" if unread else describe_angles(view),
                ("run ended" if self.slider_frame(index) > 0 else "not begun") if index in ended else "",
            ]
            places.append((y0 - TITLE_GAP * (x1 - x0), x0))
            words.append("   ".join(part for part in parts if part))
            colours.append(view_colour(name))
            if self.study.kind is Kind.CHEST and view.projection in (Projection.PA, Projection.AP):
                inset, upper = 0.025 * (x1 - x0), y0 + 0.12 * (y1 - y0)
                places += [(upper, x0 + inset), (upper, x1 - 2 * inset)]
                words += ["R", "L"]
                colours += ["#FFFFFF"] * 2
        return places, words, colours

    def _canvas_tag(self, role: Role) -> LayerTag:
        return LayerTag(role, -1, self.study.image_hash)


def _text(colours: Sequence[str]) -> dict[str, Any]:
    from napari.utils.colormaps.standardize_color import transform_color

    colour = np.concatenate([transform_color(colour) for colour in colours])
    return {"string": "{words}", "anchor": "upper_left", "size": TITLE_SIZE, "color": colour}


def _rectangle(place: Placement) -> Any:
    y0, x0, y1, x1 = place.box
    return np.array([(y0, x0), (y0, x1), (y1, x1), (y1, x0)])


def image_of(hanging: Hanging, index: int) -> Image | None:
    """The image layer of a view, or None when the person removed it from the layer list."""
    image = hanging.images[index]
    return image if image in hanging.viewer.layers else None
