"""Finding the pixel shift that lays the mask over the bones of the contrast frames.

Bones are compared, not vessels: of both frames, in the space of the subtraction, the strength of the edges
(gradient magnitude) is taken, and the two pictures are brought together by upsampled cross-correlation in the
Fourier space (Guizar-Sicairos, Thurman and Fienup, Optics Letters 33:156, 2008; scikit-image
`phase_cross_correlation`). It is the plain correlation: the "phase" variant gives every frequency the same
weight and so follows the noise; on phantoms it missed by up to 0.5 px, the plain one by 0.02 px.

It goes by turns: the mask is laid over the frame by the present shift, and what is still missing is added. So
the fading rim, which is the same for both, pulls at an ever smaller rest. Where the frame is darker than the
mask laid over it there is iodine, and the frame takes the edges of that mask: these ask for no further shift,
so that the turns come to rest where the bones alone want it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, binary_opening, gaussian_filter

from napari_clipmed.io.mask_settings import Shift, default_subtraction, in_log_space, item_of, with_shift
from napari_clipmed.io.subtracted_frames import shift_mask
from napari_clipmed.progress import Progress
from napari_clipmed.study import Subtraction, View

FINEST = 100
"""Upsampling: shifts are found in hundredths of a pixel (of the binned frame)."""

MOST_ROUNDS = 6
AT_REST = 0.015
"""Rounds of taking out iodine; they end when the shift changes by less pixels than this."""

SMOOTHING = 1.0
"""Gaussian sigma in pixels before edges are taken."""

IODINE = 4.0
"""Robust standard deviations below the ground from which a difference counts as iodine."""

MARGIN = 0.1
"""Share of each side that fades out: collimators lie there, and what the shift moves in and out."""

BLACK = 0.01
"""Share of the grey range that counts as black."""

CLEAR = 0.9
"""Weight from which a pixel is clear of rims and black areas."""

FULL_SIZE = 640
"""Frames with longer sides than this are binned 2 by 2 first."""

SAMPLED = 9
"""Frames of an item, evenly spaced, from which the shift of the whole run is taken (their median)."""

Frame = NDArray[np.float32]


@dataclass(frozen=True)
class Bones:
    """A frame in the space of the subtraction, binned, with its edges.

    Parameters
    ----------
    frame, edges : (H, W) float32 array
    """

    frame: Frame
    edges: Frame

    @classmethod
    def of(cls, frame: Frame) -> Bones:
        """From a binned frame."""
        return cls(frame, edge_strength(frame))


def auto_shift(
    view: View, wanted: Subtraction | None = None, per_frame: bool = False, progress: Progress | None = None
) -> Subtraction:
    """The subtraction with the shift of the mask that fits the bones best.

    Parameters
    ----------
    view : View
        Its stored frames are read, one after the other.
    wanted : Subtraction, optional
        The masks to shift; what is in force, or `default_subtraction`, where absent.
    per_frame : bool
        Give every frame a shift of its own, for patients who moved during the run; otherwise one shift an
        item.
    progress : Progress, optional
        Told about every frame; may cancel.

    Returns
    -------
    Subtraction
        With new shifts; a shift that would not lower the edges left after subtraction is not made.

    Raises
    ------
    ClipmedError
        When the view cannot be subtracted.
    """
    progress = progress or Progress()
    wanted = wanted or default_subtraction(view)
    wanted = with_shift(wanted, (0.0, 0.0))
    search = _Search(view, wanted)
    by_item: dict[int, list[int]] = {}
    for number in range(1, view.n_frames + 1):
        item = item_of(wanted, number, view.n_frames)
        if item is not None and number not in wanted.items[item].masks_of(number):
            by_item.setdefault(item, []).append(number)
    chosen = by_item if per_frame else {item: _spread(numbers) for item, numbers in by_item.items()}
    total = sum(len(numbers) for numbers in chosen.values())
    found: dict[int, Shift] = {}
    for item, numbers in chosen.items():
        for number in numbers:
            progress.step("Laying the mask over the bones", len(found), total)
            found[number] = search.shift_of(item, number)
    if per_frame:
        for number, shift in found.items():
            wanted = with_shift(wanted, shift, number)
        return wanted
    items = list(wanted.items)
    for item, numbers in chosen.items():
        middle = np.median([found[number] for number in numbers], axis=0)
        shift = (round(float(middle[0]), 2), round(float(middle[1]), 2))
        if search.is_better(item, numbers, shift):
            items[item] = replace(items[item], shift=shift)
    return replace(wanted, items=tuple(items))


class _Search:
    """Frames and masks of one view, binned; each mask is made once."""

    def __init__(self, view: View, wanted: Subtraction) -> None:
        self._view, self._wanted = view, wanted
        self._bin = 2 if max(view.stored.shape[1:]) > FULL_SIZE else 1
        self._masks: dict[tuple[int, ...], Bones] = {}
        stored = np.asarray(view.stored[view.n_frames // 2]).astype(np.float32)
        stored = binned(stored, self._bin)
        self._field, self._black = field_of(stored), binary_dilation(black_areas(stored), iterations=2)

    def shift_of(self, item: int, number: int) -> Shift:
        """Shift of the mask for one frame, in pixels of the view; (0, 0) where none fits better."""
        mask, frame = self._mask(item, number), Bones.of(self._frame((number,)))
        shift = best_shift(mask, frame, self._field)
        before, after = residual_edges(mask.frame, frame.frame, shift, self._field)
        if after >= before:
            return 0.0, 0.0
        return round(shift[0] * self._bin, 2), round(shift[1] * self._bin, 2)

    def is_better(self, item: int, numbers: list[int], shift: Shift) -> bool:
        """Whether a shift leaves less edges than none, over some frames."""
        small = (shift[0] / self._bin, shift[1] / self._bin)
        left = [
            residual_edges(self._mask(item, number).frame, self._frame((number,)), small, self._field)
            for number in numbers
        ]
        before, after = np.sum(left, axis=0)
        return bool(after < before)

    def _mask(self, item: int, number: int) -> Bones:
        count = self._view.n_frames
        numbers = tuple(n for n in self._wanted.items[item].masks_of(number) if 1 <= n <= count)
        if numbers not in self._masks:
            self._masks = {numbers: Bones.of(self._frame(numbers))}
        return self._masks[numbers]

    def _frame(self, numbers: tuple[int, ...]) -> Frame:
        """Mean of some frames (from 1) in the space of the subtraction, binned."""
        total = sum(in_log_space(self._view, np.asarray(self._view.stored[n - 1])) for n in numbers)
        mean = binned(np.asarray(total, np.float32) / np.float32(len(numbers)), self._bin)
        if (
            self._black.any()
        ):  # its logarithm is far below all others, and its border would outshine the bones
            mean[self._black] = np.median(mean[~self._black])
        return mean


def best_shift(mask: Bones, frame: Bones, field: Frame) -> Shift:
    """Rows down and columns to the LEFT by which the mask must move to lie on the bones of a frame.

    Parameters
    ----------
    field : (H, W) float32 array
        Weight of each pixel, as `field_of` makes it.
    """
    from skimage.registration import phase_cross_correlation

    def faded(edges: Frame) -> Frame:
        return (edges - np.average(edges, weights=field)) * field

    shift, laid, laid_edges, edges = (0.0, 0.0), mask.frame, mask.edges, frame.edges
    for turn in range(MOST_ROUNDS):
        if turn:
            laid = shift_mask(mask.frame, shift)
            laid_edges = edge_strength(laid)
            edges = np.where(iodine(frame.frame - laid), laid_edges, frame.edges)
        (down, right), _, _ = phase_cross_correlation(
            faded(edges), faded(laid_edges), upsample_factor=FINEST, normalization=None
        )
        shift = (shift[0] + float(down), shift[1] - float(right))
        if turn and max(abs(down), abs(right)) < AT_REST:
            break
    return shift


def residual_edges(mask: Frame, frame: Frame, shift: Shift, field: Frame) -> tuple[float, float]:
    """Mean squared edge strength left outside the vessels after subtraction: without the shift, and with it.

    Parameters
    ----------
    mask, frame : (H, W) float32 array
        In the space of the subtraction.
    shift : (float, float)
        Rows down, columns to the LEFT.
    field : (H, W) float32 array
        Weight of each pixel.
    """
    with_it = frame - shift_mask(mask, shift)
    clear = (field > CLEAR).astype(np.float32)
    weight = clear * shift_mask(clear, shift) * ~iodine(with_it)
    before, after = (
        float((edge_strength(left) ** 2 * weight).sum() / max(float(weight.sum()), 1.0))
        for left in (frame - mask, with_it)
    )
    return before, after


def field_of(stored: Frame) -> Frame:
    """Weight of each pixel, 0 to 1: the rim fades out, and so do black areas (collimators, padding).

    Their borders stand still whatever the patient does, and would hold the shift at zero.

    Parameters
    ----------
    stored : (H, W) float32 array
        Stored grey values of one frame.
    """
    rows, columns = (_faded_ends(length) for length in stored.shape)
    fade = np.outer(rows, columns).astype(np.float32)
    black = black_areas(stored)
    if not black.any():
        return fade
    open_field = gaussian_filter((~binary_dilation(black, iterations=9)).astype(np.float32), 3.0)
    return fade * open_field


def _faded_ends(length: int) -> Frame:
    """1 in the middle, half a cosine wave down to 0 at both ends (a Tukey window)."""
    depth = (np.arange(length) + 0.5) / (MARGIN * length)
    ramp = np.minimum(np.minimum(depth, depth[::-1]), 1.0)
    return (0.5 - 0.5 * np.cos(np.pi * ramp)).astype(np.float32)


def black_areas(stored: Frame) -> NDArray[np.bool_]:
    """Where no X-rays arrive over 7 by 7 pixels and more; nowhere, where that is nearly nothing or all."""
    low, high = float(stored.min()), float(np.percentile(stored[::2, ::2], 99))
    black = binary_opening(stored <= low + BLACK * (high - low), np.ones((7, 7), bool))
    return black if 0.001 < black.mean() < 0.8 else np.zeros_like(black)


def iodine(difference: Frame) -> NDArray[np.bool_]:
    """Where a difference is darker than its ground by far more than the noise, with a rim around it."""
    smooth = gaussian_filter(difference, SMOOTHING)
    ground = np.median(smooth[::2, ::2])
    spread = 1.4826 * np.median(np.abs(smooth[::2, ::2] - ground))
    return binary_dilation(smooth < ground - IODINE * spread, iterations=4)


def edge_strength(frame: Frame) -> Frame:
    """Gradient magnitude of the slightly smoothed frame."""
    rows, columns = np.gradient(gaussian_filter(frame, SMOOTHING))
    return np.hypot(rows, columns).astype(np.float32, copy=False)


def binned(frame: Frame, size: int) -> Frame:
    """Means of `size` by `size` pixels; an odd rest is left out."""
    if size == 1:
        return frame.copy()
    rows, columns = (length // size for length in frame.shape)
    blocks = frame[: rows * size, : columns * size].reshape(rows, size, columns, size)
    return blocks.mean(axis=(1, 3), dtype=np.float32)


def _spread(numbers: list[int]) -> list[int]:
    """At most `SAMPLED` of them, evenly spaced."""
    if len(numbers) <= SAMPLED:
        return numbers
    places = np.unique(np.linspace(0, len(numbers) - 1, SAMPLED).round().astype(int))
    return [numbers[place] for place in places]
