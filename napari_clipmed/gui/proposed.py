"""A proposal that waits for judgement: where it belongs, and which of its pieces the person leaves out."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.gui.mask_preview import DROPPED
from napari_clipmed.gui.mask_records import Accepted
from napari_clipmed.inference.mask_edit import Point, piece_at, summit, without_pieces
from napari_clipmed.inference.results import MaskProposal


@dataclass(eq=False)
class Proposed:
    """One proposal on one frame.

    Parameters
    ----------
    proposal : MaskProposal
    view_index, frame : int
        Where it belongs.
    title : str
        The class that it becomes unless the person says otherwise.
    kept : bool
        Whether its sentence is on record.
    dropped : set of (row, column)
        Summits of the pieces that are left out; see `inference.mask_edit.without_pieces`.
    """

    proposal: MaskProposal
    view_index: int
    frame: int
    title: str
    kept: bool = False
    dropped: set[Point] = field(default_factory=set)

    @property
    def from_heat(self) -> bool:
        """Whether a heat map is behind it, and no sentence."""
        return not self.proposal.prompt

    def mask(self, threshold: float) -> NDArray[np.bool_]:
        """The mask at a threshold, without the dropped pieces."""
        return without_pieces(self.proposal.mask(threshold), self.proposal.probability, self.dropped)

    def marks(self, threshold: float) -> NDArray[np.uint8]:
        """The mask for `MaskPreview`: dropped pieces are told apart from kept ones."""
        whole = self.proposal.mask(threshold)
        return np.where(whole & ~self.mask(threshold), DROPPED, whole).astype(np.uint8)

    def toggle(self, point: Point, threshold: float) -> bool:
        """Drop the piece at a pixel, or take it in again; whether there is a piece."""
        piece = piece_at(self.proposal.mask(threshold), point)
        if not piece.any():
            return False
        top = summit(self.proposal.probability, piece)
        if top in self.dropped:
            self.dropped -= {at for at in self.dropped if piece[at]}
        else:
            self.dropped.add(top)
        return True

    def accepted(self, threshold: float, value: int) -> Accepted:
        """What is remembered of it once it is written as a label."""
        return Accepted(self.proposal, threshold, self.view_index, self.frame, value)

    def summary(self, threshold: float, where: str) -> str:
        """How large and how sure it is, and what the model was asked."""
        mask = self.mask(threshold)
        inside = self.proposal.probability[mask]
        measure = "heat" if self.from_heat else "probability"
        score = f"mean {measure} {float(inside.mean()):.2f}" if inside.size else "nothing is marked"
        left_out = f", {len(self.dropped)} piece(s) left out" if self.dropped else ""
        first = f"{where}: {100.0 * mask.mean():.1f} % of the picture, {score}{left_out}."
        return first if self.from_heat else f"{first}\nThe model read: {self.proposal.normalised_prompt}"
