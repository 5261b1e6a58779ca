"""What a person draws over the panes: regions and lines, a Shapes layer a view, tools that follow the mouse.

A shape keeps its key for life, so that table and curve find it again when it is moved, or others go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from qtpy.QtCore import QObject, QTimer, Signal

from napari_clipmed.gui.layers import TAG, LayerTag, Role, layer_name, tag_of
from napari_clipmed.gui.theme import MASK_COLOURS

if TYPE_CHECKING:
    import napari
    from napari.layers import Shapes

    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.study import Study

SETTLE_MS = 60
"""A moving shape is looked at again after this long: about sixteen times a second."""

EDGE = 0.004
"""Width of an edge as a share of the picture's."""

TEXT_SIZE = 9


@dataclass(frozen=True, eq=False)
class Drawn:
    """One shape.

    Parameters
    ----------
    key : int
        Its own for life, from 1.
    view_index : int
    kind : str
        What it was drawn as; the owner's word.
    shape : str
        napari's: "ellipse", "rectangle", "polygon", "line".
    points : (N, 2) float array
        Rows and columns in pixels of the view.
    frame : int
        Frame of its view that was shown when it was drawn.
    """

    key: int
    view_index: int
    kind: str
    shape: str
    points: NDArray[np.float64]
    frame: int

    @property
    def colour(self) -> str:
        """Colour of its edge, its words and its curve."""
        return MASK_COLOURS[(self.key - 1) % len(MASK_COLOURS)]


