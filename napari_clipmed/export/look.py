"""How grey values become what is seen: the window, turned over or not, in 8 or 16 bits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.errors import ClipmedError
from napari_clipmed.study import DisplayWindow, Projection, Study, View


@dataclass(frozen=True)
class Look:
    """What the person asked the pictures to look like.

    Parameters
    ----------
    window : str
        "low,high", the name of a window that the file offers, or empty for the view's own.
    inverted : bool
        Whether white and black change places.
    """

    window: str = ""
    inverted: bool = False

    @property
    def asked(self) -> bool:
        """Whether the grey values are to be changed at all."""
        return bool(self.window) or self.inverted

    def window_of(self, view: View) -> DisplayWindow:
        """The window for a view.

        Raises
        ------
        ClipmedError
            For words that are no window of this view.
        """
        if not self.window:
            return view.window
        low, comma, high = self.window.partition(",")
        if comma:
            try:
                chosen = DisplayWindow(float(low), float(high))
            except ValueError:
                raise ClipmedError(
                    f"{self.window!r} is no window.", "Give two numbers: --window 400,1600."
                ) from None
            if not chosen.low < chosen.high:
                raise ClipmedError(f"The window {self.window} is empty.", "Give the lower grey value first.")
            return chosen
        for window in view.windows:
            if window.name.casefold() == self.window.casefold():
                return window
        offered = ", ".join(window.name for window in view.windows if window.name) or "none"
        raise ClipmedError(
            f"The file offers no window {self.window!r}.", f"Windows here: {offered}; or two numbers."
        )


def windowed(
    frame: NDArray[Any], window: DisplayWindow, inverted: bool = False, bits: int = 8
) -> NDArray[Any]:
    """Bring grey values from a window into 8 or 16 bits, and clip.

    Parameters
    ----------
    frame : (..., H, W) array
    window : DisplayWindow
        From black to white; the other way round where `inverted`.
    bits : int
        8 gives uint8, 16 gives uint16.
    """
    white = 2**bits - 1
    share = (frame.astype(np.float64) - window.low) / max(window.high - window.low, 1e-9)
    levels = np.rint(np.clip(np.nan_to_num(share), 0, 1) * white)
    return (white - levels if inverted else levels).astype(np.uint8 if bits == 8 else np.uint16)


def shown(
    view: View, frame: NDArray[Any], window: DisplayWindow, inverted: bool = False
) -> NDArray[np.uint8]:
    """A frame as it is seen: in its window, under its shutter, uint8 (H, W)."""
    greys = windowed(frame, window, inverted)
    if view.shutter is not None:
        greys[view.shutter] = round(255 * view.shutter_level)
    return greys


def whole_range(view: View) -> DisplayWindow:
    """The window in which 16 bits lose nothing: stored whole numbers stay, real ones fill the range."""
    if view.pixels.dtype.kind in "ui":
        return DisplayWindow(0.0, 65535.0, "stored values")
    low, high = np.inf, -np.inf
    for frame in view.pixels:
        low, high = min(low, float(np.nanmin(frame))), max(high, float(np.nanmax(frame)))
    return DisplayWindow(low, high if high > low else low + 1.0, "whole range")


def names_of(projections: Iterable[str]) -> list[str]:
    """Names of views for files: AP and LA, numbered where a name repeats."""
    taken: Counter[str] = Counter()
    names = []
    for projection in projections:
        name = "view" if projection == Projection.UNKNOWN else str(projection)
        taken[name] += 1
        names.append(name if taken[name] == 1 else f"{name}{taken[name]}")
    return names


def named_views(study: Study) -> Iterator[tuple[str, View]]:
    """The views of a study with names for files."""
    yield from zip(names_of(view.projection.value for view in study.views), study.views, strict=True)


def chosen_views(study: Study, wanted: str) -> list[tuple[str, View]]:
    """The views that a person named: "all", a name such as AP, or a number from 1.

    Raises
    ------
    ClipmedError
        When there is no such view.
    """
    views = list(named_views(study))
    if wanted == "all":
        return views
    for number, (name, view) in enumerate(views, start=1):
        if wanted.casefold() in (name.casefold(), str(number)):
            return [(name, view)]
    names = ", ".join(f"{name} ({number})" for number, (name, _) in enumerate(views, start=1))
    raise ClipmedError(f"There is no view {wanted!r}.", f"Views here: {names}; or all.")


def as_native(view: View) -> View:
    """The run without subtraction.

    Raises
    ------
    ClipmedError
        When the file holds the subtracted run only.
    """
    from napari_clipmed.io import resubtracted

    if view.subtracted and view.native is None:
        raise ClipmedError(
            "This run was subtracted by the scanner; its native frames are not in the file.",
            "Leave --native out.",
        )
    return replace(resubtracted(view, None), subtracted=False)
