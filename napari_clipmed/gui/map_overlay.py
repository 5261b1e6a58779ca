"""Bolus maps over the panes: one RGBA layer a view, the same at every time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.gui.layers import TAG, LayerTag, Placement, Role, layer_name, tag_of

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_clipmed.gui.session import ReviewSession

FOLLOWED = (Role.IMAGE, Role.CAM)
"""Layers that a map lies above; masks, regions and measures stay above the map."""


class MapOverlay:
    """The map layers of one session; at most one a view.

    Parameters
    ----------
    session : ReviewSession
    """

    def __init__(self, session: ReviewSession) -> None:
        self._session = session

    @property
    def layers(self) -> tuple[Image, ...]:
        """Those now on the canvas."""
        layers = self._session.viewer.layers
        return tuple(layer for layer in layers if (tag := tag_of(layer)) and tag.role is Role.MAP)

    @property
    def visible(self) -> bool:
        """Whether any is to be seen."""
        return any(layer.visible for layer in self.layers)

    def show(self, view_index: int, picture: NDArray[np.uint8], opacity: float) -> None:
        """Lay a map over a view, in place of the one that is there.

        Parameters
        ----------
        picture : (H, W, 4) uint8 array
            On the grid of the view.
        """
        session = self._session
        hanging, study = session.hanging, session.study
        if hanging is None or study is None:
            return
        known = [layer for layer in self.layers if layer.metadata[TAG].view_index == view_index]
        if known:
            known[0].data = picture
            known[0].opacity, known[0].visible = opacity, True
            return
        tag = LayerTag(Role.MAP, view_index, study.image_hash, study.views[view_index].projection)
        name = layer_name(session.view_names[view_index], Role.MAP)
        session.add_above(_layer(picture, hanging.placements[view_index], tag, name, opacity), FOLLOWED)

    def set_visible(self, visible: bool) -> None:
        """Show or hide all maps."""
        for layer in self.layers:
            layer.visible = visible

    def set_opacity(self, opacity: float) -> None:
        """Let the frames shine through."""
        for layer in self.layers:
            layer.opacity = opacity

    def remove(self) -> None:
        """Take all maps away."""
        for layer in self.layers:
            self._session.viewer.layers.remove(layer)


def _layer(
    picture: NDArray[np.uint8], placement: Placement, tag: LayerTag, name: str, opacity: float
) -> Image:
    from napari.layers import Image

    return Image(
        picture,
        rgb=True,
        name=name,
        opacity=opacity,
        blending="translucent_no_depth",
        interpolation2d="linear",
        metadata={TAG: tag},
        scale=placement.scale[1:],
        translate=placement.translate[1:],
        units=placement.units[1:],
        axis_labels=placement.axis_labels[1:],
    )
