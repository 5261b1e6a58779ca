"""Window and inversion of each view: of the file (per frame where it says so), by choice, or by hand."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.gui.layers import contrast_limits, native_window
from napari_clipmed.study import DisplayWindow, View

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_clipmed.gui.hanging import Hanging

GREY, GREY_INVERTED = "gray", "gray_r"
AUTO_PERCENTILES = (1.0, 99.0)
AUTO, BY_HAND = "auto", "set by hand"
THINNED = 4
"""Every fourth pixel in both directions is enough for percentiles."""


def auto_window(frame: NDArray[Any], shutter: NDArray[np.bool_] | None = None) -> DisplayWindow:
    """The 1 to 99 percentile of one frame, without what a shutter hides.

    Parameters
    ----------
    frame : (H, W) array
        Grey values.
    shutter : (H, W) bool array, optional
        True where the picture is hidden.
    """
    values = np.asarray(frame)[::THINNED, ::THINNED]
    if shutter is not None and not shutter[::THINNED, ::THINNED].all():
        values = values[~shutter[::THINNED, ::THINNED]]
    low, high = np.percentile(values, AUTO_PERCENTILES)
    return DisplayWindow(float(low), float(high), AUTO)


def window_presets(view: View, native: bool = False) -> list[DisplayWindow]:
    """The recommended window, those of the file, and two made from it: harder and softer contrast.

    Parameters
    ----------
    native : bool
        For the unsubtracted frames of a view that was subtracted here.
    """
    first = native_window(view) if native else view.window
    middle, half = (first.low + first.high) / 2, (first.high - first.low) / 2
    offered = [DisplayWindow(first.low, first.high, first.name or "recommended")]
    for number, window in enumerate(view.native_windows if native else view.windows, start=1):
        if (window.low, window.high) != (first.low, first.high):
            offered.append(DisplayWindow(window.low, window.high, window.name or f"file window {number}"))
    return [
        *offered,
        DisplayWindow(middle - 0.6 * half, middle + 0.6 * half, "more contrast"),
        DisplayWindow(middle - 1.6 * half, middle + 1.6 * half, "less contrast"),
    ]


class GreyScale:
    """How the grey values of one hanging are shown.

    Parameters
    ----------
    hanging : Hanging
        Whose image layers are set.
    changed : callable
        Told the index of a view whose window or inversion has changed.
    """

    def __init__(self, hanging: Hanging, changed: Callable[[int], None]) -> None:
        self._hanging: Hanging = weakref.proxy(hanging)  # a circle would keep the frames
        self._changed = changed
        self._chosen: dict[tuple[int, bool], DisplayWindow] = {}
        self._native: dict[int, DisplayWindow] = {}
        self._setting = False
        self._heard: list[tuple[Image, Callable[[Any], None]]] = []

    def listen(self) -> None:
        """Notice when a person moves napari's own contrast slider."""
        for index, image in enumerate(self._hanging.images):
            heard = self._noticing(index)
            self._heard.append((image, heard))
            image.events.contrast_limits.connect(heard)

    def stop(self) -> None:
        """Let go of the layers: napari keeps them for good, and with them whatever listens."""
        for image, heard in self._heard:
            image.events.contrast_limits.disconnect(heard)
        self._heard = []

    def window(self, index: int) -> DisplayWindow:
        """The window now shown; its name tells where it is from."""
        return self._chosen.get((index, self._hanging.native)) or self._from_file(index)

    def choose(self, index: int, window: DisplayWindow | None) -> None:
        """Show a window until another one is chosen; None goes back to the file's."""
        key = (index, self._hanging.native)
        if window is None:
            self._chosen.pop(key, None)
        else:
            self._chosen[key] = window
        self.apply(index)
        self._changed(index)

    def forget(self, index: int) -> None:
        """The subtracted frames have other grey values now: a window chosen for the old ones says nothing."""
        self._chosen.pop((index, False), None)
        self.apply(index)
        self._changed(index)

    def adjust(self, index: int) -> None:
        """Choose the window that suits the frame on screen."""
        image = self._image(index)
        if image is not None:
            view = self._hanging.study.views[index]
            self.choose(index, auto_window(image.data[self._hanging.frame_of(index)], view.shutter))

    def invert(self, index: int, inverted: bool) -> None:
        """Show dark as bright."""
        image = self._image(index)
        if image is not None:
            image.colormap = GREY_INVERTED if inverted else GREY
            self._changed(index)

    def inverted(self, index: int) -> bool:
        """Whether a view is shown with dark as bright."""
        image = self._image(index)
        return image is not None and image.colormap.name == GREY_INVERTED

    def reset(self, index: int) -> None:
        """The file's window, not inverted."""
        self.invert(index, False)
        self.choose(index, None)

    def follow(self) -> None:
        """Another frame is shown: where the file gives each frame a window of its own, take that one."""
        for index, view in enumerate(self._hanging.study.views):
            if view.frame_windows:
                self.apply(index)

    def apply(self, index: int) -> None:
        """Set the layer to the window that holds now; also after its frames were exchanged."""
        image = self._image(index)
        if image is None:
            return
        low, high = contrast_limits(self.window(index))
        room = high - low
        self._setting = True
        try:
            left, right = image.contrast_limits_range
            if low < left or high > right or (right - left) > 20 * room:
                image.contrast_limits_range = (low - room, high + room)
            if tuple(image.contrast_limits) != (low, high):
                image.contrast_limits = (low, high)
        finally:
            self._setting = False

    def _from_file(self, index: int) -> DisplayWindow:
        view, native = self._hanging.study.views[index], self._hanging.native
        shows_stored = native or view.native is None
        if view.frame_windows and shows_stored:
            return view.frame_windows[self._hanging.frame_of(index)]
        if not native or view.native is None:
            return window_presets(view)[0]
        if index not in self._native:
            self._native[index] = native_window(view)
        return self._native[index]

    def _image(self, index: int) -> Image | None:
        image = self._hanging.images[index]
        return image if image in self._hanging.viewer.layers else None

    def _noticing(self, index: int) -> Callable[[Any], None]:
        def notice(event: Any) -> None:
            if not self._setting:
                low, high = self._hanging.images[index].contrast_limits
                self._chosen[index, self._hanging.native] = DisplayWindow(low, high, BY_HAND)
                self._changed(index)

        return notice
