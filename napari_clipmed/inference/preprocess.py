"""From the grey values of a view to the numbers that a network reads; training uses the same functions.

The order is fixed: frames are chosen, one grey window is applied to the whole run, frames are resized into
the square that the network expects, and grey is repeated over three channels with CLIP's mean and spread.
open_clip's own transform is not used: it clips 16-bit pixels and cuts the borders off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.errors import ModelError
from napari_clipmed.study import Frames

if TYPE_CHECKING:
    from torch import Tensor

Fit = Literal["longest", "squash"]

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)
PAD_GREY = 0.45
"""Grey of the padding in [0, 1]: near CLIP's mean, so that the network sees almost zero there."""

_MOST_VALUES = 4_000_000
"""Percentiles of float pixels are taken from at most about this many values, evenly spread over the run."""


class Box(NamedTuple):
    """A rectangle, half open: rows [row0, row1), columns [column0, column1)."""

    row0: float
    column0: float
    row1: float
    column1: float


@dataclass(frozen=True)
class Preprocessing:
    """How a model wants its input; stored as ``preprocessing`` on the card.

    Parameters
    ----------
    size : int
        Side S of the square input in pixels.
    n_frames : int
        Frames taken from a run.
    fit : str
        "longest" keeps the shape and pads, "squash" fills the square.
    percentiles : (float, float)
        Grey window, over all frames of the run.
    mean, std : (float, float, float)
        Of the three channels, for greys in [0, 1].
    both_ways : bool
        A film is read mirrored too, and both answers are averaged.
    """

    size: int = 224
    n_frames: int = 16
    fit: Fit = "longest"
    percentiles: tuple[float, float] = (0.5, 99.5)
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    both_ways: bool = False

    @classmethod
    def from_card(cls, card: Mapping[str, Any]) -> Preprocessing:
        """Read the ``preprocessing`` of a card; what it does not say is as the defaults, extras are ignored.

        Raises
        ------
        ModelError
            When a value makes no sense.
        """
        known = {field.name for field in fields(cls)}
        values: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in card.items()
            if key in known
        }
        answer = cls(**values)
        if answer.fit not in ("longest", "squash") or answer.size < 1 or answer.n_frames < 1:
            raise ModelError(f"The preprocessing on the model's card makes no sense: {dict(card)}.")
        return answer

    def to_card(self) -> dict[str, Any]:
        """The same as plain values, for a card."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class ModelInput:
    """What a network reads of one view, and how it maps back.

    Parameters
    ----------
    frames : (t, S, S) float32 tensor
        Windowed, fitted greys in [0, 1], one for each frame in `index`.
    index : (t,) int64 array
        Original frame of each, ascending, without repeats.
    repeats : (n_frames,) int64 array
        Which of `frames` stands at each of the network's n_frames places.
    box : Box
        Where the frame lies in the S × S square, in model pixels.
    field : Box
        Where the S × S square lies in the frame, in pixels of the view; padding is outside the frame.
    inverted : bool
        Whether dark and bright were swapped.
    """

    frames: Tensor
    index: NDArray[np.int64]
    repeats: NDArray[np.int64]
    box: Box
    field: Box
    inverted: bool = False


def sample_frames(n_available: int, n_wanted: int = 16) -> NDArray[np.int64]:
    """Indices of `n_wanted` frames spread evenly over a run, first and last included.

    A run with fewer frames repeats some. Shape (n_wanted,), ascending.
    """
    return np.round(np.linspace(0, n_available - 1, n_wanted)).astype(np.int64)


def percentile_window(
    pixels: Frames | NDArray[np.generic], percentiles: tuple[float, float] = (0.5, 99.5)
) -> tuple[float, float]:
    """Grey window of a whole run (or film), which keeps the dynamics of the contrast medium.

    Parameters
    ----------
    pixels : (T, H, W) or (H, W) array
        Any real dtype; values that are not finite are ignored.
    percentiles : (float, float)
        Lower and upper percentile over all frames.

    Returns
    -------
    low, high : float
        ``low < high`` always, also for a constant picture.
    """
    if pixels.dtype.kind == "u" and pixels.dtype.itemsize <= 2:
        # The exact percentiles of integers, from their histogram: no sorting of a hundred million values.
        bins = 256**pixels.dtype.itemsize
        counts = np.cumsum(sum(np.bincount(frame.ravel(), minlength=bins) for frame in _each(pixels)))
        low, high = (float(np.searchsorted(counts, q / 100 * counts[-1])) for q in percentiles)
    else:
        values = _thinned(pixels, max(1, pixels.size // _MOST_VALUES))
        values = values[np.isfinite(values)]
        low, high = (float(v) for v in np.percentile(values, percentiles)) if values.size else (0.0, 1.0)
    return (low, high) if high > low else (low, low + 1.0)


def _each(pixels: Frames | NDArray[np.generic]) -> Iterable[NDArray[Any]]:
    """The frames of a run, or the one picture."""
    return pixels if pixels.ndim == 3 else (pixels[:],)


def _thinned(pixels: Frames | NDArray[np.generic], step: int) -> NDArray[np.float32]:
    """Every `step`-th value of a run, as if its frames lay one behind the other."""
    parts, passed = [], 0
    for frame in _each(pixels):
        parts.append(frame.ravel()[-passed % step :: step].astype(np.float32, copy=False))
        passed += frame.size
    return np.concatenate(parts)


def window_greys(pixels: NDArray[np.generic], low: float, high: float) -> NDArray[np.float32]:
    """Map [low, high] to [0, 1] and clip; values that are not finite become 0."""
    greys = (pixels.astype(np.float32) - low) / (high - low)
    return np.clip(np.nan_to_num(greys, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)


def fit_boxes(height: int, width: int, size: int, fit: Fit) -> tuple[Box, Box]:
    """Where a frame lies in the model's square, and where the square lies in the frame.

    Returns
    -------
    box : Box
        The frame in model pixels, whole numbers.
    field : Box
        The square in pixels of the frame; the map back for saliency and masks.
    """
    if fit == "squash":
        return Box(0, 0, size, size), Box(0, 0, height, width)
    scale = size / max(height, width)
    rows, columns = max(1, round(height * scale)), max(1, round(width * scale))
    top, left = (size - rows) // 2, (size - columns) // 2
    down, across = height / rows, width / columns
    field = Box(-top * down, -left * across, (size - top) * down, (size - left) * across)
    return Box(top, left, top + rows, left + columns), field


def fit_frames(greys: Tensor, size: int, fit: Fit = "longest", pad: float = PAD_GREY) -> Tensor:
    """Resize frames into the model's square with antialiasing.

    Parameters
    ----------
    greys : (N, H, W) float tensor
        Greys, or masks for training (then with ``pad=0``).
    size : int
        Side S.

    Returns
    -------
    (N, S, S) float tensor
    """
    from torch.nn import functional

    box, _ = fit_boxes(greys.shape[-2], greys.shape[-1], size, fit)
    shape = (int(box.row1 - box.row0), int(box.column1 - box.column0))
    if tuple(greys.shape[-2:]) != shape:
        greys = functional.interpolate(greys[:, None], shape, mode="bilinear", antialias=True)[:, 0]
    margins = (int(box.column0), size - int(box.column1), int(box.row0), size - int(box.row1))
    return functional.pad(greys, margins, value=pad) if any(margins) else greys


def unfit_map(values: Tensor, height: int, width: int, size: int, fit: Fit) -> Tensor:
    """Undo `fit_frames` for a map of any resolution on the model's square: (h, w) to (height, width)."""
    from torch.nn import functional

    box, _ = fit_boxes(height, width, size, fit)
    square = functional.interpolate(values[None, None], (size, size), mode="bilinear")
    inside = square[..., int(box.row0) : int(box.row1), int(box.column0) : int(box.column1)]
    smaller = height < inside.shape[-2] or width < inside.shape[-1]
    return functional.interpolate(inside, (height, width), mode="bilinear", antialias=smaller)[0, 0]


