"""Class activation maps over the frames: small arrays, an alpha ramp, nothing computed while scrubbing.

The maps are smoothed once, to a few times the model's grid. Letting the screen interpolate them by cubics
anew for every frame cost a tenth of the time of a redraw where no graphics card draws.

A DSA frame is bright, so an additive overlay burns it white and an even veil greys it. The colormap used here
is transparent at 0 and grows opaque with the activation; vessels outside the hot spot keep their contrast.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.gui.layers import TAG, LayerTag, Placement, Role, layer_name

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.utils import Colormap

    from napari_clipmed.gui.hanging import Hanging
    from napari_clipmed.inference.results import Saliency

CAM_COLORMAP = "clipmed heat"
FULL_ALPHA = 0.85
"""Opacity of the hottest colour, before the layer's own opacity."""

CLEAR_BELOW, OPAQUE_ABOVE = 0.12, 0.75
"""Activations between which the overlay fades in."""


FINER = 5
"""Cells drawn along one cell of the model; odd, so that every value of the model is among those drawn."""

HEAT = ("#F7E08A", "#F2B233", "#E5702A", "#C7252F", "#8E0F4B")
"""Light amber to deep red: the hotter, the darker, so that the hottest spot stands out on a bright frame."""


def heat_colormap() -> Colormap:
    """Heat with alpha rising from 0, for `translucent_no_depth` blending."""
    from napari.utils import Colormap
    from napari.utils.colormaps.standardize_color import transform_color

    levels = np.linspace(0.0, 1.0, 64)
    anchors = transform_color(list(HEAT))
    places = np.linspace(0.0, 1.0, len(anchors))
    colours = np.stack([np.interp(levels, places, anchors[:, channel]) for channel in range(4)], axis=1)
    colours[:, 3] = FULL_ALPHA * np.clip((levels - CLEAR_BELOW) / (OPAQUE_ABOVE - CLEAR_BELOW), 0.0, 1.0)
    return Colormap(colours, name=CAM_COLORMAP, display_name="CAM heat")


def nearest_sample(n_frames: int, frames: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each frame of a run, which of the sampled frames is nearest (the earlier one on a tie).

    Parameters
    ----------
    n_frames : int
        Frames of the run, T.
    frames : (t,) int array
        Sampled frames, in any order, repeats allowed.

    Returns
    -------
    (T,) int array
        Index into `frames`.
    """
    distance = np.abs(np.arange(n_frames)[:, None] - np.asarray(frames)[None, :])
    return np.argmin(distance, axis=1)


def smoothed(maps: NDArray[np.float32], finer: int = FINER) -> NDArray[np.float32]:
    """Maps on a finer grid over the same area, by cubic splines through the model's values.

    Parameters
    ----------
    maps : (t, h, w) float32 array
        Activation in [0, 1].
    finer : int
        Cells along one cell of the model; odd, so that the middle one keeps the model's value.

    Returns
    -------
    (t, finer h, finer w) float32 array
        Within [0, 1].
    """
    from scipy import ndimage

    if min(maps.shape[1:]) < 2:
        return maps
    fine = [ndimage.zoom(one, finer, order=3, mode="nearest", grid_mode=True) for one in maps]
    return np.clip(np.stack(fine), 0.0, 1.0)


def within(
    maps: NDArray[np.float32], box: tuple[float, float, float, float], shape: tuple[int, int]
) -> tuple[NDArray[np.float32], tuple[float, float, float, float]]:
    """Only the cells whose middle lies in the picture, into which a square does not fit where it is oblong.

    Parameters
    ----------
    maps : (t, h, w) float32 array
    box : (row0, column0, row1, column1)
        Where the maps lie, in pixels of the view.
    shape : (H, W)
        Of the view.

    Returns
    -------
    maps : (t, h', w') float32 array
    box : (row0, column0, row1, column1)
        Where those lie.
    """
    kept, edges = [], []
    for near, far, cells, length in zip(box[:2], box[2:], maps.shape[1:], shape, strict=True):
        cell = (far - near) / cells
        first = max(int(np.ceil(-near / cell - 0.5)), 0)
        last = max(min(int(np.floor((length - near) / cell - 0.5)) + 1, cells), first + 1)  # a strip has one
        kept.append(slice(first, last))
        edges.append((near + first * cell, near + last * cell))
    (top, bottom), (left, right) = edges
    return maps[:, kept[0], kept[1]], (top, left, bottom, right)


def cam_layer(
    maps: NDArray[np.float32],
    frames: NDArray[np.int64],
    n_frames: int,
    placement: Placement,
    box: tuple[float, float, float, float] | None,
    tag: LayerTag,
    name: str,
) -> Image:
    """The overlay of one view, a few times as fine as the model's grid, stretched over the frame by `scale`.

    Parameters
    ----------
    maps : (t, h, w) float32 array
        Activation in [0, 1] of each sampled frame.
    frames : (t,) int array
        Original index of each map; frames between show the nearest one.
    n_frames : int
        Frames of the run.
    box : (row0, column0, row1, column1) or None
        Where the maps lie, in pixels of the view; None for the whole frame.
    tag : LayerTag
        Role `cam`.
    """
    from napari.layers import Image

    data, scale, translate = _laid_over(maps, frames, n_frames, placement, box)
    return Image(
        data,
        name=name,
        rgb=False,
        colormap=heat_colormap(),
        contrast_limits=(0.0, 1.0),
        blending="translucent_no_depth",
        interpolation2d="linear",
        scale=scale,
        translate=translate,
        units=placement.units,
        axis_labels=placement.axis_labels,
        metadata={TAG: tag},
    )


def _laid_over(
    maps: NDArray[np.float32],
    frames: NDArray[np.int64],
    n_frames: int,
    placement: Placement,
    box: tuple[float, float, float, float] | None,
) -> tuple[NDArray[np.float32], tuple[float, float, float], tuple[float, float, float]]:
    """Data, scale and translate of an overlay; see `cam_layer`."""
    fine, box = within(smoothed(maps), box or (0.0, 0.0, *placement.shape), placement.shape)
    scale, translate = placement.sub_box(box, fine.shape[1:])
    return fine[nearest_sample(n_frames, frames)], scale, translate


def cam_layers(
    saliency: Saliency, views: Mapping[str, int], hanging: Hanging, shown: Mapping[int, Image]
) -> Iterator[Image]:
    """The overlays of a study; those that are shown already get their new maps at once.

    napari takes a tenth of a second to build a layer, and a millisecond or two to exchange its data.

    Parameters
    ----------
    views : mapping of str to int
        Which view each name in `saliency` means.
    shown : mapping of int to Image
        The overlay now on the canvas, by view.
    """
    for name, index in views.items():
        view = hanging.study.views[index]
        if (layer := shown.get(index)) is not None:
            layer.data, scale, translate = _laid_over(
                saliency.maps[name],
                saliency.frames[name],
                view.n_frames,
                hanging.placements[index],
                saliency.boxes.get(name),
            )
            if not np.allclose((*layer.scale, *layer.translate), (*scale, *translate)):
                layer.scale, layer.translate = scale, translate  # napari looks at all layers anew for each
            layer.visible = True
            yield layer
            continue
        yield cam_layer(
            saliency.maps[name],
            saliency.frames[name],
            view.n_frames,
            hanging.placements[index],
            saliency.boxes.get(name),
            LayerTag(Role.CAM, index, hanging.study.image_hash, view.projection),
            layer_name(hanging.names[index], Role.CAM),
        )
