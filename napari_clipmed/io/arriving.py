"""A study on its way: the first picture is shown while the other frames are still being decoded.

The provisional views run through the same pipeline as the final ones. Until a frame has arrived, a hatched
blank stands in its place, never another picture.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from threading import Event
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from napari_clipmed.io.dicom_view import view_from
from napari_clipmed.io.enhanced import flattened
from napari_clipmed.io.grey import to_grey
from napari_clipmed.io.mask_module import recommended_subtraction
from napari_clipmed.io.run_decoder import RunDecoder, Task
from napari_clipmed.io.subtracted_frames import SubtractedFrames
from napari_clipmed.io.subtraction import sampled_indices
from napari_clipmed.lazy_frames import WHOLE, LazyFrames, Region
from napari_clipmed.study import DisplayWindow, Frames, Study, View

FIRST_LOOK_S = 0.5
"""Longest that a reader waits for its first picture to be seen."""

HATCH_PX = 32
"""Distance of the lines that mark a frame which has not arrived."""


class ArrivingFrames(LazyFrames):
    """Frames of which some have not arrived; a hatched blank stands in their place.

    Parameters
    ----------
    frames : (T, H, W) Frames
        Asked only for frames that have arrived.
    has : callable
        Whether a frame (from 0) has arrived.
    window : DisplayWindow
        That the blank is to be seen in.
    """

    def __init__(self, frames: Frames, has: Callable[[int], bool], window: DisplayWindow) -> None:
        super().__init__(frames.shape, frames.dtype)
        self.has = has
        self._frames, self._window = frames, window

    @cached_property
    def _blank(self) -> NDArray[np.generic]:
        rows, columns = np.ogrid[: self.shape[1], : self.shape[2]]
        lines = (rows + columns) % HATCH_PX < HATCH_PX // 16
        low, high = self._window.low, self._window.high
        return np.where(lines, low + 0.3 * (high - low), low).astype(self.dtype)

    def frame(self, index: int, region: Region = WHOLE) -> NDArray[np.generic]:
        """A part of a frame, or of the blank."""
        part: NDArray[np.generic] = self._frames[(index, *region)] if self.has(index) else self._blank[region]
        return part


class GreyFrames(LazyFrames):
    """Stored values brought through the grey pipeline one frame at a time.

    Parameters
    ----------
    stored : (T, H, W) Frames
        Stored values.
    dataset : Dataset
        The flattened header.
    like : (T, H, W) Frames
        The same run through the pipeline as a whole.
    """

    def __init__(self, stored: Frames, dataset: Dataset, like: Frames) -> None:
        super().__init__(like.shape, like.dtype)
        self._stored, self._dataset = stored, dataset

    def frame(self, index: int, region: Region = WHOLE) -> NDArray[np.generic]:
        """A part of a frame."""
        return to_grey(self._stored[index : index + 1], self._dataset, "").frames[0][region]

    def agrees(self, like: Frames, indices: Sequence[int]) -> bool:
        """Whether single frames come out as the whole run does; what is shown early must be shown late."""
        return all(np.array_equal(self.frame(index), like[index]) for index in indices)


class Arriving:
    """What can be shown of a study while its frames are being decoded.

    Parameters
    ----------
    study : Study
        Provisional: its source hashes and unread frames mean nothing yet.
    runs : sequence of RunDecoder
        One a view, in the order of its views.

    Attributes
    ----------
    runs : tuple of RunDecoder
        Their decoders.
    tell : callable
        Called with view and frame when one was decoded, on the thread that reads; set it to be told.
    seen : threading.Event
        Who shows the first picture clears it at once and sets it when the picture is on screen; so long, but
        not longer than `FIRST_LOOK_S`, the reader leaves processor and interpreter to the window.
    """

    def __init__(self, study: Study, runs: Sequence[RunDecoder]) -> None:
        self.study = study
        self.runs = tuple(runs)
        self.tell: Callable[[int, int], None] = lambda view, frame: None
        self.seen = Event()
        self.seen.set()
        self._looked_at = [0] * len(runs)

    def look_at(self, view: int, frame: int) -> None:
        """Have the frames around this one decoded next; safe from any thread."""
        self._looked_at[view] = frame

    def has(self, view: int, frame: int) -> bool:
        """Whether a frame of a view can be seen."""
        pixels = self.study.views[view].pixels
        return pixels.has(frame) if isinstance(pixels, ArrivingFrames) else True

    @property
    def counts(self) -> tuple[int, int]:
        """Frames that have arrived, of how many."""
        return sum(int(run.arrived.sum()) for run in self.runs), sum(run.count for run in self.runs)

    def nearest_first(self) -> Iterator[tuple[int, int]]:
        """View and frame to decode next: always the one nearest to what is looked at, the later one first."""
        left = [~run.tried for run in self.runs]
        while any(frames.any() for frames in left):
            _, view, frame = min(
                (_distance(int(frame), looked_at), view, int(frame))
                for view, (frames, looked_at) in enumerate(zip(left, self._looked_at, strict=True))
                for frame in np.flatnonzero(frames)
            )
            left[view][frame] = False
            yield view, frame


def _distance(frame: int, looked_at: int) -> float:
    return frame - looked_at if frame >= looked_at else looked_at - frame + 0.5


def first_frames(run: RunDecoder) -> list[int]:
    """What has to be decoded before the first picture of a run can be shown, in that order.

    The first frame with its masks, and those few by which a window and the look of the run are judged, so
    that neither changes when the rest has arrived.
    """
    everything = np.arange(run.count)
    wanted = [0, *sampled_indices(everything)]
    how = recommended_subtraction(flattened(run.file.dataset))
    if how is not None:
        shape = (run.count, run.layout.rows, run.layout.columns)
        frames = SubtractedFrames(np.broadcast_to(np.uint8(0), shape), how)
        for some in (everything[:1], everything[frames.is_subtracted], everything[~frames.is_subtracted]):
            wanted += [number for index in sampled_indices(some) for number in sorted(frames.needs(index))]
    return list(dict.fromkeys(wanted))


def first_tasks(runs: Sequence[RunDecoder]) -> Iterator[Task]:
    """The first frames of several runs."""
    return ((number, frame) for number, run in enumerate(runs) for frame in first_frames(run))


def provisional_view(run: RunDecoder) -> View | None:
    """The view of a run whose first frames have arrived; None where frames cannot be shown one by one."""
    if run.frames is None:
        return None
    _fill_with_neighbours(run)
    view = view_from(run.file, run.so_far(), source_hash=f"arriving {uuid4()}")
    grey, stored = view.stored, run.frames
    if not np.shares_memory(np.asarray(grey), stored):
        one_by_one = GreyFrames(stored, flattened(run.file.dataset), grey)
        if not one_by_one.agrees(grey, sampled_indices(np.flatnonzero(run.arrived))):
            return None
        grey = one_by_one
    return _with_blanks(view, grey, run)


def _with_blanks(view: View, grey: Frames, run: RunDecoder) -> View:
    """The view with blanks in the place of frames that have not arrived."""

    def has(index: int) -> bool:
        return bool(run.arrived[index])

    if not isinstance(view.pixels, SubtractedFrames):
        return replace(view, pixels=ArrivingFrames(grey, has, view.window))
    subtracted = SubtractedFrames(grey, view.pixels.how, view.log_table, view.pixels.rescale)
    return replace(
        view,
        pixels=ArrivingFrames(subtracted, lambda index: all(map(has, subtracted.needs(index))), view.window),
        native=ArrivingFrames(grey, has, view.native_windows[0]),
    )


def _fill_with_neighbours(run: RunDecoder) -> None:
    """Put frames that have arrived into the places of the others, for the pipeline only; nobody sees them."""
    assert run.frames is not None
    there = np.flatnonzero(run.arrived)
    for index in np.flatnonzero(~run.arrived):
        run.frames[index] = run.frames[there[np.abs(there - index).argmin()]]
