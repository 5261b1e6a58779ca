"""From stored values to grey values in which bright is bright, and the window to open with (PS3.4 N.2).

X-ray angiography: no modality LUT for display (it maps back to the beam intensity). Films: modality LUT, then
the window. MONOCHROME1 is inverted exactly once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels import apply_modality_lut

from napari_clipmed.io.dicom_values import integer, items, number, numbers, text, value
from napari_clipmed.io.enhanced import of_each_frame
from napari_clipmed.study import DisplayWindow, Guess, Topic

Frames = NDArray[Any]

ROBUST = (0.5, 99.5)
"""Percentiles of the fallback window."""

SIGMOID_CEILING = 65535.0

SAMPLE = 500_000
"""Values that a percentile is estimated from; more change nothing that an eye could see."""

ANGIOGRAPHY = (
    "1.2.840.10008.5.1.4.1.1.12.1",
    "1.2.840.10008.5.1.4.1.1.12.1.1",
    "1.2.840.10008.5.1.4.1.1.12.2",
    "1.2.840.10008.5.1.4.1.1.12.2.1",
)
"""X-Ray Angiographic, Enhanced XA, X-Ray Radiofluoroscopic, Enhanced XRF Image Storage."""


@dataclass(frozen=True, eq=False)
class Grey:
    """Frames ready to be shown.

    Parameters
    ----------
    frames : (T, H, W) array, uint8, uint16 or float32
        Bright is bright.
    windows : tuple of DisplayWindow
        The window to open with, then the others that the file offers.
    padding : (T, H, W) bool array or None
        Pixels that are no measurement.
    frame_windows : tuple of DisplayWindow
        One window a frame, where the file gives them and they differ.
    """

    frames: Frames
    windows: tuple[DisplayWindow, ...]
    padding: NDArray[np.bool_] | None = None
    frame_windows: tuple[DisplayWindow, ...] = ()
    guesses: tuple[Guess, ...] = ()
    warnings: tuple[str, ...] = ()


def robust_window(
    frames: Frames, valid: NDArray[np.bool_] | None = None, name: str = "percentiles"
) -> DisplayWindow:
    """The 0.5 to 99.5 percentile window of all valid finite values.

    Parameters
    ----------
    frames : (..., H, W) array
    valid : bool array of the same shape, optional
    """
    values = frames.ravel() if valid is None else frames[valid]
    values = values[:: max(len(values) // SAMPLE, 1)]
    if values.dtype.kind == "f":
        values = values[np.isfinite(values)]
    if not len(values):
        return DisplayWindow(0.0, 1.0, name)
    low, high = (float(q) for q in np.percentile(values, ROBUST))
    if high <= low:  # a flat or nearly flat picture still needs a window
        low, high = float(values.min()), float(values.max())
    return DisplayWindow(low, high if high > low else low + 1.0, name)


def to_grey(stored: Frames, dataset: Dataset, name: str) -> Grey:
    """Run the grey pipeline.

    Parameters
    ----------
    stored : (T, H, W) array
        Stored values.
    dataset : Dataset
        The flattened header.
    name : str
        File name for the sentences.
    """
    notes: list[str] = []
    padding = padding_of(stored, dataset)
    angiography = text(dataset, "SOPClassUID") in ANGIOGRAPHY
    frames = stored if angiography else _modality(stored, dataset, notes, name)
    ceiling = _ceiling(frames, dataset, frames is stored)
    windows = file_windows(dataset, notes, name)
    each = frame_windows(dataset, len(frames))
    guesses: tuple[Guess, ...] = ()
    if windows and text(dataset, "VOILUTFunction").upper() == "SIGMOID":
        frames, ceiling, each = apply_sigmoid(frames, windows[0]), SIGMOID_CEILING, ()
        windows = (DisplayWindow(0.0, ceiling, windows[0].name),)
    elif not windows:
        applied = _voi_lut(frames, dataset, notes, name)
        if applied is not None:
            frames, windows = applied
            ceiling = windows[0].high
    frames, windows, each = _bright_is_bright(frames, windows, each, ceiling, dataset)
    valid = None if padding is None else ~padding
    if windows and not _shows_something(frames, windows[0], valid):
        notes.append(f"The window of {name} shows nothing of the image; another one was estimated.")
        windows = ()
    if not windows:
        windows = (robust_window(frames, valid),)
        guesses = (Guess(Topic.WINDOW, "0.5 to 99.5 percentile", "the file offers no usable window"),)
    if padding is not None and not angiography:  # a run keeps its values: they may be subtracted
        black = windows[0].low if frames.dtype.kind == "f" else max(windows[0].low, 0)
        frames = np.where(padding, np.asarray(black).astype(frames.dtype), frames)
    return Grey(_narrow(frames), windows, padding, each, guesses, tuple(notes))


def padding_of(stored: Frames, dataset: Dataset) -> NDArray[np.bool_] | None:
    """Pixels between Pixel Padding Value and Range Limit (PS3.3 C.7.5.1.1.2); None where there are none."""
    padding = number(dataset, "PixelPaddingValue")
    if padding is None:
        return None
    limit = number(dataset, "PixelPaddingRangeLimit")
    low, high = sorted((padding, padding if limit is None else limit))
    mask = (stored >= low) & (stored <= high)
    return mask if mask.any() and not mask.all() else None


def file_windows(dataset: Dataset, notes: list[str], name: str) -> tuple[DisplayWindow, ...]:
    """The windows of a header, as [low, high] (PS3.3 C.11.2.1.2); those without meaning are left out."""
    centres, widths = numbers(dataset, "WindowCenter"), numbers(dataset, "WindowWidth")
    if not centres and not widths:
        return ()
    exact = text(dataset, "VOILUTFunction").upper() in ("LINEAR_EXACT", "SIGMOID")
    labels = text(dataset, "WindowCenterWidthExplanation").split("\\")
    found = []
    for index, (centre, width) in enumerate(zip(centres, widths, strict=False)):
        if width < 1 and not (exact and width > 0):
            continue
        label = labels[index] if index < len(labels) and labels[index] else f"window {index + 1}"
        half = width / 2 if exact else (width - 1) / 2
        middle = centre if exact else centre - 0.5
        found.append(DisplayWindow(middle - half, middle + max(half, 0.5), label))
    if len(found) < max(len(centres), len(widths)):
        notes.append(f"{name} has a window without a width; it is not used.")
    return tuple(found)


def frame_windows(dataset: Dataset, count: int) -> tuple[DisplayWindow, ...]:
    """The first window of every frame (Frame VOI LUT macro); empty where all are the same.

    Parameters
    ----------
    count : int
        Number of frames.
    """
    found: list[DisplayWindow] = []
    for frame in of_each_frame(dataset, "FrameVOILUTSequence", count) or ():
        found += file_windows(frame, [], "")[:1]
    return tuple(found) if len(found) == count and len(set(found)) > 1 else ()


def apply_sigmoid(frames: Frames, window: DisplayWindow) -> NDArray[np.uint16]:
    """Map grey values by the sigmoid VOI LUT function (PS3.3 C.11.2.1.3.1) onto 0 to 65535.

    Parameters
    ----------
    window : DisplayWindow
        From centre − width / 2 to centre + width / 2.
    """
    centre, width = (window.low + window.high) / 2, window.high - window.low

    def curve(values: NDArray[Any]) -> NDArray[np.uint16]:
        steepness = np.clip(-4 * (values - centre) / width, -80, 80)
        return np.round(SIGMOID_CEILING / (1 + np.exp(steepness))).astype(np.uint16)

    if frames.dtype.kind == "u" and frames.dtype.itemsize <= 2:
        return curve(np.arange(int(frames.max(initial=0)) + 1, dtype=np.float64))[frames]
    return curve(frames.astype(np.float32))


def _voi_lut(
    frames: Frames, dataset: Dataset, notes: list[str], name: str
) -> tuple[Frames, tuple[DisplayWindow]] | None:
    """The frames through the first VOI LUT, and the window over its range; None without a sound one."""
    lut = next(iter(items(dataset, "VOILUTSequence")), None)
    applied = None if lut is None else apply_voi_lut(frames, lut)
    if lut is None or applied is None:
        if lut is not None:
            notes.append(f"The VOI LUT of {name} is damaged; a window was estimated instead.")
        return None
    mapped, ceiling = applied
    return mapped, (DisplayWindow(0.0, ceiling, text(lut, "LUTExplanation") or "VOI LUT"),)


def apply_voi_lut(frames: Frames, lut: Dataset) -> tuple[Frames, float] | None:
    """Apply a VOI LUT (PS3.3 C.11.2.1.1): result and highest possible value; None if it is damaged."""
    found = lut_table(lut, signed=frames.dtype.kind == "i")
    if found is None:
        return None
    table, first = found
    bits = int(numbers(lut, "LUTDescriptor")[2])
    kind = np.int64 if frames.dtype.kind != "f" else np.float32
    index = np.clip(np.asarray(frames, kind) - first, 0, len(table) - 1)
    return table[index.astype(np.intp)], float(max(2**bits - 1, int(table.max())))


def lut_table(lut: Dataset, signed: bool = False) -> tuple[NDArray[np.uint8 | np.uint16], int] | None:
    """The table of a LUT item (PS3.3 C.11.1.1) and what its first entry stands for; None if damaged.

    Parameters
    ----------
    signed : bool
        Whether the values looked up are signed; the VR of the descriptor follows them.
    """
    descriptor, raw = numbers(lut, "LUTDescriptor"), value(lut, "LUTData")
    if len(descriptor) != 3 or raw is None:
        return None
    entries, first, bits = int(descriptor[0]) or 65536, int(descriptor[1]), int(descriptor[2])
    if signed and first > 32767:
        first -= 65536
    if isinstance(raw, bytes):
        table = np.frombuffer(raw, "<u2" if len(raw) >= 2 * entries else np.uint8)
    else:
        table = np.atleast_1d(np.asarray(raw)).astype(np.uint16)
    if not 0 < bits <= 16 or len(table) < entries:
        return None
    return table[:entries].astype(np.uint8 if bits <= 8 else np.uint16), first


def _modality(stored: Frames, dataset: Dataset, notes: list[str], name: str) -> Frames:
    """Modality LUT or rescale; the very same array where it changes nothing."""
    table = bool(items(dataset, "ModalityLUTSequence"))
    slope, intercept = number(dataset, "RescaleSlope"), number(dataset, "RescaleIntercept")
    if not table and (slope is None or intercept is None or (slope == 1 and intercept == 0)):
        return stored
    try:
        mapped = np.asarray(apply_modality_lut(stored, dataset))
    except Exception:  # noqa: BLE001 - boundary: pydicom raises nearly any type on a damaged table
        notes.append(f"The modality LUT of {name} is damaged; stored values are shown.")
        return stored
    return mapped.astype(np.float32) if mapped.dtype.kind == "f" else mapped


def _ceiling(frames: Frames, dataset: Dataset, untouched: bool) -> float:
    """The value that mirrors 0 when the grey scale is turned over."""
    if untouched and frames.dtype.kind == "u":
        allocated = 8 * frames.dtype.itemsize
        bits = min(max(integer(dataset, "BitsStored", allocated), 1), allocated)
        return float(max(2**bits - 1, int(frames.max(initial=0))))
    return float(frames.max()) + float(frames.min())  # mapped or signed values keep their range


def is_inverse(dataset: Dataset) -> bool:
    """Whether high values are meant dark: MONOCHROME1; INVERSE says the same and does not turn it back."""
    photometric = text(dataset, "PhotometricInterpretation")
    shape = text(dataset, "PresentationLUTShape")
    return photometric == "MONOCHROME1" or (photometric == "MONOCHROME2" and shape == "INVERSE")


def _bright_is_bright(
    frames: Frames,
    windows: tuple[DisplayWindow, ...],
    each: tuple[DisplayWindow, ...],
    ceiling: float,
    dataset: Dataset,
) -> tuple[Frames, tuple[DisplayWindow, ...], tuple[DisplayWindow, ...]]:
    """Turn an inverse grey scale over, once, and its windows with it."""
    if not is_inverse(dataset):
        return frames, windows, each
    windows, each = (
        tuple(replace(w, low=ceiling - w.high, high=ceiling - w.low) for w in some)
        for some in (windows, each)
    )
    if frames.dtype.kind == "u":
        return (np.asarray(ceiling, frames.dtype) - frames), windows, each
    return (np.float32(ceiling) - frames).astype(np.float32), windows, each


def _shows_something(frames: Frames, window: DisplayWindow, valid: NDArray[np.bool_] | None) -> bool:
    """Whether at least one pixel in a thousand is above black, and one below white."""
    values = frames.ravel() if valid is None else frames[valid]
    values = values[:: max(len(values) // SAMPLE, 1)]
    if values.min() == values.max():
        return True
    return bool((values > window.low).mean() >= 0.001 and (values < window.high).mean() >= 0.001)


def _narrow(frames: Frames) -> Frames:
    """uint8, uint16 or float32, without loss for the values of X-ray images."""
    if frames.dtype in (np.uint8, np.uint16, np.float32):
        return frames
    if frames.dtype.kind in "iu" and frames.min() >= 0 and frames.max() <= 65535:
        return frames.astype(np.uint16)
    return frames.astype(np.float32)
