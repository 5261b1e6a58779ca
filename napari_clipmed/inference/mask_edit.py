"""Correcting a mask: what the Segment dock's buttons and ``napari-clipmed mask-edit`` do, pixels only.

Pieces are 8-connected, so that a vessel one pixel wide stays whole; holes are therefore 4-connected. Every
function leaves its arguments as they are and works within the mask's own box, which keeps a film of 1024 by
1024 within tens of milliseconds.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import flood

from napari_clipmed.errors import ClipmedError

Mask = NDArray[np.bool_]
Labels = NDArray[np.integer[Any]]
Point = tuple[int, int]
"""Row and column."""

LARGEST_VALUE = 255
"""Of a label; layers and label files hold bytes."""

MOST = 1e6
"""Upper bound of every amount that is typed."""

_EIGHT = np.ones((3, 3), bool)
_REACH = 4.0
"""Standard deviations at which a Gaussian is cut off."""


@dataclass(frozen=True)
class PixelSize:
    """Height and width of a pixel in millimetres."""

    row_mm: float
    column_mm: float


# -- shapes -----------------------------------------------------------------------------------------------


def smooth(mask: Mask, amount: float, pixel: tuple[float, float] = (1.0, 1.0)) -> Mask:
    """Round off a mask: a Gaussian over it, cut at one half; what is thinner than `amount` may vanish.

    Parameters
    ----------
    mask : (H, W) bool array
    amount : float
        Standard deviation of the Gaussian, in the unit of `pixel`.
    pixel : (float, float)
        Height and width of a pixel; (1, 1) lets `amount` count pixels.
    """
    sigmas = [amount / side for side in pixel]
    box = _box(mask, [_REACH * sigma for sigma in sigmas])
    after = mask.copy()
    if box is not None:
        soft = ndimage.gaussian_filter(mask[box].astype(np.float32), sigmas, mode="nearest", truncate=_REACH)
        after[box] = soft >= 0.5
    return after


def grow(mask: Mask, amount: float, pixel: tuple[float, float] = (1.0, 1.0)) -> Mask:
    """Every pixel within a distance of the mask; parameters as in `smooth`."""
    box = _box(mask, [amount / side for side in pixel])
    after = mask.copy()
    if box is not None:
        after[box] = ndimage.distance_transform_edt(~mask[box], sampling=pixel) <= amount + 1e-9
    return after


def shrink(mask: Mask, amount: float, pixel: tuple[float, float] = (1.0, 1.0)) -> Mask:
    """The pixels farther than a distance from everything outside; parameters as in `smooth`.

    The edge of the picture is not outside: what a mask covers there goes on beyond it.
    """
    box = _box(mask, (0.0, 0.0))
    after = mask.copy()
    if box is not None and not mask[box].all():  # without any outside there are no distances
        after[box] = ndimage.distance_transform_edt(mask[box], sampling=pixel) > amount + 1e-9
    return after


def fill_holes(mask: Mask, largest: float = math.inf) -> Mask:
    """Fill what the mask encloses, up to `largest` pixels a hole."""
    holes = ndimage.binary_fill_holes(mask) & ~mask
    if math.isinf(largest):
        return mask | holes
    numbers, n = ndimage.label(holes)
    sizes = np.bincount(numbers.ravel(), minlength=n + 1)
    chosen = sizes <= largest
    chosen[0] = False
    return mask | chosen[numbers]


# -- pieces -----------------------------------------------------------------------------------------------


def pieces(mask: Mask) -> tuple[NDArray[np.int32], int]:
    """Number the pieces of a mask from 1 on, the largest first.

    Returns
    -------
    numbers : (H, W) int32 array
        0 outside.
    n : int
    """
    found, n = ndimage.label(mask, _EIGHT)
    sizes = np.bincount(found.ravel(), minlength=n + 1)[1:]
    numbers = np.zeros(n + 1, np.int32)
    numbers[1 + np.argsort(-sizes, kind="stable")] = np.arange(1, n + 1)
    return numbers[found], n


def keep_largest(mask: Mask, n: int = 1) -> Mask:
    """The `n` largest pieces."""
    numbers, _ = pieces(mask)
    return (numbers > 0) & (numbers <= n)


def remove_small(mask: Mask, smallest: float) -> Mask:
    """Without the pieces of fewer than `smallest` pixels."""
    numbers, n = pieces(mask)
    large = np.bincount(numbers.ravel(), minlength=n + 1) >= smallest
    large[0] = False
    return large[numbers]


def piece_at(mask: Mask, point: Point) -> Mask:
    """The piece of a mask at a pixel; empty where the pixel is outside the mask or the picture."""
    inside = all(0 <= at < length for at, length in zip(point, mask.shape, strict=True))
    if not inside or not mask[point]:
        return np.zeros_like(mask)
    found: Mask = flood(mask, point, connectivity=2)
    return found


def summit(heights: NDArray[np.floating[Any]], piece: Mask) -> Point:
    """The pixel of a piece where `heights` is greatest; the first of several."""
    at = int(np.argmax(np.where(piece, heights, -np.inf)))
    row, column = divmod(at, piece.shape[1])
    return row, column


def without_pieces(mask: Mask, heights: NDArray[np.floating[Any]], dropped: Collection[Point]) -> Mask:
    """A mask cut from a probability, without the pieces that a person dropped.

    A piece is known by its summit, which moves with no threshold: a dropped piece stays dropped while it
    grows or shrinks, and where it runs into a stronger one, that one's fate counts.

    Parameters
    ----------
    heights : (H, W) float array
        The probability.
    dropped : collection of (row, column)
        Summits of the dropped pieces.
    """
    after = mask.copy()
    for point in dropped:
        piece = piece_at(mask, point)
        if piece.any() and summit(heights, piece) == point:
            after &= ~piece
    return after


# -- greys ------------------------------------------------------------------------------------------------


def shade(frame: NDArray[Any], low: float, high: float) -> NDArray[np.float32]:
    """Grey values as shares of the display window, from 0 (black) to 1 (white)."""
    scaled = (np.asarray(frame, np.float32) - low) / (high - low if high > low else 1.0)
    return np.clip(scaled, 0.0, 1.0)


def passing(shades: NDArray[np.floating[Any]], level: float, darker: bool) -> Mask:
    """Where a picture is darker (or brighter) than a level; the level itself passes."""
    return shades <= level if darker else shades >= level


# -- several classes --------------------------------------------------------------------------------------


def put(labels: Labels, value: int, mask: Mask) -> Labels:
    """Let a class cover exactly `mask`, as far as no other class is there.

    Parameters
    ----------
    labels : (H, W) int array
        Label values; 0 is none.
    """
    own = labels == value
    after = np.where(own, 0, labels).astype(labels.dtype)
    after[mask & (own | (labels == 0))] = value
    return after


def split(labels: Labels, value: int, values: Sequence[int]) -> Labels:
    """Give the pieces of a class values of their own: the largest keeps `value`, the others get `values`.

    Where `values` run out, the smallest pieces share the last one.
    """
    numbers, n = pieces(labels == value)
    table = np.zeros(n + 1, labels.dtype)
    given = [value, *values]
    for number in range(1, n + 1):
        table[number] = given[min(number, len(given)) - 1]
    return np.where(numbers > 0, table[numbers], labels).astype(labels.dtype)


def move(labels: Labels, mask: Mask, value: int) -> Labels:
    """Give the pixels of `mask` to a class."""
    after = labels.copy()
    after[mask] = value
    return after


# -- steps, as they are typed -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One edit with its amount.

    Parameters
    ----------
    name : str
        A key of `STEPS`.
    amount : float or None
        In `unit`.
    unit : str
        "px", "mm" (lengths) or "mm2" (areas).
    """

    name: str
    amount: float | None = None
    unit: str = "px"

    def __str__(self) -> str:
        unit = "" if self.unit == "px" else self.unit
        return self.name if self.amount is None else f"{self.name}:{self.amount:g}{unit}"


