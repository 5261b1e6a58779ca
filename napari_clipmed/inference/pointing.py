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
    views = [view for view in saliency.maps if view in lesions]
    if not views:
        raise ValueError("No view of the saliency has a true mask")
    view = max(views, key=lambda name: float(saliency.maps[name].max()))
    maps, lesion = saliency.maps[view], lesions[view]
    sample, cell_row, cell_column = np.unravel_index(int(maps.argmax()), maps.shape)
    row0, column0, row1, column1 = saliency.boxes.get(view, (0.0, 0.0, *lesion.shape))
    height, width = (row1 - row0) / maps.shape[1], (column1 - column0) / maps.shape[2]
    row, column = row0 + (cell_row + 0.5) * height, column0 + (cell_column + 0.5) * width
    hit = False
    if lesion.any():
        away = distance_transform_edt(~lesion)
        inside = (
            int(np.clip(row, 0, lesion.shape[0] - 1)),
            int(np.clip(column, 0, lesion.shape[1] - 1)),
        )
        hit = bool(away[inside] <= np.hypot(height, width) / 2)
    return Pointing(view, int(saliency.frames[view][sample]), float(row), float(column), hit)
