"""What hangs on the canvas of one viewer: the views of a study, their masks and overlays, and the slider."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_clipmed.gui.grey_scale import GreyScale
from napari_clipmed.gui.hanging import Hanging, image_of
from napari_clipmed.gui.heat_maps import HeatMaps
from napari_clipmed.gui.keys import KeyTable
from napari_clipmed.gui.layer_list import inserting, remove_in_steps
from napari_clipmed.gui.layers import Role, layer_name, place_views, tag_of
from napari_clipmed.gui.masks import Masks
from napari_clipmed.gui.pane_follow import PaneFollow
from napari_clipmed.gui.resting_thumbnails import RestingThumbnails
from napari_clipmed.study import Kind, Study, View

if TYPE_CHECKING:
    import napari
    from napari.layers import Image, Labels, Layer


class Canvas(QObject):
    """The views of one study on one viewer, and everything drawn over them.

    Attributes
    ----------
    frame_changed : Signal(object)
        Mapping of view name to the frame index now shown.
    active_view_changed : Signal(str)
        Name of the view that editing goes to.
    mask_changed : Signal(object)
        Index of the view whose mask was painted, written or undone.
    masks_exhausted : Signal(int)
        Ctrl+Z found nothing left to undo in the mask of this view.
    heat : HeatMaps
        The activation maps over the frames.
    native_changed : Signal(bool)
        Whether the unsubtracted frames are shown.
    grey_changed : Signal(int)
        Index of the view whose window or inversion has changed.
    linked_changed : Signal(bool)
        Whether the views are zoomed together, each in a pane of its own.
    message : Signal(str)
        A sentence for the person.
    """

    frame_changed = Signal(object)
    active_view_changed = Signal(str)
    mask_changed = Signal(object)
    masks_exhausted = Signal(int)
    native_changed = Signal(bool)
    grey_changed = Signal(int)
    linked_changed = Signal(bool)
    message = Signal(str)

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__()
        self._viewer = weakref.ref(viewer)
        self.hanging: Hanging | None = None
        self.masks = Masks(
            self.add_below_titles,
            lambda layer: layer in self.viewer.layers,
            self.mask_changed.emit,
            self.masks_exhausted.emit,
        )
        self.heat = HeatMaps(self)
        self.keys = KeyTable()
        self._thumbnails = RestingThumbnails(viewer, self)
        self._study: Study | None = None
        self._shown_frames: dict[str, int] = {}
        self._ended: set[int] = set()
        self._arranging = False
        self.pane_follow = PaneFollow(self)
        self.pane_follow.attach(viewer)
        viewer.dims.events.point.connect(self._on_time_moved)
        viewer.layers.selection.events.active.connect(self._on_layer_chosen)
        viewer.canvas.events.size.connect(self._on_resized)

    @property
    def viewer(self) -> napari.Viewer:
        """The napari viewer, unwrapped."""
        viewer = self._viewer()
        if viewer is None:
            raise RuntimeError("The viewer of this session was closed")
        return viewer

    @property
    def study(self) -> Study | None:
        """The open study."""
        return self._study

    def hang(self, study: Study, images: Sequence[Image] = ()) -> None:
        """Take the present study down and put another one up, at once; see `Hanging`."""
        for _ in self.hang_in_steps(study, images):
            pass

    def hang_in_steps(self, study: Study, images: Sequence[Image] = ()) -> Iterator[None]:
        """The same, with time for the window to draw and answer between the steps."""
        self.forget_study()
        yield from self.clear_in_steps(keep=images)
        self._study = study
        with self.arranging():
            self.hanging = Hanging(self.viewer, study, images, self._on_linked, self.grey_changed.emit)
        yield
        steps = self.hanging.hang()
        while self._one_more(steps):
            yield
        with self.arranging():
            for image in self.hanging.images:
                self._dress(image)
            self.go_to_frame(0, 0)

    def _one_more(self, steps: Iterator[None]) -> bool:
        """Take a step; whether there was one."""
        with self.arranging():
            return next(steps, self) is None

    def rehang(self, study: Study) -> None:
        """Show the same runs under other conclusions; masks, frame and active view stay.

        Names, tags and titles are written anew. Only where the places of the views change (another time base
        or pixel size, a swap of AP and LA) the layers are made anew; what was painted is carried over, the
        undo of the brush is not.
        """
        if self.hanging is None:
            return
        before = self.hanging
        as_film = [kind is Kind.CHEST for kind in (study.kind, before.study.kind)]  # films carry R and L
        if as_film[0] == as_film[1] and place_views(study) == before.placements:
            self._study = study
            for index, (old, new) in enumerate(zip(before.study.views, study.views, strict=True)):
                if new.pixels is not old.pixels:
                    before.repaint(before.study.with_view(index, new), index)
            before.relabel(study)
            return
        active, frame = self.active_view, self.frame_of(0)
        painted = {
            index: np.array(self.labels_layer(index).data[: view.n_frames])
            for index, view in enumerate(self._views)
            if self.has_labels(index)
        }
        native = before.native
        self.hang(study)
        for index, mask in painted.items():
            layer = self.labels_layer(index)
            for at in np.flatnonzero(mask.any(axis=(1, 2))):
                self.masks.load(layer, int(at), mask[at])
        if native:
            self.show_native(True)
        self.activate_view(active)
        self.go_to_frame(0, frame)

    def repaint(self, study: Study, index: int) -> None:
        """Show other pixels of the same run in a view's layer."""
        if self.hanging is not None:
            self._study = study
            self.hanging.repaint(study, index)

    def forget_study(self) -> None:
        """Nothing is open from now on; the layers stay until they are cleared away."""
        hanging, self.hanging = self.hanging, None
        self._study, self._shown_frames, self._ended = None, {}, set()
        self.masks.forget()
        self.heat.forget()
        if hanging is not None:
            with self.arranging():
                hanging.retire()

    def clear_in_steps(self, keep: Sequence[Image] = ()) -> Iterator[None]:
        """Remove every layer of ours but `keep`, step by step; also what an interrupted clearing left."""
        ours = [layer for layer in self.viewer.layers if tag_of(layer) and layer not in keep]
        leaving = remove_in_steps(self.viewer, ours)
        while self._one_more(leaving):
            yield

    def announce(self) -> None:
        """Say anew which view is active and which frames are shown."""
        self._shown_frames = {}
        if self.view_names:
            self.active_view_changed.emit(self.view_names[self.active_view])
        self._on_time_moved()

    # -- views and time -----------------------------------------------------------------------------------

    @property
    def view_names(self) -> tuple[str, ...]:
        """A unique short name for each view of the open study."""
        return self.hanging.names if self.hanging else ()

    def view_index(self, name: str) -> int | None:
        """Which view has this name; None for a name unknown here."""
        return self.view_names.index(name) if name in self.view_names else None

    @property
    def active_view(self) -> int:
        """Index of the view that editing goes to."""
        return self.hanging.active if self.hanging else 0

    def activate_view(self, index: int) -> None:
        """Make a view the one that editing goes to."""
        if self.hanging is None or index == self.hanging.active:
            return
        self.hanging.mark_active(index)
        self.active_view_changed.emit(self.view_names[index])

    def frame_of(self, view_index: int) -> int:
        """Frame of a view at the slider's time; kept within its run."""
        return self.hanging.frame_of(view_index) if self.hanging else 0

    def outside_run(self, view_index: int) -> bool:
        """Whether a view has no frame at the slider's time: nothing is drawn there."""
        if self.hanging is None:
            return False
        return not 0 <= self.hanging.slider_frame(view_index) < self._views[view_index].n_frames

    def go_to_frame(self, view_index: int, frame: int) -> None:
        """Move the slider to where a frame of a view is shown."""
        if self.hanging is not None:
            self.hanging.move_slider(view_index, frame)

    @property
    def time_position(self) -> float:
        """Where the time slider stands: milliseconds, or frames where there is no even time base."""
        return self.hanging.position if self.hanging else 0.0

    def go_to_position(self, position: float) -> None:
        """Move the time slider."""
        if self.hanging is not None:
            self.hanging.position = position

    def shown_frames(self) -> dict[str, int]:
        """Frame now shown of each view, by name."""
        return {name: self.frame_of(index) for index, name in enumerate(self.view_names)}

    # -- layers -------------------------------------------------------------------------------------------

    def image_layer(self, view_index: int) -> Image | None:
        """The layer that shows a view; None when the person removed it from the layer list."""
        return image_of(self.hanging, view_index) if self.hanging else None

    def labels_layer(self, view_index: int) -> Labels:
        """The editable mask of a view, made when first asked for.

        Raises
        ------
        LookupError
            When no study is open or its image layer was removed.
        """
        layer = self.masks.get(view_index)
        if layer is not None:
            return layer
        image = self.image_layer(view_index)
        if image is None:
            raise LookupError("No image to draw on; open a study first")
        return self.masks.make(view_index, image, layer_name(self.view_names[view_index], Role.LABELS))

    def has_labels(self, view_index: int) -> bool:
        """Whether a mask layer exists for a view, without making one."""
        return self.masks.get(view_index) is not None

    @property
    def classes(self) -> dict[int, str]:
        """Mask value and its title, shared by all views; changed with `name_class`."""
        return dict(self.masks.classes)

    def name_class(self, value: int, title: str) -> None:
        """Give a mask value a title; shown in napari's status bar and in the docks."""
        self.masks.name_class(value, title)

    def write_mask(
        self, view_index: int, frame: int, mask: NDArray[np.bool_], value: int, title: str = ""
    ) -> int:
        """Make the pixels of `value` in one frame exactly `mask`, as one step that Ctrl+Z takes back.

        Parameters
        ----------
        mask : (H, W) bool array
            Pixels that get `value`; other values outside it stay.
        value : int
            Mask class; 0 erases `mask`.
        title : str
            Name of the class; kept unchanged when empty.

        Returns
        -------
        int
            How many pixels changed.
        """
        layer = self.labels_layer(view_index)
        if value and title:
            self.name_class(value, title)
        return self.masks.write(layer, frame, mask, value)

    def show_native(self, native: bool) -> None:
        """Show the unsubtracted frames, where the file has them, or the subtracted ones."""
        if self.hanging is None:
            return
        if not self.hanging.show_native(native):
            self.message.emit("This study has no unsubtracted frames.")
        self.native_changed.emit(self.hanging.native)

    @property
    def showing_native(self) -> bool:
        """Whether the unsubtracted frames are on the canvas."""
        return self.hanging is not None and self.hanging.native

    @property
    def grey(self) -> GreyScale | None:
        """Window and inversion of each view of the open study."""
        return self.hanging.grey if self.hanging else None

    def layers_of(self, role: Role) -> tuple[Layer, ...]:
        """All layers now on the canvas that do one job."""
        return tuple(layer for layer in self.viewer.layers if (tag := tag_of(layer)) and tag.role is role)

    def show_layers(self, role: Role, visible: bool) -> None:
        """Show or hide all layers that do one job: the shutters, the graphics of the file."""
        for layer in self.layers_of(role):
            layer.visible = visible

    def frame_view(self, view_index: int | None = None) -> None:
        """Point the camera at one view, or at all of them."""
        if self.hanging is not None and (view_index is None or view_index < len(self._views)):
            self.hanging.frame(view_index)
            if view_index is not None:
                self.select_image(view_index)

    def link_zoom(self, linked: bool) -> None:
        """Put each view into a pane of its own, all zoomed together; or hang them side by side again."""
        if self.hanging is None:
            return
        with self.arranging():
            if not linked:
                self.hanging.linked.leave()
            elif not self.hanging.linked.enter():
                self.message.emit(f"Linked zoom is not possible now. {self.hanging.linked.obstacle()}")
                self.linked_changed.emit(False)

    @property
    def zoom_linked(self) -> bool:
        """Whether the views are zoomed together."""
        return self.hanging is not None and self.hanging.linked.on

    def select_image(self, view_index: int) -> None:
        """Make the image of a view napari's active layer, unless a layer of that view already is."""
        active = self.viewer.layers.selection.active
        tag = tag_of(active) if active is not None else None
        image = self.image_layer(view_index)
        if image is not None and (tag is None or tag.view_index != view_index):
            self.viewer.layers.selection.active = image

    def bind_key(self, key: str, action: Callable[[], object]) -> None:
        """Bind a key ("Alt-1", "Space") on the canvas and on every layer of ours, now and later."""
        self.keys.bind(self.viewer, key, action)

    def add_above(self, layer: Layer, roles: Collection[Role]) -> None:
        """Put a further layer of the study on the canvas, just above the last one of these roles."""
        layers = self.viewer.layers
        below = [i for i, other in enumerate(layers) if (tag := tag_of(other)) and tag.role in roles]
        self._dress(layer)
        with self.arranging(), inserting(self.viewer) as layers:
            layers.insert(max(below, default=-1) + 1, layer)

    # -- inside -------------------------------------------------------------------------------------------

    @property
    def _views(self) -> tuple[View, ...]:
        return self._study.views if self._study else ()

    def _on_time_moved(self, event: object = None) -> None:
        if self._study is None or self._arranging:
            return
        frames = self.shown_frames()
        ended = {index for index in range(len(self._views)) if self.outside_run(index)}
        if self.hanging is not None and ended != self._ended:
            self._ended = ended
            self.hanging.redraw_titles(ended)
        if frames != self._shown_frames:
            self._shown_frames = frames
            if self.hanging is not None:
                self.hanging.grey.follow()
            self.frame_changed.emit(frames)

    def _on_layer_chosen(self, event: object = None) -> None:
        if self._arranging:
            return
        layer = self.viewer.layers.selection.active
        tag = tag_of(layer) if layer is not None else None
        if tag is not None and tag.view_index >= 0:
            self.activate_view(tag.view_index)

    def add_below_titles(self, layer: Image | Labels) -> None:
        """Put a further layer of the study on the canvas; the chosen layer stays chosen."""
        if self.hanging is not None:
            self._dress(layer)
            with self.arranging():
                self.hanging.insert(layer)

    def _dress(self, layer: Layer) -> None:
        self.keys.dress(layer)
        self._thumbnails.put_off(layer)

    def _on_linked(self, linked: bool, why: str) -> None:
        if why:
            self.message.emit(why)
        self.linked_changed.emit(linked)

    def _on_resized(self, event: object = None) -> None:
        if self.hanging is not None:
            self.hanging.keep_framed()

    @contextmanager
    def arranging(self) -> Iterator[None]:
        """While layers come and go, the slider and the selection move without meaning."""
        before, self._arranging = self._arranging, True
        try:
            yield
        finally:
            self._arranging = before
