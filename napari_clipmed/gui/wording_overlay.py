"""Where a mask hangs on the wording: the spread over several wordings of a sentence, over its frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.layers import TAG, LayerTag, Role, layer_name
from napari_clipmed.gui.mask_preview import on_one_frame
from napari_clipmed.inference.results import MaskProposal, PromptEnsemble
from napari_clipmed.progress import Progress

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.utils import Colormap

    from napari_clipmed.gui.session import ReviewSession

WORDING = "wording"
"""Key of its jobs."""

FULL_SPREAD = 0.25
"""Standard deviation of the probability at which the overlay is opaque; it can reach 0.5."""

_COLOUR = "#7A3DB8"
"""Violet: apart from heat maps and mask colours for every kind of colour vision."""


class WordingOverlay:
    """At most one overlay on the canvas of a session.

    Parameters
    ----------
    session : ReviewSession
    tell : callable
        Given a sentence for the person, empty when there is nothing to say.
    """

    def __init__(self, session: ReviewSession, tell: Callable[[str], None]) -> None:
        self._session, self._tell = session, tell
        self._layer: Image | None = None
        self._proposal: tuple[MaskProposal, int, int] | None = None
        self.on = False

    @property
    def layer(self) -> Image | None:
        """The overlay's layer while it is on the canvas."""
        layer = self._layer
        return layer if layer is not None and layer in self._session.viewer.layers else None

    def switch(self, on: bool) -> None:
        """Show it for every proposal, or for none."""
        self.on = on
        self.follow(self._proposal)

    def follow(self, proposal: tuple[MaskProposal, int, int] | None) -> None:
        """Another proposal (with its view and frame) waits for judgement, or none."""
        self._proposal = proposal
        self._session.jobs.cancel(WORDING)
        self.remove()
        study = self._session.study
        if not self.on or proposal is None or study is None:
            return
        answer, index, frame = proposal
        view, session = study.views[index], self._session

        def work(progress: Progress) -> PromptEnsemble:
            return session.engine().segment_ensemble(view, frame, answer.prompt, answer.convention, progress)

        def done(ensemble: PromptEnsemble) -> None:
            if self._proposal is proposal:
                self._show(ensemble, index, frame)

        def refused(error: ClipmedError) -> None:
            self._tell(str(error))

        session.jobs.start(work, title="Ask in other words", on_done=done, on_error=refused, key=WORDING)

    def remove(self) -> None:
        """Take the overlay away."""
        if (layer := self.layer) is not None:
            self._session.viewer.layers.remove(layer)
        self._layer = None
        self._tell("")

    def _show(self, ensemble: PromptEnsemble, index: int, frame: int) -> None:
        from napari.layers import Image

        session = self._session
        placed, study = on_one_frame(session, index, frame), session.study
        if placed is None or study is None or session.hanging is None:
            return
        view = study.views[index]
        layer = Image(
            ensemble.spread[None],
            name=layer_name(session.view_names[index], Role.WORDING),
            colormap=_violet(),
            contrast_limits=(0.0, FULL_SPREAD),
            blending="translucent_no_depth",
            interpolation2d="linear",
            metadata={TAG: LayerTag(Role.WORDING, index, study.image_hash, view.projection)},
            **placed,
        )
        session.hanging.insert(layer)
        self._layer = layer
        inside = ensemble.proposal.mask()
        spread = float(ensemble.spread[inside].mean()) if inside.any() else float(ensemble.spread.max())
        self._tell(
            f"Violet: where {len(ensemble.wordings)} wordings disagree (±{spread:.2f} inside the mask)."
        )


def _violet() -> Colormap:
    from napari.utils import Colormap
    from napari.utils.colormaps.standardize_color import transform_color

    colours = np.repeat(transform_color(_COLOUR), 2, axis=0)
    colours[:, 3] = (0.0, 0.8)
    return Colormap(colours, name="clipmed wording", display_name="Wording")
