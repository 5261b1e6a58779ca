"""The hot part of an activation map as a mask in the frame: a first outline for a person to correct."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.transform import resize

from napari_clipmed.inference.results import MaskProposal, Saliency


def heat_on_frame(saliency: Saliency, view: str, frame: int, shape: tuple[int, int]) -> NDArray[np.float32]:
    """The activation of one frame at the size of the frame; 0 where the model saw nothing.

    Parameters
    ----------
    saliency : Saliency
        Jointly normalised maps; a frame that the model cares little for stays cool.
    view : str
        Name of the view.
    frame : int
        Frame index in the run; the nearest sampled frame answers for those between.
    shape : (int, int)
        Rows and columns of the frame.

    Returns
    -------
    (H, W) float32 array
        In [0, 1], as a share of the highest activation of the whole study.
    """
    sample = int(np.argmin(np.abs(saliency.frames[view] - frame)))
    row0, column0, row1, column1 = saliency.boxes.get(view, (0.0, 0.0, *map(float, shape)))
    size = (max(round(row1 - row0), 1), max(round(column1 - column0), 1))
    fine = resize(saliency.maps[view][sample], size, order=1, mode="edge", anti_aliasing=False)
    top, left = round(row0), round(column0)
    rows = slice(max(top, 0), min(top + size[0], shape[0]))
    columns = slice(max(left, 0), min(left + size[1], shape[1]))
    heat = np.zeros(shape, np.float32)
    heat[rows, columns] = fine[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return heat


def hot_region(
    saliency: Saliency, view: str, frame: int, shape: tuple[int, int], threshold: float = 0.5
) -> NDArray[np.bool_]:
    """Where the activation of a frame exceeds a share of the highest activation of the whole study.

    Parameters
    ----------
    saliency, view, frame, shape
        As in `heat_on_frame`.
    threshold : float
        Share of the highest activation, in (0, 1].

    Returns
    -------
    (H, W) bool array
    """
    return heat_on_frame(saliency, view, frame, shape) >= threshold


def heat_proposal(
    saliency: Saliency,
    view: str,
    frame: int,
    shape: tuple[int, int],
    title: str,
    model: tuple[str, str] = ("", ""),
    image_hash: str = "",
) -> MaskProposal:
    """The heat map of one frame as a proposal, to be cut by a threshold, accepted and corrected like any.

    No sentence was asked, so that nothing is learned from it as an answer to one.

    Parameters
    ----------
    saliency, view, frame, shape
        As in `heat_on_frame`.
    title : str
        Name of the explained class, for people.
    model : (str, str)
        Id and weights hash of the model that is explained.
    """
    heat = heat_on_frame(saliency, view, frame, shape)
    mask = heat >= 0.5
    return MaskProposal(
        heat,
        "",
        "",
        "picture",
        model[0],
        image_hash,
        score=float(heat[mask].mean()) if mask.any() else 0.0,
        notes=(
            f"From the {saliency.method} heat map of {title}: where the model looked, not what is there.",
        ),
        model_version=model[1],
    )
