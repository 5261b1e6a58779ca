"""Clicks on the canvas that choose a piece of a mask, while dragging goes on moving the picture."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_clipmed.gui.layers import Role, tag_of

if TYPE_CHECKING:
    import napari

    from napari_clipmed.gui.session import ReviewSession

Act = Callable[[int, int, int], None]
"""Told view index, row and column of a click."""

STILL_PX = 4
"""A press that moves no farther is a click."""


class PiecePicker:
    """At most one meaning of a click on the canvas of a session.

    Parameters
    ----------
    session : ReviewSession
    """

    def __init__(self, session: ReviewSession) -> None:
        self._session = session
        self._act: Act | None = None

    @property
    def picking(self) -> bool:
        """Whether clicks choose pieces now."""
        return self._act is not None

    def start(self, act: Act) -> None:
        """From now on a click means this; drawing tools are put down."""
        callbacks = self._session.viewer.mouse_drag_callbacks
        if self._act is None:
            callbacks.append(self._on_press)
        self._act = act
        active = self._session.viewer.layers.selection.active
        tag = tag_of(active) if active is not None else None
        if active is not None and tag is not None and tag.role is Role.LABELS:
            active.mode = "pan_zoom"

    def stop(self) -> None:
        """Clicks mean nothing in particular again."""
        callbacks = self._session.viewer.mouse_drag_callbacks
        if self._act is not None and self._on_press in callbacks:
            callbacks.remove(self._on_press)
        self._act = None

    def _on_press(self, viewer: napari.Viewer, event: Any) -> Iterator[None]:
        pixel, start, still = self._session.pane_follow.pixel(viewer, event), np.array(event.pos), True
        yield
        while event.type == "mouse_move":
            still = still and float(np.abs(np.array(event.pos) - start).max()) <= STILL_PX
            yield
        if still and pixel is not None and self._act is not None:
            self._act(*pixel)
