"""What the records say about one study, as the window keeps it; nothing of Qt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.gui.case_journal import Place

if TYPE_CHECKING:
    from napari_clipmed.records import Conflict, Revision, Store
    from napari_clipmed.records.drafts import Draft


@dataclass(frozen=True)
class CaseState:
    """What the records say about the open study.

    Parameters
    ----------
    workspace : str
        Path of the workspace folder.
    notice : str
        Why nothing can be saved (read-only, not reachable); empty when it can.
    case : str or None
        Id of the case; None while the store does not know it.
    label : Revision or None
        The label that holds.
    masks : tuple of Revision
        The masks that hold.
    conflicts, drafts
        Where two people disagree, and what was never saved.
    """

    workspace: str = ""
    notice: str = ""
    case: str | None = None
    label: Revision | None = None
    masks: tuple[Revision, ...] = ()
    conflicts: tuple[Conflict, ...] = ()
    drafts: tuple[Draft, ...] = ()


@dataclass
class Baseline:
    """The masks of one frame as they were last read or saved: by title, revision and pixels."""

    revisions: dict[str, Revision] = field(default_factory=dict)
    pixels: dict[str, NDArray[np.bool_]] = field(default_factory=dict)


def read_baselines(store: Store, masks: Sequence[Revision]) -> dict[Place, Baseline]:
    """Off the GUI thread: the masks that hold, by view and frame."""
    found: dict[Place, Baseline] = {}
    for revision in masks:
        if revision.view_index is not None and revision.frame is not None:
            baseline = found.setdefault((revision.view_index, revision.frame), Baseline())
            baseline.revisions[revision.name] = revision
            baseline.pixels[revision.name] = store.read_mask(revision)
    return found
