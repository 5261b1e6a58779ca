"""Masks that stand for several frames of a run: what was marked on any of them, kept on one, shown on all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.gui.layers import TAG, LayerTag, Role
from napari_clipmed.gui.mask_preview import OUTLINE_PX, on_one_frame
from napari_clipmed.gui.theme import MASK_COLOURS

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_clipmed.gui.session import ReviewSession

Key = tuple[int, int, int]
"""View index, frame and label value of a mask."""

Span = tuple[int, int]
"""First and last frame."""


@dataclass(frozen=True, eq=False)
class _Mark:
    """One mask was declared a projection.

    Parameters
    ----------
    span : (int, int) or None
        None: declared a mask of its frame alone.
    before : (H, W) bool array or None
        The mask as it was; None where the projection changed no pixel, or was read from the records. While
        the mask is like this again, Ctrl+Z has taken the projection back.
    """

    span: Span | None
    before: NDArray[np.bool_] | None = None


class Projections:
    """Which masks of the open study are projections, and their outlines over the frames they stand for.

    Parameters
    ----------
    session : ReviewSession
    """

    def __init__(self, session: ReviewSession) -> None:
        self._session = session
        self._marks: dict[Key, _Mark] = {}
        self._read: dict[Key, int] = {}
        self._outlines: dict[Key, Labels] = {}

    def declare(self, key: Key, span: Span | None, before: NDArray[np.bool_] | None = None) -> None:
        """Say what a mask stands for; parameters as in `_Mark`."""
        self._marks[key] = _Mark(span, before)
        self.show(key[0])

    def span_of(self, key: Key) -> Span | None:
        """The frames that a mask is projected over; None for a mask of its frame alone."""
        mark = self._marks.get(key)
        if mark is None or mark.span is None or not self._session.has_labels(key[0]):
            return None
        now = self._pixels(key)
        undone = mark.before is not None and np.array_equal(now, mark.before)
        return None if undone or not now.any() else mark.span

    def over(self, view_index: int, frame: int) -> list[tuple[Key, Span]]:
        """The projections that cover a frame from other frames."""
        spans = [(key, self.span_of(key)) for key in self._marks if key[0] == view_index and key[1] != frame]
        return [(key, span) for key, span in spans if span is not None and span[0] <= frame <= span[1]]

    def recall(self) -> None:
        """Take over what the records say about the masks that they put on the canvas."""
        values = {title: value for value, title in self._session.classes.items()}
        for (view_index, frame), baseline in self._session.records.baselines.items():
            for title, revision in baseline.revisions.items():
                key = (view_index, frame, values.get(title, 0))
                if key[2] and self._read.get(key) != revision.id:
                    self._read[key] = revision.id
                    self._marks[key] = _Mark(revision.projected)
        for view_index in {key[0] for key in self._marks}:
            self.show(view_index)

    def forget(self) -> None:
        """Another study."""
        for key in list(self._outlines):
            self._remove(key)
        self._marks, self._read = {}, {}

    def show(self, view_index: int) -> None:
        """Draw the outlines of a view anew."""
        for key in [key for key in self._marks if key[0] == view_index]:
            span = self.span_of(key)
            layer = self._outlines.get(key)
            there = layer is not None and layer in self._session.viewer.layers
            if span is None or (there and layer is not None and layer.metadata.get("span") != span):
                self._remove(key)
                there = False
            if span is not None and there and layer is not None:
                layer.data = self._pixels(key)[None].astype(np.uint8)
            elif span is not None:
                self._draw(key, span)

    def _draw(self, key: Key, span: Span) -> None:
        """One frame, stretched over the time of all, so that it takes no memory for each."""
        from napari.layers import Labels
        from napari.utils.colormaps import DirectLabelColormap

        session, (view_index, _, value) = self._session, key
        placed, study = on_one_frame(session, view_index, span[0]), session.study
        if placed is None or study is None or session.hanging is None:
            return
        frames = span[1] - span[0] + 1
        step = placed["scale"][0]
        placed["scale"] = (step * frames, *placed["scale"][1:])
        placed["translate"] = (placed["translate"][0] + step * (frames - 1) / 2, *placed["translate"][1:])
        colour = MASK_COLOURS[(value - 1) % len(MASK_COLOURS)]
        view = study.views[view_index]
        layer = Labels(
            self._pixels(key)[None].astype(np.uint8),
            name=f"{session.view_names[view_index]} {session.classes.get(value, value)}, projected",
            colormap=DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", 1: colour}),
            metadata={
                TAG: LayerTag(Role.PROJECTED, view_index, study.image_hash, view.projection),
                "span": span,
            },
            **placed,
        )
        layer.contour = OUTLINE_PX
        layer.editable = False
        self._outlines[key] = layer
        session.hanging.insert(layer)

    def _remove(self, key: Key) -> None:
        layer = self._outlines.pop(key, None)
        if layer is not None and layer in self._session.viewer.layers:
            self._session.viewer.layers.remove(layer)

    def _pixels(self, key: Key) -> NDArray[np.bool_]:
        return np.asarray(self._session.labels_layer(key[0]).data[key[1]]) == key[2]
