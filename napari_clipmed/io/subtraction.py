"""Views subtracted, subtracted differently, or shown as they are; and runs that the scanner has subtracted.

The arithmetic is in `subtracted_frames`; here are the decisions about a whole view: its window, its guesses,
and what a person is told.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.io.grey import robust_window
from napari_clipmed.io.subtracted_frames import Rescale, SubtractedFrames
from napari_clipmed.study import (
    DisplayWindow,
    Frames,
    Guess,
    Intensity,
    MaskOperation,
    Subtraction,
    Topic,
    View,
)

FLAT = 0.5
"""Flatness from which a run is taken to be subtracted already."""

SAMPLED_FRAMES = 8
"""A window, or the look of a run, is judged by this many frames, evenly spread."""

SAMPLED_SIDE = 256
"""… and by about this many rows and columns of each."""

APPLIES_NOWHERE = "The mask items of this run apply to none of its frames; it is shown unsubtracted."

UNSUBTRACTED = "unsubtracted frames"
"""What the guess about frames in no item is about."""

SPACES = {
    Intensity.LINEAR: "linear pixels, logged first",
    Intensity.LOGARITHMIC: "logarithmic pixels",
    Intensity.DISPLAY: "pixels for display, subtracted as they are",
}


def resubtracted(view: View, wanted: Subtraction | None, window: DisplayWindow | None = None) -> View:
    """The same run, subtracted as wanted; nothing but a small sample is computed until a frame is asked for.

    Frames that no item subtracts are shown unsubtracted, scaled to the window of the others.

    Parameters
    ----------
    view : View
        Subtracted by us or not.
    wanted : Subtraction or None
        None gives the native run.
    window : DisplayWindow, optional
        The grey window, where it is known already; nothing is then computed at all.

    Returns
    -------
    View
        With `subtraction`, window, guesses and warnings that fit; source hash, times and all else stay.
    """
    plain = _native(view)
    if wanted is None or not wanted.active:
        return plain
    frames = SubtractedFrames(plain.pixels, wanted, view.log_table)
    done = frames.is_subtracted
    if not done.any():
        return replace(plain, warnings=(*plain.warnings, APPLIES_NOWHERE))
    window = window or robust_window(sample(frames, np.flatnonzero(done)), name="subtracted")
    operations = "+".join(sorted({item.operation for item in wanted.items} - {MaskOperation.NONE}))
    guesses = [*plain.guesses, Guess(Topic.SUBTRACTION, operations, _how(wanted, view.log_table is not None))]
    left = np.flatnonzero(~done)
    if len(left):
        own = robust_window(sample(frames, left))
        scale = (window.high - window.low) / (own.high - own.low)
        frames = SubtractedFrames(
            plain.pixels, wanted, view.log_table, Rescale(scale, window.low - own.low * scale)
        )
        numbers = ", ".join(str(index + 1) for index in left[:8]) + ("…" if len(left) > 8 else "")
        guesses.append(Guess(UNSUBTRACTED, numbers, "no mask item subtracts them"))
    return replace(
        plain,
        pixels=frames,
        native=plain.pixels,
        subtracted=True,
        window=window,
        windows=(window,),
        native_windows=plain.windows,
        guesses=tuple(guesses),
        subtraction=wanted,
    )


def _native(view: View) -> View:
    """The view as stored, without a word about an earlier subtraction of ours."""
    if view.native is None:
        return view
    windows: tuple[DisplayWindow, ...] = view.native_windows or (robust_window(sample(view.native)),)
    about_us = (Topic.SUBTRACTION, UNSUBTRACTED)
    return replace(
        view,
        pixels=view.native,
        native=None,
        subtracted=False,
        window=windows[0],
        windows=windows,
        native_windows=(),
        guesses=tuple(guess for guess in view.guesses if guess.what not in about_us),
        subtraction=None,
    )


def _how(wanted: Subtraction, by_table: bool) -> str:
    """One phrase about the masks and the space of the subtraction."""
    masks = sorted({frame for item in wanted.items for frame in item.mask_frames})
    named = f"mask frame {', '.join(map(str, masks))}; " if masks else ""
    space = "brought into logarithmic space by the file's own table" if by_table else SPACES[wanted.intensity]
    return f"Mask Subtraction Sequence: {named}{space}"


def sampled_indices(indices: NDArray[np.integer]) -> list[int]:
    """At most `SAMPLED_FRAMES` of some frame indices, first and last among them."""
    places = np.linspace(0, len(indices) - 1, min(len(indices), SAMPLED_FRAMES)).round().astype(int)
    return [int(index) for index in indices[places]]


def sample(frames: Frames, indices: NDArray[np.integer] | None = None) -> NDArray[np.generic]:
    """A thinned part of a run, (t, h, w), to judge its greys by.

    Parameters
    ----------
    indices : int array, optional
        Frames to choose from; all where absent.
    """
    chosen = np.arange(len(frames)) if indices is None else indices
    rows, columns = (max(length // SAMPLED_SIDE, 1) for length in frames.shape[1:])
    thinned: NDArray[np.generic] = frames[sampled_indices(chosen), ::rows, ::columns]
    return thinned


def flatness(frames: Frames) -> float:
    """Share of pixels within a tenth of the grey range of the commonest grey, the rim left out.

    A subtracted run is mostly flat ground (0.7 and more on real runs); a native one shows anatomy everywhere
    (0.1 to 0.3).

    Parameters
    ----------
    frames : (T, H, W) Frames
    """
    height, width = frames.shape[1:]
    rows, columns = (slice(side // 8, side - side // 8, max(side // 128, 1)) for side in (height, width))
    field = frames[sampled_indices(np.arange(len(frames))), rows, columns]
    low, middle, high = np.percentile(field.astype(np.float32), (0.5, 50, 99.5))
    if high <= low:
        return 0.0
    return float((np.abs(field - middle) < 0.1 * (high - low)).mean())


def looks_subtracted(frames: Frames) -> bool:
    """Whether a run was probably subtracted by the scanner, which no standard attribute tells."""
    return len(frames) > 1 and flatness(frames) >= FLAT


def has_bright_vessels(frames: Frames) -> bool:
    """Whether a run that the scanner has subtracted shows bright vessels on a dark ground."""
    greys = sample(frames).astype(np.float32)
    return float(greys.mean()) > float(np.median(greys))
