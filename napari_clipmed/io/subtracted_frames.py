"""A run minus its masks, frame by frame as DICOM defines it (PS3.3 C.7.6.10; PS3.4 N.2.5.1).

Pure arithmetic on arrays: nothing here knows files or views. Frame numbers are DICOM's, counted from 1, in
`Subtraction`; indices of arrays count from 0.

The result is what an angiographer expects: iodine is dark (negative), the unchanged ground is 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.lazy_frames import WHOLE, LazyFrames, Recent, Region
from napari_clipmed.study import Frames, Intensity, MaskItem, MaskOperation, Subtraction

Floats = NDArray[np.float32]

FRAME_BUDGET = 2**24
"""Bytes of subtracted frames that are kept: four of 1024²; a fifth costs some milliseconds."""

MASK_BUDGET = 2**23
"""Bytes of shifted masks that are kept: two of 1024²."""


@dataclass(frozen=True)
class Rescale:
    """How unsubtracted frames are brought into the grey range of the subtracted ones."""

    scale: float
    offset: float


class SubtractedFrames(LazyFrames):
    """Contrast minus mask, made when a frame is asked for; the last few frames and masks are kept.

    Frames that no item subtracts, and those whose mask lies outside the run (the first frames of TID), keep
    their values in the same logarithmic space, under `rescale` where that is given.

    Parameters
    ----------
    native : (T, H, W) Frames
        Grey values, bright is bright.
    how : Subtraction
        What is subtracted from what.
    log_table : (N,) float32 array, optional
        Takes the place of ``how.intensity``; see `View.log_table`.
    rescale : Rescale, optional
        For unsubtracted frames, so that they can be seen in the window of the others.
    """

    def __init__(
        self,
        native: Frames,
        how: Subtraction,
        log_table: Floats | None = None,
        rescale: Rescale | None = None,
    ) -> None:
        super().__init__(native.shape, np.float32)
        self.native, self.how, self.rescale = native, how, rescale
        self._log_table = log_table
        self._frames, self._masks = Recent(FRAME_BUDGET), Recent(MASK_BUDGET)
        self._items = _items_of_frames(how, len(native))

    @property
    def is_subtracted(self) -> NDArray[np.bool_]:
        """Which frames are subtracted, (T,)."""
        return np.array([item is not None for item in self._items], dtype=bool)

    def needs(self, index: int) -> frozenset[int]:
        """Indices of the native frames that make frame `index`: itself, those averaged with it, its mask."""
        item = self._items[index]
        if item is None:
            return frozenset({index})
        return frozenset({*self._averaged(index, item), *self._inside(item.masks_of(index + 1))})

    def frame(self, index: int, region: Region = WHOLE) -> Floats:
        """A part of a frame, (h, w) float32."""
        if region == WHOLE:
            return self._frames.get_or_make(index, lambda: self._made(index, WHOLE))
        known = self._frames.get(index)
        return self._made(index, region) if known is None else known[region]

    def _made(self, index: int, region: Region) -> Floats:
        item = self._items[index]
        if item is None:
            result = self._logged([index], region)
            if self.how.falling:
                np.negative(result, out=result)
            if self.rescale is not None:
                result *= np.float32(self.rescale.scale)
                result += np.float32(self.rescale.offset)
            return result
        contrast = self._logged(self._averaged(index, item), region)
        mask = self._mask(index, item)[region]
        first, second = (mask, contrast) if self.how.falling else (contrast, mask)
        return np.subtract(first, second, out=contrast)

    def _mask(self, index: int, item: MaskItem) -> Floats:
        """The mask of a frame, whole: averaged, shifted, and weakened where landmarks are to stay."""
        numbers, shift = item.masks_of(index + 1), self.how.shift_of(index + 1, item)
        return self._masks.get_or_make((numbers, shift), lambda: self._make_mask(numbers, shift))

    def _make_mask(self, numbers: tuple[int, ...], shift: tuple[float, float]) -> Floats:
        mask = shift_mask(self._logged(self._inside(numbers), WHOLE), shift)
        if self.how.landmark:
            # C − (M − λ (M − middle)) = (C − M) + λ (M − middle): anatomy comes back, the ground stays at 0.
            share = np.float32(self.how.landmark)
            middle = np.float32(np.median(mask[::4, ::4]))
            mask = mask * (1 - share) + share * middle
        return mask

    def _logged(self, indices: Iterable[int], region: Region) -> Floats:
        """The mean of native frames in logarithmic space; an array of its own."""
        first, *others = indices
        mean = self._log(first, region)
        for other in others:
            mean += self._log(other, region)
        if others:
            mean /= np.float32(1 + len(others))
        return mean

    def _log(self, index: int, region: Region) -> Floats:
        return to_log(self.native[(index, *region)], self.how.intensity, self._log_table)

    def _averaged(self, index: int, item: MaskItem) -> range:
        """Contrast Frame Averaging: that many frames from this one on, as far as the run goes."""
        return range(index, min(index + max(item.averaging, 1), len(self)))

    def _inside(self, numbers: Iterable[int]) -> list[int]:
        """Frame numbers as indices, without those outside the run."""
        return [number - 1 for number in numbers if 1 <= number <= len(self)]


def _items_of_frames(how: Subtraction, count: int) -> list[MaskItem | None]:
    """For each frame the first item that applies to it and whose mask exists."""
    found: list[MaskItem | None] = [None] * count
    for item in reversed(how.items):
        if item.operation is MaskOperation.AVG_SUB:
            usable = np.full(count, any(1 <= mask <= count for mask in item.mask_frames))
        else:
            masks = [item.masks_of(number) for number in range(1, count + 1)]
            usable = np.array([any(1 <= mask <= count for mask in some) for some in masks], dtype=bool)
        for index in np.flatnonzero(usable & _applies(item, count)):
            found[index] = item
    return found


def _applies(item: MaskItem, count: int) -> NDArray[np.bool_]:
    """Which frames lie in the ranges of an item, (T,); fast for thousands of ranges too."""
    if not item.ranges:
        return np.ones(count, bool)
    first, last = np.array(item.ranges, dtype=np.int64).T
    sound = (first <= last) & (last >= 1) & (first <= count)
    steps = np.zeros(count + 1, np.int64)
    np.add.at(steps, np.clip(first[sound], 1, count) - 1, 1)
    np.add.at(steps, np.clip(last[sound], 1, count), -1)
    return np.cumsum(steps[:-1]) > 0


def to_log(frame: NDArray[Any], intensity: Intensity, table: Floats | None = None) -> Floats:
    """A frame in a space logarithmic to the X-ray intensity (PS3.4 N.2.5.1); a new array.

    LIN is logged, log(1 + value); LOG is taken as it is; DISP is unknown to the standard and is subtracted
    as it is, which keeps the look that the equipment chose. A table of the file's own goes before all three.

    Parameters
    ----------
    frame : (h, w) array
    table : (N,) float32 array, optional
        See `View.log_table`.
    """
    counts = frame.dtype.kind == "u" and frame.dtype.itemsize <= 2
    if table is None and intensity is Intensity.LINEAR and counts:
        table = logarithms(256**frame.dtype.itemsize)
    if table is not None:
        if counts:
            return np.take(table, frame, mode="clip")
        return np.interp(frame, np.arange(len(table)), table).astype(np.float32)
    values = frame.astype(np.float32)
    return np.log1p(np.maximum(values, 0)) if intensity is Intensity.LINEAR else values


@cache
def logarithms(count: int) -> Floats:
    """log(1 + value) of the grey values from 0 to count − 1: one look a pixel instead of one logarithm."""
    table = np.log1p(np.arange(count, dtype=np.float64)).astype(np.float32)
    table.flags.writeable = False
    return table


def shift_mask(mask: Floats, shift: tuple[float, float]) -> Floats:
    """Move a mask by (rows down, columns to the left); linear between pixels, edges repeated.

    Parameters
    ----------
    mask : (H, W) float32 array
    shift : (float, float)
        As in (0028,6114). PS3.3 C.7.6.10.1.2: a positive row offset shifts towards the lower row of the pixel
        plane, a positive column offset towards its LEFT-hand side.
    """
    rows, columns = shift
    return _moved(_moved(mask, rows, 0), -columns, 1)


def _moved(image: Floats, by: float, axis: int) -> Floats:
    """Displace along one axis, towards higher indices for positive `by`."""
    if not by:
        return image
    whole = int(np.floor(by))
    part = np.float32(by - whole)
    count = image.shape[axis]
    places = np.arange(count)
    moved = np.take(image, np.clip(places - whole, 0, count - 1), axis=axis)
    if part:
        moved *= 1 - part
        moved += part * np.take(image, np.clip(places - whole - 1, 0, count - 1), axis=axis)
    return moved
