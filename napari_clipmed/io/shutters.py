"""Display shutters and overlay planes as masks on the grid of the frames (PS3.3 C.7.6.11, C.7.6.15, C.9.2).

Nothing is burnt into pixels: a model sees what was measured, a person sees what the equipment meant to show.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from skimage.draw import polygon2mask

from napari_clipmed.io.dicom_values import integer, numbers, text
from napari_clipmed.study import Overlay

Mask = NDArray[np.bool_]
Shape = tuple[int, int]

OVERLAY_GROUPS = range(0x6000, 0x6020, 2)
FULL_P_VALUE = 65535


def shutter_of(dataset: Dataset, shape: Shape, little_endian: bool = True) -> tuple[Mask | None, float]:
    """What the display shutter hides, and the grey (0 to 1) that it shows instead.

    Several shapes are combined so that the least of the image stays visible. Coordinates count from 1, and
    edges belong to the visible part. A shape without its coordinates hides nothing.

    Parameters
    ----------
    dataset : Dataset
        The flattened header.
    shape : (H, W)
        Rows and columns of the frames.

    Returns
    -------
    (mask, level)
        (H, W) bool array, True where the picture is hidden, or None where nothing is; black where the file
        does not say a grey.
    """
    visible = np.ones(shape, dtype=bool)
    for word in text(dataset, "ShutterShape").upper().split("\\"):
        match word:
            case "RECTANGULAR":
                visible &= _rectangle(dataset, shape)
            case "CIRCULAR":
                visible &= _circle(dataset, shape)
            case "POLYGONAL":
                visible &= _polygon(dataset, shape)
            case "BITMAP":
                visible &= ~_bitmap(dataset, shape, little_endian)
    if visible.all() or not visible.any():  # a shutter that hides everything is a fault of the header
        return None, 0.0
    level = integer(dataset, "ShutterPresentationValue", 0)
    return ~visible, min(max(level, 0), FULL_P_VALUE) / FULL_P_VALUE


def overlays_of(
    dataset: Dataset,
    shape: Shape,
    count: int,
    native: bytes = b"",
    little_endian: bool = True,
) -> tuple[tuple[Overlay, ...], tuple[str, ...]]:
    """The overlay planes of a header, cut to the image, and what was wrong with them.

    Parameters
    ----------
    dataset : Dataset
        The header.
    shape : (H, W)
        Rows and columns of the frames.
    count : int
        Number of frames; a multi-frame overlay has no more planes than that.
    native : bytes
        Uncompressed pixel data, whose unused bits may hold an overlay of the older kind; empty where
        compressed.
    """
    found, notes = [], []
    shutter = integer(dataset, "ShutterOverlayGroup", 0)
    for number, group in enumerate(_overlay_groups(dataset), 1):
        if group == shutter:
            continue
        label = _overlay_text(dataset, group, 0x1500) or _overlay_text(dataset, group, 0x0022)
        label = label or f"overlay {number}"
        if (group, 0x3000) in dataset:
            masks = _planes(dataset, group, shape, count, little_endian)
        else:
            masks = _embedded(dataset, group, shape, count, native, little_endian)
        if masks is None:
            notes.append(f"The overlay “{label}” is damaged or was lost by compression; it is not shown.")
        elif masks.any():
            one_for_all = len(masks) == 1 and (group, 0x0051) not in dataset
            first = None if one_for_all else _overlay_number(dataset, group, 0x0051, 1)
            region = _overlay_text(dataset, group, 0x0040).upper() == "R"
            found.append(Overlay(masks, label, first, region))
    return tuple(found), tuple(notes)


# -- shutters ----------------------------------------------------------------------------------------------


def _rectangle(dataset: Dataset, shape: Shape) -> Mask:
    """Visible between the four edges; an absent edge does not cut."""
    top = integer(dataset, "ShutterUpperHorizontalEdge", 1)
    bottom = integer(dataset, "ShutterLowerHorizontalEdge", shape[0])
    left = integer(dataset, "ShutterLeftVerticalEdge", 1)
    right = integer(dataset, "ShutterRightVerticalEdge", shape[1])
    visible = np.zeros(shape, dtype=bool)
    visible[max(top - 1, 0) : max(bottom, 0), max(left - 1, 0) : max(right, 0)] = True
    return visible


def _circle(dataset: Dataset, shape: Shape) -> Mask:
    """Visible within the radius; pixels that are not square make the circle an ellipse."""
    centre, radius = numbers(dataset, "CenterOfCircularShutter"), numbers(dataset, "RadiusOfCircularShutter")
    if len(centre) != 2 or len(radius) != 1 or radius[0] <= 0:
        return np.ones(shape, dtype=bool)
    aspect = 1.0
    for keyword in ("PixelSpacing", "ImagerPixelSpacing", "PixelAspectRatio"):
        sizes = numbers(dataset, keyword)
        if len(sizes) == 2 and min(sizes) > 0:
            aspect = sizes[0] / sizes[1]
            break
    rows = (np.arange(1, shape[0] + 1) - centre[0])[:, None] * aspect
    columns = (np.arange(1, shape[1] + 1) - centre[1])[None]
    return rows**2 + columns**2 <= radius[0] ** 2


def _polygon(dataset: Dataset, shape: Shape) -> Mask:
    """Visible inside the polygon, which closes itself."""
    flat = numbers(dataset, "VerticesOfThePolygonalShutter")
    if len(flat) < 6 or len(flat) % 2:
        return np.ones(shape, dtype=bool)
    return np.asarray(polygon2mask(shape, np.reshape(flat, (-1, 2)) - 1), dtype=bool)


def _bitmap(dataset: Dataset, shape: Shape, little_endian: bool) -> Mask:
    """Hidden where the overlay that the shutter names is set."""
    group = integer(dataset, "ShutterOverlayGroup", 0)
    if group not in OVERLAY_GROUPS or (group, 0x3000) not in dataset:
        return np.zeros(shape, dtype=bool)
    planes = _planes(dataset, group, shape, 1, little_endian)
    return np.zeros(shape, dtype=bool) if planes is None else planes[0]


# -- overlays ----------------------------------------------------------------------------------------------


def _overlay_groups(dataset: Dataset) -> Iterator[int]:
    return (group for group in OVERLAY_GROUPS if (group, 0x0010) in dataset or (group, 0x0102) in dataset)


def _overlay_value(dataset: Dataset, group: int, element: int) -> object:
    """A value of a repeating group, which has no keyword; None where absent or malformed."""
    try:
        return dataset[group, element].value
    except Exception:  # noqa: BLE001 - boundary: a malformed value may raise anything; it counts as absent
        return None


def _overlay_number(dataset: Dataset, group: int, element: int, default: int) -> int:
    found = _overlay_value(dataset, group, element)
    return int(found) if isinstance(found, int | float) else default


def _overlay_text(dataset: Dataset, group: int, element: int) -> str:
    found = _overlay_value(dataset, group, element)
    return found.strip() if isinstance(found, str) else ""


def _planes(
    dataset: Dataset, group: int, shape: Shape, count: int, little_endian: bool
) -> NDArray[np.bool_] | None:
    """Overlay Data as planes on the grid of the image, as many as the bytes and the image have."""
    rows, columns = (_overlay_number(dataset, group, element, 0) for element in (0x0010, 0x0011))
    raw = _overlay_value(dataset, group, 0x3000)
    if rows < 1 or columns < 1 or not isinstance(raw, bytes) or len(raw) * 8 < rows * columns:
        return None
    data = np.frombuffer(raw, np.uint8)
    if not little_endian and dataset[group, 0x3000].VR == "OW":
        data = data[: len(data) // 2 * 2].reshape(-1, 2)[:, ::-1].ravel()
    number = min(max(_overlay_number(dataset, group, 0x0015, 1), 1), count, len(raw) * 8 // (rows * columns))
    origin = _overlay_value(dataset, group, 0x0050)
    try:
        top, left = (int(part) - 1 for part in origin)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        top = left = 0
    result = np.zeros((number, *shape), dtype=bool)
    y0, y1 = max(top, 0), min(top + rows, shape[0])
    x0, x1 = max(left, 0), min(left + columns, shape[1])
    if y0 >= y1 or x0 >= x1:
        return result
    for index in range(number):  # one plane at a time: bits take an eighth of what they unpack to
        start = index * rows * columns
        bits = np.unpackbits(data[start // 8 : (start + rows * columns + 7) // 8], bitorder="little")
        plane = bits[start % 8 : start % 8 + rows * columns].reshape(rows, columns)
        result[index, y0:y1, x0:x1] = plane[y0 - top : y1 - top, x0 - left : x1 - left]
    return result


def _embedded(
    dataset: Dataset, group: int, shape: Shape, count: int, native: bytes, little_endian: bool
) -> NDArray[np.bool_] | None:
    """An overlay in an unused bit of the pixel cells (retired, PS3.3-2004 C.9.2)."""
    allocated = integer(dataset, "BitsAllocated", 0)
    bit = _overlay_number(dataset, group, 0x0102, 0)
    high = integer(dataset, "HighBit", allocated - 1)
    used = range(high - integer(dataset, "BitsStored", allocated) + 1, high + 1)
    if allocated not in (8, 16) or not 0 <= bit < allocated or bit in used:
        return None
    cells = np.frombuffer(native, f"{'<' if little_endian else '>'}u{allocated // 8}")
    whole = min(len(cells) // (shape[0] * shape[1]), count)
    if whole < 1:
        return None
    planes = cells[: whole * shape[0] * shape[1]].reshape(whole, *shape)
    return np.asarray(planes & (1 << bit), dtype=bool)
