"""What is open in one napari window; the one object that all docks share.

A session is found again with `session_for(viewer)`, from any dock and through napari's proxies. It holds the
viewer weakly and dies with it. All methods belong to the GUI thread except `engine` and `store`, which belong
to jobs.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_clipmed.errors import ModelError
from napari_clipmed.gui.cam_overlay import cam_layer, cam_tag
from napari_clipmed.gui.hanging import Hanging, image_of, layer_name
from napari_clipmed.gui.jobs import JobRunner
from napari_clipmed.gui.layers import Role, labels_layer, mask_colours, tag_of
from napari_clipmed.gui.settings import Settings, home, read_settings
from napari_clipmed.progress import Progress
from napari_clipmed.study import Projection, Study

if TYPE_CHECKING:
    import napari
    from napari.layers import Image, Labels

    from napari_clipmed.inference.engine import Engine
    from napari_clipmed.inference.results import Diagnosis, Saliency
    from napari_clipmed.models.registry import Registry
    from napari_clipmed.records import Store

DEFAULT_CLASSES = {1: "finding"}


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
    message : Signal(str)
        A sentence for the person.
    jobs : JobRunner
        Work off the GUI thread.
    classes : dict of int to str
        Mask value and its title, shared by all views.
    """

    study_changed = Signal(object)
    diagnosis_changed = Signal(object)
    saliency_changed = Signal(object)
    frame_changed = Signal(object)
    active_view_changed = Signal(str)
    mask_changed = Signal(object)
    models_changed = Signal(str)
    message = Signal(str)

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__()
        self._viewer = weakref.ref(viewer)
        self.jobs = JobRunner(self)
        self.classes: dict[int, str] = dict(DEFAULT_CLASSES)
        self.hanging: Hanging | None = None
        self._study: Study | None = None
        self._diagnosis: Diagnosis | None = None
        self._saliency: Saliency | None = None
        self._lock = threading.RLock()
        self._engine: Engine | None = None
        self._store: Store | None = None
        self._model_ids: dict[str, str] = {}
        self._shown_frames: dict[str, int] = {}
        self._labels: dict[int, Labels] = {}
        self._cams: dict[int, Image] = {}
        viewer.dims.events.point.connect(self._on_time_moved)
        viewer.layers.selection.events.active.connect(self._on_layer_chosen)

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

        self.jobs.start(read, title=f"Open {chosen[0].name}", on_done=self.show_study, key="open")

    def show_study(self, study: Study) -> None:
        """Hang a study; the one shown before is closed."""
        self._clear()
        self._study = study
        self.hanging = Hanging(self.viewer, study)
        self.hanging.hang()
        self.go_to_frame(0, 0)
        self.study_changed.emit(study)
        self.active_view_changed.emit(self.view_names[0])
        self._on_time_moved()

    def close_study(self) -> None:
        """Take the study off the canvas and forget its answers."""
        if self._study is not None:
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
        layer = self._labels.get(view_index)
        if layer is not None and layer in self.viewer.layers:
            return layer
        image = self.image_layer(view_index)
        if image is None or self.hanging is None:
            raise LookupError("No image to draw on; open a study first")
        layer = labels_layer(image, layer_name(self.view_names[view_index], Role.LABELS))
        layer.events.labels_update.connect(self._on_painted)
        layer.events.paint.connect(self._on_painted)
        self._labels[view_index] = layer
        self._dress(layer)
        self.hanging.insert(layer)
        return layer

    def has_labels(self, view_index: int) -> bool:
        """Whether a mask layer exists for a view, without making one."""
        layer = self._labels.get(view_index)
        return layer is not None and layer in self.viewer.layers

    def name_class(self, value: int, title: str) -> None:
        """Give a mask value a title; shown in napari's status bar and in the docks."""
        self.classes[value] = title
        for layer in self._labels.values():
            self._dress(layer)

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
        if mask.shape != layer.data.shape[1:]:
            raise ValueError(f"A mask of {mask.shape} for frames of {layer.data.shape[1:]}")
        if value and title:
            self.name_class(value, title)
        before = np.asarray(layer.data[frame])
        after = np.where(mask, value, np.where((before == value) & (value > 0), 0, before))
        rows, columns = np.nonzero(after != before)
        if len(rows):
            with layer.block_history():
                layer.data_setitem((np.full_like(rows, frame), rows, columns), after[rows, columns])
        if value:
            layer.selected_label = value
        return len(rows)

    def show_saliency(self, saliency: Saliency, opacity: float = 0.7) -> None:
        """Lay activation maps over their views; scrubbing computes nothing further."""
        self._remove_cams()
        self._saliency = saliency
        if self.hanging is not None and self._study is not None:
            for name, maps in saliency.maps.items():
                index = self.view_index(name)
                if index is None:
                    continue
                view = self._study.views[index]
                layer = cam_layer(
                    maps,
                    saliency.frames[name],
                    view.n_frames,
                    self.hanging.placements[index],
                    saliency.boxes.get(name),
                    cam_tag(index, self._study.image_hash, view.projection),
                    layer_name(self.view_names[index], Role.CAM),
                )
                layer.opacity = opacity
                self._cams[index] = layer
                self.hanging.insert(layer)
        self.saliency_changed.emit(saliency)

    def hide_saliency(self) -> None:
        """Remove the overlay."""
        self._remove_cams()
        if self._saliency is not None:
            self._saliency = None
            self.saliency_changed.emit(None)

    def cam_layers(self) -> tuple[Image, ...]:
        """The overlays now on the canvas."""
        return tuple(layer for layer in self._cams.values() if layer in self.viewer.layers)

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
        """Models shipped, of the user and of the workspace; imports torch only when a network is loaded."""
        from napari_clipmed.models.registry import Registry
        from napari_clipmed.shipped import resource

        return Registry([resource("models"), home() / "models", self.workspace / "models"])

    def model_id(self, task: str) -> str:
        """The chosen model of a task; empty for the default one."""
        return self._model_ids.get(task, "")

    def choose_model(self, task: str, model_id: str) -> None:
        """Use another model from the next question on."""
        if self._model_ids.get(task, "") == model_id:
            return
        with self._lock:
            self._model_ids[task] = model_id
            self._engine = None
        self.models_changed.emit(task)

    def engine(self) -> Engine:
        """The engine for the chosen models, built on first use. Off the GUI thread only: this loads networks."""
        from napari_clipmed.inference.cache import FeatureCache
        from napari_clipmed.inference.engine import Engine

        with self._lock:
            if self._engine is None:
                settings, registry = self.settings, self.registry()
                entries: dict[str, Any] = {}
                for task in ("diagnosis", "segmentation"):
                    chosen = self._model_ids.get(task)
                    try:
                        entries[task] = registry.get(chosen) if chosen else registry.default(task)
                    except ModelError:
                        if chosen:
                            raise
                        entries[task] = None
                self._engine = Engine(
                    entries["diagnosis"],
                    entries["segmentation"],
                    device=settings.device,
                    precision=settings.precision,
                    cache=FeatureCache(settings.cache_mb * 2**20),
                )
            return self._engine

    def store(self) -> Store:
        """The annotation store of the workspace, opened on first use. Off the GUI thread only."""
        from napari_clipmed.records import Store

        with self._lock:
            if self._store is None:
                self._store = Store.open(self.workspace)
            return self._store

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
        if self._study is None:
            return
        frames = dict(self.shown_frames())
        if frames != self._shown_frames:
            self._shown_frames = frames
            self.frame_changed.emit(frames)

    def _on_layer_chosen(self, event: object = None) -> None:
        layer = self.viewer.layers.selection.active
        tag = tag_of(layer) if layer is not None else None
        if tag is not None and tag.view_index >= 0:
            self.activate_view(tag.view_index)

    def _on_painted(self, event: Any = None) -> None:
        tag = tag_of(event.source) if event is not None else None
        if tag is not None:
            self.mask_changed.emit(tag.view_index)

    def _dress(self, layer: Labels) -> None:
        values = sorted(self.classes)
        layer.colormap = mask_colours(self.classes)
        layer.features = {"index": values, "name": [self.classes[value] for value in values]}

    def _remove_cams(self) -> None:
        for layer in self.cam_layers():
            self.viewer.layers.remove(layer)
        self._cams = {}

    def _forget_answers(self) -> None:
        self.hide_saliency()
        if self._diagnosis is not None:
            self.diagnosis = None

    def _clear(self) -> None:
        self._forget_answers()
        hanging, self.hanging = self.hanging, None
        self._study, self._labels, self._shown_frames = None, {}, {}
        if hanging is not None:
            hanging.take_down()


_sessions: weakref.WeakKeyDictionary[Any, ReviewSession] = weakref.WeakKeyDictionary()


def session_for(viewer: napari.Viewer) -> ReviewSession:
    """The session of a viewer, made when first asked for; every dock of a window gets the same one."""
    bare = getattr(viewer, "__wrapped__", viewer)
    session = _sessions.get(bare)
    if session is None:
        session = _sessions[bare] = ReviewSession(bare)
    return session