class Drawings(QObject):
    """The drawings of one kind in one session.

    Parameters
    ----------
    session : ReviewSession
    role : Role
        ROI or MEASURE.
    words : callable
        What is written beside a shape on the canvas.

    Attributes
    ----------
    changed : Signal
        Shapes were drawn, moved or removed; told when they have settled for a moment.
    """

    changed = Signal()

    def __init__(self, session: ReviewSession, role: Role, words: Callable[[Drawn], str]) -> None:
        super().__init__(session)
        self._session, self._role, self._words = session, role, words
        self._next, self._seen = 1, ""
        self._last: tuple[str, list[Drawn]] = ("", [])
        self._layers: dict[int, Shapes] = {}
        self._settle = QTimer(self)
        self._settle.setSingleShot(True)
        self._settle.setInterval(SETTLE_MS)
        self._settle.timeout.connect(self.look)
        session.study_changed.connect(self._on_study)
        # A press hands over as well: a quick hand may press before its last move was told.
        session.viewer.mouse_move_callbacks.append(self._on_mouse)
        session.viewer.mouse_drag_callbacks.append(self._on_mouse)

    def draw(self, mode: str, kind: str) -> None:
        """Take a tool ("add_ellipse", "add_line", …) into the hand, over the active view first."""
        if self._session.hanging is None:
            return
        for layer in self._ensure_layers():
            layer.feature_defaults = pd.DataFrame({"key": [0], "kind": [kind], "frame": [0], "words": [""]})
        layer = self._layers[self._session.active_view]
        self._session.viewer.layers.selection.active = layer
        layer.mode = mode

    @property
    def shapes(self) -> list[Drawn]:
        """All shapes, in the order in which they were drawn."""
        found = []
        for view_index, layer in self._present().items():
            table = layer.features
            for place, (points, shape) in enumerate(zip(layer.data, layer.shape_type, strict=True)):
                row = table.iloc[place]
                if row["key"]:
                    found.append(
                        Drawn(
                            int(row["key"]),
                            view_index,
                            str(row["kind"]),
                            str(shape),
                            np.asarray(points, dtype=np.float64)[:, -2:],
                            int(row["frame"]),
                        )
                    )
        return sorted(found, key=lambda drawn: drawn.key)

    def add(self, view_index: int, points: NDArray[np.float64], shape: str, kind: str) -> None:
        """Draw a shape without the mouse."""
        self._put(Drawn(0, view_index, kind, shape, points, 0))
        self.look()

    def remove(self, key: int) -> None:
        """Take one shape away."""
        for layer in self._present().values():
            places = np.flatnonzero(layer.features["key"].to_numpy() == key)
            if len(places):
                layer.selected_data = set(places.tolist())
                layer.remove_selected()
        self.look()

    def write_words(self) -> None:
        """Write what belongs beside each shape anew."""
        drawn = {shape.key: shape for shape in self.shapes}
        for layer in self._present().values():
            if not layer.nshapes:
                continue
            table = layer.features.copy()
            table["words"] = [self._words(drawn[k]) if k in drawn else "" for k in table["key"]]
            layer.features = table
            colours = [drawn[k].colour if k in drawn else "#FFFFFF" for k in table["key"]]
            layer.edge_color = colours
            layer.text = _text(colours)

    def look(self) -> None:
        """See what has changed, and tell it."""
        fresh = False
        for view_index, layer in self._present().items():
            table = layer.features.copy()
            new = np.flatnonzero(table["key"].to_numpy() == 0)
            if len(new) and not layer._is_creating:
                table.loc[table.index[new], "key"] = np.arange(self._next, self._next + len(new))
                table.loc[table.index[new], "frame"] = self._session.frame_of(view_index)
                self._next += len(new)
                layer.features = table
                layer.mode = "select"
                fresh = True
        shapes, study = self.shapes, self._session.study
        self._last = (study.image_hash if study is not None else "", shapes)
        state = repr([(d.key, d.view_index, d.points.round(2).tolist()) for d in shapes])
        if fresh or state != self._seen:
            self._seen = state
            self.changed.emit()

    # -- inside -------------------------------------------------------------------------------------------

    def _present(self) -> dict[int, Shapes]:
        """The layers that are on the canvas, by view."""
        on_canvas = self._session.viewer.layers
        return {index: layer for index, layer in self._layers.items() if layer in on_canvas}

    def _ensure_layers(self) -> list[Shapes]:
        """One layer for every view; all are made together, so that the views stay alike."""
        session = self._session
        present = self._present()
        for index in range(len(session.view_names)):
            if index not in present:
                self._layers[index] = self._make(index)
        return [self._layers[index] for index in range(len(session.view_names))]

    def _make(self, index: int) -> Shapes:
        from napari.layers import Shapes

        session = self._session
        study, hanging = session.study, session.hanging
        if study is None or hanging is None:
            raise LookupError("No study is open")
        place = hanging.placements[index]
        layer = Shapes(
            None,
            ndim=2,
            name=layer_name(session.view_names[index], self._role),
            opacity=1.0,
            face_color="transparent",
            edge_color=MASK_COLOURS[0],
            edge_width=max(EDGE * place.shape[1], 0.5),
            features=pd.DataFrame({"key": [], "kind": [], "frame": [], "words": []}).astype(
                {"key": int, "kind": str, "frame": int, "words": str}
            ),
            metadata={
                TAG: LayerTag(self._role, index, study.image_hash, study.views[index].projection),
            },
            scale=place.scale[1:],
            translate=place.translate[1:],
            units=place.units[1:],
            axis_labels=place.axis_labels[1:],
        )
        layer.events.set_data.connect(self._on_touched)
        layer.events.data.connect(self._on_touched)
        session.add_above(layer, tuple(role for role in Role if role not in (Role.TITLES, Role.BORDER)))
        return layer

    def _on_touched(self, event: Any = None) -> None:
        if not self._settle.isActive():
            self._settle.start()

    def _on_study(self, study: Study | None) -> None:
        """Another study takes its drawings along; the same one, hung anew, gets them back."""
        image_hash, shapes = self._last
        self._layers = self._present()
        if not self._layers and study is not None and study.image_hash == image_hash:
            for drawn in shapes:
                self._put(drawn)
        elif not self._layers:
            self._next = 1
        self.look()

    def _put(self, drawn: Drawn) -> None:
        """Lay a shape on its view."""
        self._ensure_layers()
        layer = self._layers[drawn.view_index]
        row = {"key": [drawn.key], "kind": [drawn.kind], "frame": [drawn.frame], "words": [""]}
        layer.feature_defaults = pd.DataFrame(row)
        layer.add(drawn.points, shape_type=drawn.shape)

    def _on_mouse(self, viewer: napari.Viewer, event: Any) -> None:
        """Hand the tool to the view under the mouse, unless a shape is being drawn."""
        layer, hanging = viewer.layers.selection.active, self._session.hanging
        tag = tag_of(layer) if layer is not None else None
        if tag is None or tag.role is not self._role or hanging is None or viewer.canvas.grid.enabled:
            return
        if not str(layer.mode).startswith("add") or layer._is_creating:
            return
        target = hanging.pane_at(*event.position[-2:])
        other = self._present().get(target) if target is not None else None
        if other is not None and other is not layer and target != tag.view_index:
            mode, layer.mode = str(layer.mode), "pan_zoom"
            viewer.layers.selection.active = other
            other.mode = mode


def _text(colours: list[str]) -> dict[str, Any]:
    from napari.utils.colormaps.standardize_color import transform_color

    colour = np.concatenate([transform_color(colour) for colour in colours])
    return {"string": "{words}", "anchor": "upper_left", "size": TEXT_SIZE, "color": colour}
