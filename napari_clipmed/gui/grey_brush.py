"""A brush that paints only where the picture is dark, or bright, enough, while the stroke is drawn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_clipmed.inference.mask_edit import passing, shade
from napari_clipmed.progress import Progress

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession

Limit = Callable[[int, int, tuple[slice, slice]], NDArray[np.bool_]]
"""View index, frame, part of the frame: which of its pixels may be painted."""

READ = "grey-brush"
"""Key of its jobs."""


def limit_brush(layer: Labels, view_index: int, limit: Callable[[], Limit | None]) -> None:
    """Let a mask's brush ask, at every dab, where it may paint; erasing and filling stay free.

    The layer's own `paint` is covered, for a layer of a class of our own would have another type name, by
    which napari finds writers, icons and menus.

    Parameters
    ----------
    limit : callable
        The limit now in force, or None.
    """
    paint_freely = layer.paint

    def paint(coord: Sequence[float], new_label: int, refresh: bool = True) -> None:
        allowed = limit()
        if allowed is None or new_label == 0:
            paint_freely(coord, new_label, refresh=refresh)
            return
        frame, *centre = (round(float(at)) for at in coord)
        part, disc = _disc(centre, layer)
        if not disc.size:
            return
        disc &= allowed(view_index, frame, part)
        if layer.preserve_labels:
            disc &= np.asarray(layer.data[(frame, *part)]) == 0
        rows, columns = np.nonzero(disc)
        if len(rows):
            where = (np.full_like(rows, frame), rows + part[0].start, columns + part[1].start)
            layer.data_setitem(where, new_label, refresh=refresh)

    layer.paint = paint


def _disc(centre: Sequence[int], layer: Labels) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
    """The box of napari's round brush within the picture, and the brush in it."""
    radius = layer.brush_size // 2 + 0.5
    sides = np.abs(np.asarray(layer.scale[-2:], float))
    reach = np.floor(radius / (sides / sides.min())).astype(int)
    rows, columns = (
        slice(max(at - far, 0), max(min(at + far + 1, length), 0))
        for at, far, length in zip(centre, reach, layer.data.shape[-2:], strict=True)
    )
    y, x = (
        (np.arange(part.start, part.stop) - at) * side
        for part, at, side in zip((rows, columns), centre, sides / sides.min(), strict=True)
    )
    return (rows, columns), np.hypot(y[:, None], x[None, :]) <= radius


@dataclass(frozen=True, eq=False)
class _Grey:
    """The grey values of one frame of a view as it was shown."""

    frame: int
    native: bool
    values: NDArray[Any]


class GreyBrush(QObject):
    """The limit of the brush in one session: a share of the display window.

    Parameters
    ----------
    session : ReviewSession

    Attributes
    ----------
    changed : Signal(str)
        How much of the shown frame may be painted, as a sentence; empty while it is off.
    """

    changed = Signal(str)

    def __init__(self, session: ReviewSession, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._session = session
        self._grey: dict[int, _Grey] = {}
        self.on, self.darker, self.level = False, True, 0.5
        session.frame_changed.connect(self._read)
        session.active_view_changed.connect(self._read)
        session.native_changed.connect(self._read)
        session.subtraction_changed.connect(self._forget)
        session.study_changed.connect(self._forget)

    def set(self, on: bool, darker: bool, level: float) -> None:
        """Switch the limit on or off.

        Parameters
        ----------
        darker : bool
            Whether to paint the dark; else the bright.
        level : float
            On the screen: 0 is black, 1 is white.
        """
        self.on, self.darker, self.level = on, darker, level
        self._session.masks.brush_limit = self.allowed if on else None
        self._read()

    def allowed(self, view_index: int, frame: int, part: tuple[slice, slice]) -> NDArray[np.bool_]:
        """Which pixels of a part of a frame may be painted; none before the frame was read."""
        grey, session = self._grey.get(view_index), self._session
        image = session.image_layer(view_index)
        if grey is None or image is None or session.hanging is None or grey.frame != frame:
            shape = tuple(one.stop - one.start for one in part)
            return np.zeros(shape, bool)
        shades = shade(grey.values[part], *image.contrast_limits)
        if session.hanging.grey.inverted(view_index):
            shades = 1.0 - shades
        return passing(shades, self.level, self.darker)

    def _read(self, _: object = None) -> None:
        """Have the shown frames at hand, read off the GUI thread."""
        session, study = self._session, self._session.study
        if not self.on or study is None:
            self.changed.emit("")
            return
        native = session.showing_native
        wanted = {}
        for index in range(len(study.views)):
            frame, image, known = session.frame_of(index), session.image_layer(index), self._grey.get(index)
            if image is not None and (known is None or (known.frame, known.native) != (frame, native)):
                wanted[index] = (frame, image.data)
        if not wanted:
            self._tell()
            return

        def read(progress: Progress) -> dict[int, _Grey]:
            return {i: _Grey(frame, native, np.array(data[frame])) for i, (frame, data) in wanted.items()}

        def take(found: dict[int, _Grey]) -> None:
            if study is session.study:
                self._grey |= found
                self._tell()

        session.jobs.start(read, title="Read the frame", on_done=take, key=READ)

    def _forget(self, _: object = None) -> None:
        self._grey = {}
        self._read()

    def _tell(self) -> None:
        session, index = self._session, self._session.active_view
        image = session.image_layer(index)
        if image is None:
            return
        whole = tuple(slice(0, length) for length in image.data.shape[-2:])
        share = self.allowed(index, session.frame_of(index), (whole[0], whole[1])).mean()
        word = "dark" if self.darker else "bright"
        self.changed.emit(f"{100 * share:.0f} % of this frame is {word} enough to be painted.")
