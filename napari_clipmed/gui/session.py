"""What is open in one napari window; the one object that all docks share.

A session is found again with `session_for(viewer)`, from any dock and through napari's proxies. It holds the
viewer weakly and dies with it. All methods belong to the GUI thread except `engine` and `store`, which belong
to jobs.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_clipmed.gui.backend import Backend
from napari_clipmed.gui.cam_overlay import cam_layers
from napari_clipmed.gui.hanging import Hanging, image_of
from napari_clipmed.gui.jobs import JobRunner
from napari_clipmed.gui.keys import bind_session_keys
from napari_clipmed.gui.layers import Role, handed_over, layer_name, tag_of
from napari_clipmed.gui.masks import Masks
from napari_clipmed.gui.pane_follow import PaneFollow
from napari_clipmed.gui.settings import Settings, read_settings
from napari_clipmed.progress import Progress
from napari_clipmed.study import Projection, Study

if TYPE_CHECKING:
    import napari
    from napari.layers import Image, Labels
    from qtpy.QtWidgets import QWidget

    from napari_clipmed.inference.engine import Engine
    from napari_clipmed.inference.results import Diagnosis, Saliency
    from napari_clipmed.models.registry import Registry
    from napari_clipmed.records import Store


class ReviewSession(QObject):
    """Study, answers, jobs and layers of one viewer.

    Attributes
    ----------
    study_changed, diagnosis_changed, saliency_changed : Signal(object)
        The new `Study`, `Diagnosis` or `Saliency`, or None.
    frame_changed : Signal(object)
        Mapping of view name to the frame index now shown.
    active_view_changed : Signal(str)
        Name of the view that editing goes to.
    mask_changed : Signal(object)
        Index of the view whose mask was painted, written or undone.
    models_changed : Signal(str)
        Another model was chosen for this task ("diagnosis" or "segmentation").
    native_changed : Signal(bool)
        Whether the unsubtracted frames are shown.
    open_failed : Signal(object)
        The `ClipmedError` that kept a study from opening.
    message : Signal(str)
        A sentence for the person.
    jobs : JobRunner
        Work off the GUI thread.
    """

    study_changed = Signal(object)
    diagnosis_changed = Signal(object)
    saliency_changed = Signal(object)
    frame_changed = Signal(object)
    active_view_changed = Signal(str)
    mask_changed = Signal(object)
    models_changed = Signal(str)
    native_changed = Signal(bool)
    open_failed = Signal(object)
    message = Signal(str)

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__()
        self._viewer = weakref.ref(viewer)
        self.jobs = JobRunner(self)
        self.hanging: Hanging | None = None
        self._study: Study | None = None
        self._diagnosis: Diagnosis | None = None
        self._saliency: Saliency | None = None
        self.backend = Backend()
        self.masks = Masks(self._add, lambda layer: layer in self.viewer.layers, self.mask_changed.emit)
        self._shown_frames: dict[str, int] = {}
        self._ended: set[int] = set()
        self.strip: QWidget | None = None
        self._keys: dict[str, Callable[[], object]] = {}
        self._arranging = False
        viewer.dims.events.point.connect(self._on_time_moved)
        viewer.layers.selection.events.active.connect(self._on_layer_chosen)
        viewer.layers.events.inserted.connect(self._on_inserted)
        self._pane_follow = PaneFollow(self)
        self._pane_follow.attach(viewer)
        bind_session_keys(self)
        self._adopt()

    # -- what is open -------------------------------------------------------------------------------------

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

    @property
    def diagnosis(self) -> Diagnosis | None:
        """Answer of the diagnosis model about the open study."""
        return self._diagnosis

    @diagnosis.setter
    def diagnosis(self, diagnosis: Diagnosis | None) -> None:
        self._diagnosis = diagnosis
        self.diagnosis_changed.emit(diagnosis)

    @property
    def saliency(self) -> Saliency | None:
        """The activation maps now laid over the frames; set by `show_saliency`."""
        return self._saliency

    def open_paths(self, paths: Iterable[str | Path]) -> None:
        """Read files or one folder off the GUI thread, then show the study."""
        chosen = [Path(path) for path in paths]
        if not chosen:
            return

        def read(progress: Progress) -> Study:
            from napari_clipmed.io import open_study

            progress.step(f"Reading {chosen[0].name}")
            return open_study(chosen[0] if len(chosen) == 1 else chosen)

        self.jobs.start(
            read,
            title=f"Open {chosen[0].name}",
            on_done=self.show_study,
            on_error=self.open_failed.emit,
            key="open",
        )

    def show_study(self, study: Study, images: Sequence[Image] = ()) -> None:
        """Hang a study; the one shown before is closed.

        Parameters
        ----------
        images : sequence of Image
            Layers of this study that a napari reader has added already.
        """
        with self._quiet():
            self._clear(keep=images)
            self._study = study
            self.hanging = Hanging(self.viewer, study, images)
            self.hanging.hang()
            for image in self.hanging.images:
                self._bind_to(image)
            self.go_to_frame(0, 0)
        self.study_changed.emit(study)
        self.active_view_changed.emit(self.view_names[0])
        self._on_time_moved()

    def close_study(self) -> None:
        """Take the study off the canvas and forget its answers."""
        if self._study is not None:
            with self._quiet():
                self._clear()
            self.study_changed.emit(None)

    def relabel_view(self, index: int, projection: Projection) -> None:
        """Overrule the projection of a view; pixels and masks stay, the answers no longer hold."""
        if self._study is None or self.hanging is None:
            return
        view = self._study.views[index].relabelled(projection)
        self._study = self._study.with_view(index, view)
        self._forget_answers()
        self.hanging.relabel(self._study)
        self._shown_frames = {}
        self.study_changed.emit(self._study)
        self.active_view_changed.emit(self.view_names[self.active_view])
        self._on_time_moved()

    # -- views and time -----------------------------------------------------------------------------------

    @property
    def view_names(self) -> tuple[str, ...]:
        """A unique short name for each view of the open study."""
        return self.hanging.names if self.hanging else ()

    def view_index(self, name: str) -> int | None:
        """Which view a name in a diagnosis or saliency means; None for a name unknown here."""
        if self._diagnosis is not None and name in self._diagnosis.view_index:
            return self._diagnosis.view_index[name]
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
        """Frame of a view at the slider's time; the last one where the run has already ended."""
        return min(self._raw_frame(view_index), self._views[view_index].n_frames - 1)

    def past_end(self, view_index: int) -> bool:
        """Whether the slider stands behind the last frame of a (shorter) view: nothing is drawn there."""
        return self._raw_frame(view_index) >= self._views[view_index].n_frames

    def go_to_frame(self, view_index: int, frame: int) -> None:
        """Move the slider to where a frame of a view is shown."""
        axis = self._time_axis()
        if self.hanging is None or axis is None:
            return
        frame = int(np.clip(frame, 0, self._views[view_index].n_frames - 1))
        self.viewer.dims.set_point(axis, frame * self.hanging.placements[view_index].scale[0])

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

    def show_saliency(self, saliency: Saliency, opacity: float = 0.7) -> None:
        """Lay activation maps over their views; scrubbing computes nothing further."""
        self._remove_cams()
        self._saliency = saliency
        if self.hanging is not None:
            views = {name: index for name in saliency.maps if (index := self.view_index(name)) is not None}
            for layer in cam_layers(saliency, views, self.hanging):
                layer.opacity = opacity
                self._add(layer)
        self.saliency_changed.emit(saliency)

    def hide_saliency(self) -> None:
        """Remove the overlay."""
        self._remove_cams()
        if self._saliency is not None:
            self._saliency = None
            self.saliency_changed.emit(None)

    def toggle_saliency(self) -> None:
        """Show or hide the overlay without forgetting it."""
        layers = self.cam_layers()
        if not layers:
            self.message.emit("No heat map yet: classify the study first.")
        visible = any(layer.visible for layer in layers)
        for layer in layers:
            layer.visible = not visible

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

    def frame_view(self, view_index: int | None = None) -> None:
        """Point the camera at one view, or at all of them."""
        if self.hanging is not None and (view_index is None or view_index < len(self._views)):
            self.hanging.frame(view_index)
            if view_index is not None:
                self.select_image(view_index)

    def select_image(self, view_index: int) -> None:
        """Make the image of a view napari's active layer, unless a layer of that view already is."""
        active = self.viewer.layers.selection.active
        tag = tag_of(active) if active is not None else None
        image = self.image_layer(view_index)
        if image is not None and (tag is None or tag.view_index != view_index):
            self.viewer.layers.selection.active = image

    def bind_key(self, key: str, action: Callable[[], object]) -> None:
        """Bind a key on the canvas and on every layer of ours, now and later.

        Parameters
        ----------
        key : str
            As napari writes it: "Alt-1", "Space".
        """
        self._keys[key] = action
        self.viewer.bind_key(key, _ignoring_argument(action), overwrite=True)
        for layer in self.viewer.layers:
            if tag_of(layer) is not None:
                layer.bind_key(key, _ignoring_argument(action), overwrite=True)

    def cam_layers(self) -> tuple[Image, ...]:
        """The overlays now on the canvas."""
        return tuple(layer for layer in self.viewer.layers if (tag := tag_of(layer)) and tag.role is Role.CAM)

    # -- settings, models, records (jobs only: engine, store) ---------------------------------------------

    @property
    def settings(self) -> Settings:
        """The preferences as they are now."""
        return read_settings()

    @property
    def workspace(self) -> Path:
        """Folder of labels, masks and fine-tuned models."""
        return self.settings.workspace_path

    def registry(self) -> Registry:
        """Models shipped, of the user and of the workspace."""
        return self.backend.registry()

    def model_id(self, task: str) -> str:
        """The chosen model of a task; empty for the default one."""
        return self.backend.model_id(task)

    def choose_model(self, task: str, model_id: str) -> None:
        """Use another model from the next question on."""
        if self.backend.choose_model(task, model_id):
            self.models_changed.emit(task)

    def engine(self) -> Engine:
        """The engine for the chosen models; off the GUI thread only, since this loads networks."""
        return self.backend.engine()

    def store(self) -> Store:
        """The annotation store of the workspace; off the GUI thread only."""
        return self.backend.store()

    # -- inside -------------------------------------------------------------------------------------------

    @property
    def _views(self) -> tuple[Any, ...]:
        return self._study.views if self._study else ()

    def _time_axis(self) -> int | None:
        """Which slider moves time, found by its label."""
        if self.hanging is None:
            return None
        labels = tuple(self.viewer.dims.axis_labels)
        name = self.hanging.placements[0].axis_labels[0]
        return labels.index(name) if name in labels else None

    def _raw_frame(self, view_index: int) -> int:
        axis = self._time_axis()
        if axis is None or self.hanging is None:
            return 0
        return int(np.round(self.viewer.dims.point[axis] / self.hanging.placements[view_index].scale[0]))

    def shown_frames(self) -> Mapping[str, int]:
        """Frame now shown of each view."""
        return {name: self.frame_of(index) for index, name in enumerate(self.view_names)}

    def _on_time_moved(self, event: object = None) -> None:
        if self._study is None or self._arranging:
            return
        frames = dict(self.shown_frames())
        ended = {index for index in range(len(self._views)) if self.past_end(index)}
        if self.hanging is not None and ended != self._ended:
            self._ended = ended
            self.hanging.redraw_titles(ended)
        if frames != self._shown_frames:
            self._shown_frames = frames
            self.frame_changed.emit(frames)

    def _on_layer_chosen(self, event: object = None) -> None:
        if self._arranging:
            return
        layer = self.viewer.layers.selection.active
        tag = tag_of(layer) if layer is not None else None
        if tag is not None and tag.view_index >= 0:
            self.activate_view(tag.view_index)

    def _add(self, layer: Image | Labels) -> None:
        """Put a further layer of the study on the canvas; the chosen layer stays chosen."""
        if self.hanging is not None:
            self._bind_to(layer)
            with self._quiet():
                self.hanging.insert(layer)

    def _bind_to(self, layer: Image | Labels) -> None:
        for key, action in self._keys.items():
            layer.bind_key(key, _ignoring_argument(action), overwrite=True)

    def _on_inserted(self, event: object = None) -> None:
        if not self._arranging:
            QTimer.singleShot(0, self._adopt)

    def _adopt(self) -> None:
        """Take over a study whose layers a napari reader has put on the canvas."""
        viewer = self._viewer()
        found = handed_over(viewer, self.hanging.images if self.hanging else ()) if viewer else None
        if found is not None:
            self.show_study(*found)

    @contextmanager
    def _quiet(self) -> Iterator[None]:
        """While layers come and go, the slider and the selection move without meaning."""
        before, self._arranging = self._arranging, True
        try:
            yield
        finally:
            self._arranging = before

    def _remove_cams(self) -> None:
        with self._quiet():
            for layer in self.cam_layers():
                self.viewer.layers.remove(layer)

    def _forget_answers(self) -> None:
        self.hide_saliency()
        if self._diagnosis is not None:
            self.diagnosis = None

    def _clear(self, keep: Sequence[Image] = ()) -> None:
        self._forget_answers()
        hanging, self.hanging = self.hanging, None
        self._study, self._shown_frames, self._ended = None, {}, set()
        self.masks.forget()
        if hanging is not None:
            hanging.take_down(keep)


def _ignoring_argument(action: Callable[[], object]) -> Callable[[object], None]:
    """Adapt an action to napari, which hands every key binding its viewer or layer."""

    def run(_target: object) -> None:
        action()

    return run


_sessions: weakref.WeakKeyDictionary[Any, ReviewSession] = weakref.WeakKeyDictionary()


def session_for(viewer: napari.Viewer) -> ReviewSession:
    """The session of a viewer, made when first asked for; every dock of a window gets the same one."""
    bare = getattr(viewer, "__wrapped__", viewer)
    session = _sessions.get(bare)
    if session is None:
        session = _sessions[bare] = ReviewSession(bare)
    return session
