"""The hot part of an activation map as a mask in the frame: a first outline for a person to correct."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.transform import resize

from napari_clipmed.inference.results import Saliency


def hot_region(
    saliency: Saliency, view: str, frame: int, shape: tuple[int, int], threshold: float = 0.5
) -> NDArray[np.bool_]:
    """Where the activation of a frame exceeds a share of the highest activation of the whole study.

    Parameters
    ----------
    saliency : Saliency
        Jointly normalised maps; a frame that the model cares little for gives an empty mask.
    view : str
        Name of the view.
    frame : int
        Frame index in the run; the nearest sampled frame answers for those between.
    shape : (int, int)
        Rows and columns of the frame.
    threshold : float
        Share of the highest activation, in (0, 1].

    Returns
    -------
    (H, W) bool array
    """
    sample = int(np.argmin(np.abs(saliency.frames[view] - frame)))
    heat = saliency.maps[view][sample]
    row0, column0, row1, column1 = saliency.boxes.get(view, (0.0, 0.0, *map(float, shape)))
    size = (max(round(row1 - row0), 1), max(round(column1 - column0), 1))
    fine = resize(heat, size, order=1, mode="edge", anti_aliasing=False)
    mask = np.zeros(shape, bool)
    top, left = round(row0), round(column0)
    inside = (
        slice(max(top, 0), min(top + size[0], shape[0])),
        slice(max(left, 0), min(left + size[1], shape[1])),
    )
    mask[inside] = (
        fine[inside[0].start - top :, inside[1].start - left :][
            : inside[0].stop - inside[0].start, : inside[1].stop - inside[1].start
        ]
        >= threshold
    )
    return mask
