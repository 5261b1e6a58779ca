"""Does the map point at the lesion? The pointing game and the energy inside, against a true mask."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt

from napari_clipmed.inference.results import Saliency


@dataclass(frozen=True)
class Pointing:
    """Where the highest value of a saliency lies, and whether that is on the lesion.

    Parameters
    ----------
    view : str
        View that holds the highest value.
    frame : int
        Its original frame index.
    row, column : float
        Centre of the hottest cell in pixels of the frame.
    hit : bool
        Whether the lesion reaches into that cell.
    """

    view: str
    frame: int
    row: float
    column: float
    hit: bool


@dataclass(frozen=True)
class Energy:
    """How much of a saliency lies on the lesion.

    Parameters
    ----------
    inside : float
        Share of the saliency's sum, over all frames and views, in cells that the lesion reaches; 0 for an
        empty map.
    even : float
        Share of those cells: what a map would score that is the same everywhere.
    """

    inside: float
    even: float


def pointing_game(saliency: Saliency, lesions: dict[str, NDArray[np.bool_]]) -> Pointing:
    """Play the pointing game (Zhang et al. 2018) at the resolution of the map.

    The peak is a cell, not a pixel: it counts as a hit when the lesion comes within half a cell of its
    centre, which is all that a map of this resolution can say.

    Parameters
    ----------
    saliency : Saliency
    lesions : dict of str to (H, W) bool array
        True lesion of each view; an empty mask can never be hit.

    Raises
    ------
    ValueError
        When no view of the saliency has a lesion mask.
    """
    view = max(_judged_views(saliency, lesions), key=lambda name: float(saliency.maps[name].max()))
    maps, lesion = saliency.maps[view], lesions[view]
    sample, cell_row, cell_column = np.unravel_index(int(maps.argmax()), maps.shape)
    row0, column0, row1, column1 = saliency.boxes.get(view, (0.0, 0.0, *lesion.shape))
    height, width = (row1 - row0) / maps.shape[1], (column1 - column0) / maps.shape[2]
    row, column = row0 + (cell_row + 0.5) * height, column0 + (cell_column + 0.5) * width
    hit = bool(_reached(saliency, view, lesion)[cell_row, cell_column])
    return Pointing(view, int(saliency.frames[view][sample]), float(row), float(column), hit)


def energy_in_lesion(saliency: Saliency, lesions: dict[str, NDArray[np.bool_]]) -> Energy:
    """The energy-based pointing game (Wang et al., Score-CAM, CVPRW 2020) at the resolution of the map.

    The map of a hit may be spread over the whole picture; this asks for all of it, not for its peak. A cell
    counts where the pointing game would call it a hit.

    Parameters
    ----------
    saliency, lesions
        As for `pointing_game`.

    Raises
    ------
    ValueError
        When no view of the saliency has a lesion mask.
    """
    views = _judged_views(saliency, lesions)
    inside = total = 0.0
    cells = count = 0
    for view in views:
        maps, reached = saliency.maps[view], _reached(saliency, view, lesions[view])
        inside += float(maps[:, reached].sum(dtype=np.float64))
        total += float(maps.sum(dtype=np.float64))
        cells, count = cells + int(reached.sum()), count + reached.size
    return Energy(inside / total if total > 0 else 0.0, cells / count)


def _judged_views(saliency: Saliency, lesions: dict[str, NDArray[np.bool_]]) -> list[str]:
    views = [view for view in saliency.maps if view in lesions]
    if not views:
        raise ValueError("No view of the saliency has a true mask")
    return views


def _reached(saliency: Saliency, view: str, lesion: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Cells (h, w) within half a cell of whose centre the lesion comes; none where it is empty."""
    rows, columns = saliency.maps[view].shape[1:]
    if not lesion.any():
        return np.zeros((rows, columns), bool)
    row0, column0, row1, column1 = saliency.boxes.get(view, (0.0, 0.0, *lesion.shape))
    height, width = (row1 - row0) / rows, (column1 - column0) / columns
    down = np.clip(row0 + (np.arange(rows) + 0.5) * height, 0, lesion.shape[0] - 1).astype(int)
    across = np.clip(column0 + (np.arange(columns) + 0.5) * width, 0, lesion.shape[1] - 1).astype(int)
    away = distance_transform_edt(~lesion)[np.ix_(down, across)]
    return np.asarray(away <= np.hypot(height, width) / 2)