def normalise(greys: Tensor, preprocessing: Preprocessing) -> Tensor:
    """Greys in [0, 1], (..., S, S), to the three channels that CLIP reads, (..., 3, S, S)."""
    mean = greys.new_tensor(preprocessing.mean)[:, None, None]
    std = greys.new_tensor(preprocessing.std)[:, None, None]
    return (greys[..., None, :, :] - mean) / std


def prepare_run(pixels: Frames, preprocessing: Preprocessing, *, invert: bool = False) -> ModelInput:
    """Choose, window and fit the frames of a run for a diagnosis model.

    Parameters
    ----------
    pixels : (T, H, W) Frames
        Any real dtype, T at least 1.
    preprocessing : Preprocessing
        Of the model.
    invert : bool
        Swap dark and bright, for runs with bright vessels.
    """
    import torch

    low, high = percentile_window(pixels, preprocessing.percentiles)
    index, repeats = np.unique(sample_frames(len(pixels), preprocessing.n_frames), return_inverse=True)
    greys = window_greys(pixels[index], low, high)
    if invert:
        greys = 1.0 - greys
    size, fit = preprocessing.size, preprocessing.fit
    box, field = fit_boxes(pixels.shape[1], pixels.shape[2], size, fit)
    frames = fit_frames(torch.from_numpy(greys), size, fit)
    return ModelInput(frames, index, repeats.astype(np.int64), box, field, invert)


def vessels_are_bright(pixels: Frames) -> bool:
    """Whether a subtracted run shows bright vessels on dark ground, the opposite of what models expect.

    What the contrast medium changes is rare in space and in time, so the third moment of the difference from
    the median (of time, else of the picture) has the sign of the vessels.
    """
    index = np.unique(sample_frames(len(pixels)))
    stride = max(1, min(pixels.shape[1:]) // 256)
    greys = window_greys(pixels[index, ::stride, ::stride], *percentile_window(pixels))
    rows, columns = (length // 8 for length in greys.shape[1:])
    greys = greys[:, rows : greys.shape[1] - rows, columns : greys.shape[2] - columns]
    in_space = _skewness(greys - np.median(greys))
    if len(index) < 4:
        return in_space > 1.0
    return in_space > 0.8 and _skewness(greys - np.median(greys, axis=0)) > 0.2


def _skewness(differences: NDArray[np.floating[Any]]) -> float:
    """Third moment over the 1.5th power of the second, of differences that are more than noise."""
    values = differences[np.abs(differences) > 0.02].astype(np.float64)
    squares = values * values
    return float(np.mean(squares * values) / np.mean(squares) ** 1.5) if values.size else 0.0


def prepare_film(pixels: NDArray[np.generic], preprocessing: Preprocessing) -> Tensor:
    """Window and fit one (H, W) film or frame for a segmentation model: (S, S) float32 in [0, 1]."""
    import torch

    low, high = percentile_window(pixels, preprocessing.percentiles)
    greys = torch.from_numpy(window_greys(pixels, low, high))
    return fit_frames(greys[None], preprocessing.size, preprocessing.fit)[0]
