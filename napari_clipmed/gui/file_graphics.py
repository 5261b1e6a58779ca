"""What a file lays over its frames, as layers of their own: the display shutter and overlay planes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.gui.layers import TAG, LayerTag, Placement, Role, layer_name, spatial
from napari_clipmed.gui.theme import OKABE_ITO
from napari_clipmed.study import Overlay, Study, View

if TYPE_CHECKING:
    from napari.layers import Image

GRAPHICS_COLOUR, REGION_COLOUR = OKABE_ITO["yellow"], OKABE_ITO["sky"]


def file_graphics(study: Study, placements: tuple[Placement, ...], names: tuple[str, ...]) -> Iterator[Image]:
    """Shutter and overlay layers of all views, to be laid right over the images."""
    for index, (view, place, name) in enumerate(zip(study.views, placements, names, strict=True)):
        tag = LayerTag(Role.SHUTTER, index, study.image_hash, view.projection)
        if view.shutter is not None:
            yield _shutter_layer(view, view.shutter, place, tag, layer_name(name, Role.SHUTTER))
        for overlay in view.overlays:
            tag = LayerTag(Role.GRAPHICS, index, study.image_hash, view.projection)
            yield _overlay_layer(overlay, place, tag, f"{name} {overlay.label}")


def _shutter_layer(
    view: View, hidden: NDArray[np.bool_], place: Placement, tag: LayerTag, name: str
) -> Image:
    """The grey that the equipment shows instead of the picture, outside the shutter."""
    grey = (view.shutter_level,) * 3
    return _stencil(hidden, (*grey, 1.0), place, tag, name, frame=None)


def _overlay_layer(overlay: Overlay, place: Placement, tag: LayerTag, name: str) -> Image:
    """Graphics over every frame, or over the frames that they belong to."""
    from napari.utils.colormaps.standardize_color import transform_color

    colour = tuple(transform_color(REGION_COLOUR if overlay.region else GRAPHICS_COLOUR)[0])
    if overlay.first_frame is None:
        return _stencil(overlay.masks[0], colour, place, tag, name, frame=None)
    return _stencil(overlay.masks, colour, place, tag, name, frame=overlay.first_frame - 1)


def _stencil(
    mask: NDArray[np.bool_],
    colour: tuple[float, ...],
    place: Placement,
    tag: LayerTag,
    name: str,
    frame: int | None,
) -> Image:
    """One colour where a mask is true; `frame` is the index that the first of several planes lies over."""
    from napari.layers import Image
    from napari.utils import Colormap

    where = spatial(place)
    if frame is None:
        where = {key: value[1:] for key, value in where.items()}
    else:
        where["translate"] = (place.translate[0] + frame * place.scale[0], *place.translate[1:])
    return Image(
        mask.view(np.uint8),
        name=name,
        rgb=False,
        contrast_limits=(0, 1),
        colormap=Colormap([(*colour[:3], 0.0), (*colour[:3], 1.0)], name=f"clipmed {tag.role}"),
        blending="translucent_no_depth",
        interpolation2d="nearest",
        metadata={TAG: tag},
        **where,
    )
