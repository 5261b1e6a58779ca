"""Mask subtraction as DICOM defines it (mask items: PS3.3 C.7.6.10; place in the chain: PS3.4 N.2.5.1).

Pure functions on arrays: nothing here knows files. Frame numbers are DICOM's, counted from 1.

The result is what an angiographer expects: iodine is dark (negative), the unchanged ground is 0.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift as spline_shift

FLAT = 0.5
"""Flatness from which a run is taken to be subtracted already."""

FloatFrames = NDArray[np.float32]


class Operation(StrEnum):
    """Mask Operation (0028,6101)."""

    NONE = "NONE"
    AVERAGE = "AVG_SUB"
    TIME_DIFFERENCE = "TID"
    REVERSED_TIME_DIFFERENCE = "REV_TID"


class Intensity(StrEnum):
    """Pixel Intensity Relationship (0028,1040): how a grey value follows the X-ray intensity."""

    LINEAR = "LIN"
    LOGARITHMIC = "LOG"
    DISPLAY = "DISP"


@dataclass(frozen=True)
class MaskItem:
    """One item of the Mask Subtraction Sequence (0028,6100).

    Parameters
    ----------
    operation : Operation
        How the mask of a contrast frame is found.
    mask_frames : tuple of int
        Mask Frame Numbers (0028,6110), from 1; several are averaged. Used by AVG_SUB only.
    ranges : tuple of (int, int)
        Applicable Frame Range (0028,6102), inclusive, from 1; empty means every frame.
    averaging : int
        Contrast Frame Averaging (0028,6112): frames averaged, starting at the contrast frame.
    shift : (float, float)
        Mask Sub-pixel Shift (0028,6114), rows and columns. Positive rows move the mask down, positive
        columns move it to the LEFT, as the attribute says.
    tid_offset : int
        TID Offset (0028,6120), signed; 1 where absent.
    """

    operation: Operation = Operation.AVERAGE
    mask_frames: tuple[int, ...] = ()
    ranges: tuple[tuple[int, int], ...] = ()
    averaging: int = 1
    shift: tuple[float, float] = (0.0, 0.0)
    tid_offset: int = 1

    def applies_to(self, frame: int) -> bool:
        """Whether this item subtracts contrast frame number `frame` (from 1)."""
        return not self.ranges or any(first <= frame <= last for first, last in self.ranges)

    def masks_of(self, frame: int) -> tuple[int, ...]:
        """Numbers (from 1, possibly outside the run) of the frames that make the mask of `frame`."""
        first = self.ranges[0][0] if self.ranges else 1
        match self.operation:
            case Operation.AVERAGE:
                return self.mask_frames
            case Operation.TIME_DIFFERENCE:
                return (frame - self.tid_offset,)
            case Operation.REVERSED_TIME_DIFFERENCE:
                return (first - self.tid_offset - (frame - first),)
            case _:
                return ()


@dataclass(frozen=True, eq=False)
class Subtracted:
    """A subtracted run.

    Parameters
    ----------
    frames : (T, H, W) float32 array
        Contrast minus mask; frames that no item subtracts keep their values in the same space.
    is_subtracted : (T,) bool array
        Which frames were subtracted.
    """

    frames: FloatFrames
    is_subtracted: NDArray[np.bool_]


def to_log(frames: NDArray[np.generic], intensity: Intensity) -> FloatFrames:
    """Bring frames into a space logarithmic to the X-ray intensity (PS3.4 N.2.5.1).

    LIN is logged, log(1 + value); LOG is taken as it is; DISP is unknown to the standard and is subtracted
    as it is, which keeps the look that the equipment chose.
    """
    values = frames.astype(np.float32)
    if intensity is Intensity.LINEAR:
        return np.log1p(np.maximum(values, 0, out=values), out=values)
    return values


def shift_mask(mask: FloatFrames, shift: tuple[float, float]) -> FloatFrames:
    """Move a mask by (rows down, columns to the left); linear between pixels, edges repeated.

    Parameters
    ----------
    mask : (H, W) float32 array
    shift : (float, float)
        As in (0028,6114): positive rows down, positive columns LEFT.
    """
    if not any(shift):
        return mask
    rows, columns = shift
    return spline_shift(mask, (rows, -columns), order=1, mode="nearest").astype(np.float32, copy=False)


def subtract(
    frames: NDArray[np.generic],
    items: Iterable[MaskItem],
    intensity: Intensity = Intensity.LOGARITHMIC,
) -> Subtracted:
    """Subtract a run as its mask items say.

    Parameters
    ----------
    frames : (T, H, W) array
        The stored run; bright where many X-rays arrive.
    items : iterable of MaskItem
        The first item that applies to a frame counts. A frame in no item is left unsubtracted, and so is a
        frame whose mask lies outside the run (the first frames of TID).
    intensity : Intensity
        How the stored values follow the X-ray intensity.

    Returns
    -------
    Subtracted
        float32 differences, dark where iodine came in.
    """
    count = len(frames)
    result = np.empty(frames.shape, np.float32)
    done = np.zeros(count, dtype=bool)
    items = tuple(items)

    def logged(numbers: Iterable[int]) -> FloatFrames:
        wanted = [number - 1 for number in numbers if 1 <= number <= count]
        return to_log(frames[wanted], intensity).mean(axis=0, dtype=np.float32)

    last: tuple[tuple[int, ...], tuple[float, float]] | None = None
    mask = result[:0]
    for number in range(1, count + 1):
        item = next((item for item in items if _usable(item, number, count)), None)
        if item is None:
            result[number - 1] = logged([number])
            continue
        key = (item.masks_of(number), item.shift)
        if key != last:  # one mask serves a whole range of AVG_SUB
            mask, last = shift_mask(logged(key[0]), item.shift), key
        contrast = logged(range(number, number + max(item.averaging, 1)))
        np.subtract(contrast, mask, out=result[number - 1])
        done[number - 1] = True
    return Subtracted(result, done)


def _usable(item: MaskItem, number: int, count: int) -> bool:
    """Whether an item applies to a frame and its mask exists."""
    return item.applies_to(number) and any(1 <= mask <= count for mask in item.masks_of(number))


def flatness(frames: NDArray[np.generic]) -> float:
    """Share of pixels within a tenth of the grey range of the commonest grey, the rim left out.

    A subtracted run is mostly flat ground (0.7 and more on real runs); a native one shows anatomy everywhere
    (0.1 to 0.3).

    Parameters
    ----------
    frames : (T, H, W) array
    """
    height, width = frames.shape[1:]
    rows, columns = max(height // 128, 1), max(width // 128, 1)
    field = frames[:, height // 8 : height - height // 8 : rows, width // 8 : width - width // 8 : columns]
    low, middle, high = np.percentile(field.astype(np.float32), (0.5, 50, 99.5))
    if high <= low:
        return 0.0
    return float((np.abs(field - middle) < 0.1 * (high - low)).mean())


def looks_subtracted(frames: NDArray[np.generic]) -> bool:
    """Whether a run was probably subtracted by the scanner, which no standard attribute tells."""
    return len(frames) > 1 and flatness(frames) >= FLAT
