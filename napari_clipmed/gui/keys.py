"""Keys of the canvas, in one table; the docks write the same words on their buttons.

A layer's own keys win over the viewer's, so every key is bound on the viewer and on each layer of ours.
Single letters and digits belong to napari's layers and are never used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari_clipmed.gui.layers import tag_of

if TYPE_CHECKING:
    import napari
    from napari.layers import Layer

    from napari_clipmed.gui.session import ReviewSession

FRAME_AP, FRAME_LA, FRAME_BOTH, LINK_ZOOM = "Alt-1", "Alt-2", "Alt-3", "Alt-4"
TOGGLE_CAM, TOGGLE_NATIVE, TOGGLE_MAP = "Alt-G", "Alt-S", "Alt-T"
REMASK, UNDO_MASK, REDO_MASK = "Alt-R", "Alt-Z", "Alt-Shift-Z"
NEXT_CASE, PREVIOUS_CASE = "Alt-Right", "Alt-Left"
PLAY, STEP_BACK, STEP_ON = "Space", ",", "."


def spoken(key: str) -> str:
    """A key as it is written on a button: "Alt+1"."""
    return key.replace("-", "+") if len(key) > 1 else key


class SideKeys:
    """Alt+← and Alt+→ have two meanings; what is on screen decides which holds.

    They shift the mask while the controls of the subtraction are on screen, where one sees what they do, and
    walk through the worklist otherwise. Every dock that uses them binds `left` and `right`.

    Attributes
    ----------
    shift, walk : callable or None
        Called with -1 (left) or +1 (right), by whoever shifts and walks.
    shifting : callable
        Whether the controls of the subtraction are on screen.
    """

    def __init__(self) -> None:
        self.shift: Callable[[int], object] | None = None
        self.walk: Callable[[int], object] | None = None
        self.shifting: Callable[[], bool] = lambda: False

    def left(self) -> None:
        """Alt+← was pressed."""
        self._press(-1)

    def right(self) -> None:
        """Alt+→ was pressed."""
        self._press(1)

    def _press(self, direction: int) -> None:
        shift = self.shift is not None and (self.walk is None or self.shifting())
        act = self.shift if shift else self.walk
        if act is not None:
            act(direction)


class KeyTable:
    """Which key does what; remembers, so that layers made later get the same keys."""

    def __init__(self) -> None:
        self._actions: dict[str, Callable[[], object]] = {}

    def bind(self, viewer: napari.Viewer, key: str, action: Callable[[], object]) -> None:
        """Bind a key on the viewer and on the layers of ours that are there."""
        self._actions[key] = action
        viewer.bind_key(key, _for_napari(action), overwrite=True)
        for layer in viewer.layers:
            if tag_of(layer) is not None:
                layer.bind_key(key, _for_napari(action), overwrite=True)

    def dress(self, layer: Layer) -> None:
        """Give a new layer all keys."""
        for key, action in self._actions.items():
            layer.bind_key(key, _for_napari(action), overwrite=True)


def _for_napari(action: Callable[[], object]) -> Callable[[Any], None]:
    """Adapt an action: napari hands every key binding its viewer or layer."""

    def run(_target: Any) -> None:
        action()

    return run


def bind_session_keys(session: ReviewSession) -> None:
    """Bind the keys that need no dock; the time strip and the docks add their own with `bind_key`."""
    session.bind_key(FRAME_AP, lambda: session.frame_view(0))
    session.bind_key(FRAME_LA, lambda: session.frame_view(1))
    session.bind_key(FRAME_BOTH, lambda: session.frame_view(None))
    session.bind_key(LINK_ZOOM, lambda: session.link_zoom(not session.zoom_linked))
    session.bind_key(TOGGLE_CAM, session.heat.toggle)
    session.bind_key(TOGGLE_NATIVE, lambda: session.show_native(not session.showing_native))
