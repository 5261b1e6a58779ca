"""The masks that hold now, gathered into what other formats call segments, categories or volumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.errors import ClipmedError
from napari_clipmed.outputs.sources import SourceImage, sources_of
from napari_clipmed.records import Revision, Store, Verdict
from napari_clipmed.study import Study

UNNAMED = "finding"
"""Name of a mask that was drawn without a sentence and never named."""


@dataclass(frozen=True, eq=False)
class Segment:
    """All masks of one name in one view.

    Parameters
    ----------
    name : str
        Of the masks.
    revisions : tuple of Revision
        One a frame, in order of the frames.
    masks : tuple of (H, W) bool array
        In the same order.
    """

    name: str
    revisions: tuple[Revision, ...]
    masks: tuple[NDArray[np.bool_], ...]

    @property
    def frames(self) -> tuple[int, ...]:
        """Index of the frame of each mask."""
        return tuple(revision.frame or 0 for revision in self.revisions)

    @property
    def by_model(self) -> Revision | None:
        """The newest revision that a model had a part in."""
        return max((r for r in self.revisions if r.model_id), key=lambda r: r.id, default=None)

    @property
    def drawn(self) -> Segment | None:
        """The same without empty masks; None where nothing is left."""
        kept = [
            (revision, mask) for revision, mask in zip(self.revisions, self.masks, strict=True) if mask.any()
        ]
        return Segment(self.name, *map(tuple, zip(*kept, strict=True))) if kept else None


def held_masks(store: Store, case: str) -> list[Revision]:
    """The mask revisions that hold, but for rejected ones, in order of view, frame and name."""
    held = [r for r in store.current_masks(case) if r.verdict is not Verdict.REJECTED]
    return sorted(held, key=lambda r: (r.view_index or 0, r.frame or 0, r.name, r.id))


def segments_of(store: Store, case: str, view_index: int, size: Sequence[int] | None = None) -> list[Segment]:
    """The masks of a view, by name.

    Parameters
    ----------
    store, case
        Whose.
    view_index : int
        In `Study.views`.
    size : (int, int), optional
        Rows and columns that every mask must have.

    Raises
    ------
    ClipmedError
        When a mask is of another size than its frame.
    """
    named: dict[str, list[Revision]] = {}
    for revision in held_masks(store, case):
        if revision.view_index == view_index:
            named.setdefault(revision.name or UNNAMED, []).append(revision)
    segments = []
    for name, revisions in named.items():
        masks = tuple(store.read_mask(revision) for revision in revisions)
        if size is not None and any(mask.shape != tuple(size) for mask in masks):
            raise ClipmedError(
                f"A mask {name!r} is not of the size of its frame.", "Open the study that it was drawn on."
            )
        segments.append(Segment(name, tuple(revisions), masks))
    return segments


def drawn_segments(store: Store, case: str, view_index: int, size: Sequence[int]) -> list[Segment]:
    """`segments_of` without empty masks: what formats get that list only what was found."""
    return [s for s in (s.drawn for s in segments_of(store, case, view_index, size)) if s is not None]


def views_with_masks(
    store: Store, case: str, study: Study, with_identity: bool
) -> list[tuple[SourceImage, list[Segment]]]:
    """The DICOM sources of a study that have masks, with them.

    Raises
    ------
    ClipmedError
        When no mask holds, the study is another one, or a source is no DICOM image.
    """
    check_case(store, case, study)
    found = [
        (source, drawn_segments(store, case, source.view_index, source.view.pixels.shape[1:]))
        for source in sources_of(study, with_identity)
    ]
    with_some = [(source, segments) for source, segments in found if segments]
    if not with_some:
        raise no_masks()
    return with_some


def no_masks() -> ClipmedError:
    """The error where nothing was ever outlined."""
    return ClipmedError("There are no masks to export.", "Accept or draw one in the Segmentation dock first.")


def newest(revisions: Sequence[Revision]) -> datetime:
    """When the last of some revisions was saved."""
    return max(revision.created_at for revision in revisions)


def check_case(store: Store, case: str, study: Study) -> None:
    """Raise unless the study is the one of the case: masks of another study would fit no frame.

    Raises
    ------
    ClipmedError
    """
    if store.find_case(study) != case:
        raise ClipmedError("The study given is not the one of this case.", "Give the study's own file.")
