"""The proposed mask as an outline over one frame; nothing is written until a person accepts it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.gui.layer_list import remove_in_steps
from napari_clipmed.gui.layers import TAG, LayerTag, Role, copy_spatial, layer_name
from napari_clipmed.gui.theme import OKABE_ITO

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_clipmed.gui.session import ReviewSession

OUTLINE_PX = 2
DROPPED = 2
GREY = OKABE_ITO["grey"]

Marks = NDArray[np.bool_] | NDArray[np.uint8]


class MaskPreview:
    """At most one outline on the canvas of a session.

    Parameters
    ----------
    session : ReviewSession
    """

    def __init__(self, session: ReviewSession) -> None:
        self._session = session
        self._layer: Labels | None = None

    @property
    def layer(self) -> Labels | None:
        """The outline's layer while it is on the canvas."""
        layer = self._layer
        return layer if layer is not None and layer in self._session.viewer.layers else None

    def show(self, view_index: int, frame: int, marks: Marks, colour: str, opacity: float) -> None:
        """Outline a mask on one frame of a view, in place of any other outline; `marks` as in `update`."""
        from napari.layers import Labels
        from napari.utils.colormaps import DirectLabelColormap

        self.remove(at_once=True)  # or the new one could not have its name
        session = self._session
        spatial, hanging, study = on_one_frame(session, view_index, frame), session.hanging, session.study
        if spatial is None or hanging is None or study is None:
            return
        layer = Labels(
            marks[None].astype(np.uint8),
            name=layer_name(session.view_names[view_index], Role.PREVIEW),
            opacity=opacity,
            colormap=DirectLabelColormap(
                color_dict={None: "transparent", 0: "transparent", 1: colour, DROPPED: GREY}
            ),
            metadata={
                TAG: LayerTag(Role.PREVIEW, view_index, study.image_hash, study.views[view_index].projection)
            },
            **spatial,
        )
        layer.contour = OUTLINE_PX
        layer.editable = False
        self._layer = layer
        hanging.insert(layer)

    def update(self, marks: Marks) -> None:
        """Show another threshold of the same proposal, or other pieces of it.

        Parameters
        ----------
        marks : (H, W) bool or uint8 array
            1 inside the mask, `DROPPED` in pieces that the person leaves out.
        """
        if (layer := self.layer) is not None:
            layer.data = marks[None].astype(np.uint8)

    def set_opacity(self, opacity: float) -> None:
        """Fade the outline."""
        if (layer := self.layer) is not None:
            layer.opacity = opacity

    def remove(self, at_once: bool = False) -> None:
        """Take the outline away: out of sight now, off the canvas in a turn of its own unless `at_once`."""
        layer, self._layer = self.layer, None
        if layer is None:
            return
        steps = remove_in_steps(self._session.viewer, [layer])
        layer.visible = False
        if at_once:
            next(steps)
        else:
            self._session.turns.run(steps)


def on_one_frame(session: ReviewSession, view_index: int, frame: int) -> dict[str, Any] | None:
    """Where a layer of one frame lies, so that it shows on that frame only; None without such a view."""
    image = session.image_layer(view_index)
    if image is None:
        return None
    spatial = copy_spatial(image)
    spatial["translate"] = (image.translate[0] + frame * image.scale[0], *image.translate[1:])
    return spatial