@dataclass(frozen=True)
class _Kind:
    """What a step's amount means ("length", "area", "count"), and whether it may be left out."""

    measures: str
    optional: bool = False


STEPS: dict[str, _Kind] = {
    "smooth": _Kind("length"),
    "grow": _Kind("length"),
    "shrink": _Kind("length"),
    "keep-largest": _Kind("count", optional=True),
    "remove-small": _Kind("area"),
    "fill-holes": _Kind("area", optional=True),
}
"""The steps that turn a mask into a mask."""

_UNITS = {"length": ("px", "mm"), "area": ("px", "mm2"), "count": ("px",)}
_WRITTEN = re.compile(r"(?P<name>[a-z-]+)(?::(?P<amount>\d+(?:\.\d+)?)(?P<unit>px|mm2?|))?")


def read_steps(text: str) -> tuple[Step, ...]:
    """Steps as they are typed: "smooth:2,grow:0.5mm,keep-largest".

    Raises
    ------
    ClipmedError
        For an unknown step, or one whose amount is missing, of the wrong unit or out of range.
    """
    steps = tuple(_read_step(part.strip()) for part in text.split(",") if part.strip())
    if not steps:
        raise ClipmedError("There is no step.", f"Choose among {', '.join(STEPS)}.")
    return steps


