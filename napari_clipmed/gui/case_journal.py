"""What of the canvas is in no revision yet, and its journal; no widgets, nothing of Qt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.study import Study

if TYPE_CHECKING:
    from napari_clipmed.records.drafts import Draft, Drafts

Place = tuple[int, int]
"""View index and frame."""


def case_key(study: Study) -> str:
    """Id of the case of a study, known to the store or not."""
    from napari_clipmed.records.identity import case_key as key_of  # loads the database library

    return key_of(study)


def fits(draft: Draft, study: Study) -> bool:
    """Whether a draft can be shown on the views of a study."""
    if draft.view_index is None or draft.frame is None or draft.labels is None:
        return draft.key == "label"
    if draft.view_index >= len(study.views):
        return False
    view = study.views[draft.view_index]
    return draft.frame < view.n_frames and draft.labels.shape == view.pixels.shape[1:]


def compose(masks: Mapping[str, NDArray[np.bool_]], values: Mapping[str, int], shape: Any) -> NDArray[Any]:
    """Masks by title as one (H, W) uint8 frame of mask values; a later one covers an earlier one."""
    labels = np.zeros(shape, np.uint8)
    for title, pixels in masks.items():
        labels[pixels] = values[title]
    return labels


class InTurn:
    """Lets the writes of a case happen one after the other, and never an older one after a newer.

    Jobs run side by side. One that was asked for before a mask was saved would otherwise keep it as unsaved
    after the one that was asked for then had dropped it.
    """

    def __init__(self) -> None:
        self._lock, self._turns = Lock(), count()
        self._written: dict[str, int] = {}

    def ask(self, case: str, write: Callable[[], set[str]]) -> Callable[[], set[str]]:
        """What to call in place of `write`; too late it does nothing, and gives an empty set."""
        turn = next(self._turns)

        def in_turn() -> set[str]:
            with self._lock:
                if self._written.get(case, -1) > turn:
                    return set()
                found = write()
                self._written[case] = turn
                return found

        return in_turn


def journal_frames(
    drafts: Drafts,
    case: str,
    layers: Mapping[int, NDArray[Any]],
    baselines: Mapping[Place, Mapping[str, NDArray[np.bool_]]],
    values: Mapping[str, int],
) -> set[str]:
    """Keep a draft of every frame that differs from what was saved, drop those of frames that do not.

    Parameters
    ----------
    layers : mapping of int to (T, H, W) int array
        Label values of each view that was painted on.
    baselines : mapping of (view, frame) to masks by title
        As they were last read or saved.
    values : mapping of str to int
        Mask value of each title.

    Returns
    -------
    set of str
        `Draft.key` of what was kept.
    """
    from napari_clipmed.records.drafts import Draft

    kept = set()
    classes = {str(value): title for title, value in values.items()}
    for view, data in layers.items():
        saved_frames = {frame for at, frame in baselines if at == view}
        for frame in range(len(data)):
            labels = np.array(data[frame], np.uint8)
            saved = baselines.get((view, frame), {})
            draft = Draft(case, view, frame, labels, {"classes": classes})
            if (frame in saved_frames or labels.any()) and not np.array_equal(
                labels, compose(saved, values, labels.shape)
            ):
                drafts.keep(draft)
                kept.add(draft.key)
            else:
                drafts.drop(case, draft.key, others=False)
    return kept