def _read_step(text: str) -> Step:
    found = _WRITTEN.fullmatch(text)
    kind = STEPS.get(found["name"]) if found else None
    if found is None or kind is None:
        raise ClipmedError(
            f"{text!r} is no step.", f"Write for example smooth:2,keep-largest; steps are {', '.join(STEPS)}."
        )
    if found["amount"] is None:
        if not kind.optional:
            raise ClipmedError(f"{text!r} needs an amount.", f"Write for example {text}:2.")
        return Step(text)
    amount, unit = float(found["amount"]), found["unit"] or "px"
    if unit not in _UNITS[kind.measures]:
        raise ClipmedError(f"{text!r} cannot be in {unit}.", f"Use {' or '.join(_UNITS[kind.measures])}.")
    whole = kind.measures != "count" or amount.is_integer()
    if not 0 < amount <= MOST or not whole:
        raise ClipmedError(f"The amount of {text!r} is out of range.", "Give a number above 0.")
    return Step(found["name"], amount, unit)


def run_step(mask: Mask, step: Step, size: PixelSize | None = None) -> Mask:
    """The mask after one step.

    Parameters
    ----------
    mask : (H, W) bool array
    size : PixelSize or None
        Needed for millimetres.

    Raises
    ------
    ClipmedError
        Where millimetres are asked for and not known.
    """
    if step.unit != "px" and size is None:
        raise ClipmedError(
            f"The step {step} is in millimetres, and the size of a pixel is not known.",
            "Give the amount in pixels.",
        )
    kind, amount = STEPS[step.name].measures, step.amount
    if kind == "length":
        pixel = (size.row_mm, size.column_mm) if size and step.unit == "mm" else (1.0, 1.0)
        return _LENGTHS[step.name](mask, amount or 0.0, pixel)
    if kind == "count":
        return keep_largest(mask, int(amount or 1))
    if amount is not None and size and step.unit == "mm2":
        amount /= size.row_mm * size.column_mm
    return (
        remove_small(mask, amount or 0.0)
        if step.name == "remove-small"
        else fill_holes(mask, amount or math.inf)
    )


def run_steps(mask: Mask, steps: Sequence[Step], size: PixelSize | None = None) -> Mask:
    """The mask after all steps, in their order; see `run_step`."""
    for step in steps:
        mask = run_step(mask, step, size)
    return mask


_LENGTHS: dict[str, Callable[[Mask, float, tuple[float, float]], Mask]] = {
    "smooth": smooth,
    "grow": grow,
    "shrink": shrink,
}


def _box(mask: Mask, margins: Sequence[float]) -> tuple[slice, slice] | None:
    """The mask's box with room around it, kept within the picture; None for an empty mask."""
    found = ndimage.find_objects(mask.view(np.uint8))
    if not found or found[0] is None:
        return None
    rows, columns = (
        slice(max(part.start - math.ceil(margin) - 1, 0), min(part.stop + math.ceil(margin) + 1, length))
        for part, margin, length in zip(found[0], margins, mask.shape, strict=True)
    )
    return rows, columns
