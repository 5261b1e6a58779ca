"""What is known about the masks on screen, and their way into the annotation store."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_clipmed.gui.theme import MASK_COLOURS
from napari_clipmed.inference.results import MaskProposal
from napari_clipmed.records import Revision, Store, Verdict
from napari_clipmed.study import Study

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession

Spans = Callable[[tuple[int, int, int]], tuple[int, int] | None]
"""The frames that the mask of a view, frame and value is projected over."""

FIRST_VALUE = 2
"""Label value of the first sentence; 1 belongs to what is outlined or drawn without one ("finding")."""


TITLE_LENGTH = 64
"""The records keep no longer titles of classes."""


def class_title(prompt: str) -> str:
    """Title of a sentence's class: the sentence, without its middle where it is too long for the records.

    Sentences differ most at their end, where they say the place.
    """
    if len(prompt) <= TITLE_LENGTH:
        return prompt
    head = TITLE_LENGTH // 3
    return f"{prompt[:head].rstrip()} … {prompt[-(TITLE_LENGTH - head - 3) :].lstrip()}"


@dataclass(frozen=True, eq=False)
class Accepted:
    """A proposal that became editable labels.

    Parameters
    ----------
    proposal : MaskProposal
    threshold : float
        At which it was accepted.
    view_index, frame, value : int
        Where it was written, and as which label.
    """

    proposal: MaskProposal
    threshold: float
    view_index: int
    frame: int
    value: int

    @property
    def mask(self) -> NDArray[np.bool_]:
        """As accepted, before any correction."""
        return self.proposal.mask(self.threshold)


@dataclass(frozen=True, eq=False)
class MaskToSave:
    """One class of one frame.

    Parameters
    ----------
    origin : Accepted or None
        The proposal that this very mask came from.
    sentence : MaskProposal or None
        The sentence of its class; known also where the class was drawn by hand on another frame.
    before : Revision or None
        What was saved of this class of this frame before.
    projected : (int, int) or None
        First and last frame that the mask is projected over; None for a mask of its frame alone.
    """

    view_index: int
    frame: int
    mask: NDArray[np.bool_]
    title: str
    origin: Accepted | None = None
    sentence: MaskProposal | None = None
    before: Revision | None = None
    projected: tuple[int, int] | None = None

    @property
    def verdict(self) -> Verdict:
        """Accepted while untouched; drawn or changed by hand it is a correction."""
        untouched = self.origin is not None and np.array_equal(self.mask, self.origin.mask)
        return Verdict.ACCEPTED if untouched else Verdict.CORRECTED


@dataclass
class PromptList:
    """Which label value each sentence has, and what was accepted where; per study."""

    values: dict[str, int] = field(default_factory=dict)
    accepted: dict[tuple[int, int, int], Accepted] = field(default_factory=dict)

    def value_of(self, prompt: str) -> int:
        """Label value of a sentence; a new sentence gets the next one."""
        return self.values.setdefault(prompt, max(self.values.values(), default=FIRST_VALUE - 1) + 1)

    def adopt(self, classes: Mapping[int, str]) -> None:
        """Take over classes that were saved earlier, so that their sentences keep their values."""
        for value, title in classes.items():
            if value >= FIRST_VALUE:
                self.values.setdefault(title, value)

    def colour_of(self, prompt: str) -> str:
        """Colour of a sentence, the same as on the canvas."""
        return MASK_COLOURS[(self.value_of(prompt) - 1) % len(MASK_COLOURS)]

    @property
    def asked(self) -> dict[int, MaskProposal]:
        """The sentence of each label value that was written from one."""
        return {accepted.value: accepted.proposal for accepted in self.accepted.values()}

    def remember(self, accepted: Accepted) -> None:
        """Note where a proposal was written."""
        self.accepted[accepted.view_index, accepted.frame, accepted.value] = accepted

    def to_save(
        self,
        labels: NDArray[np.integer],
        view_index: int,
        frame: int,
        titles: Mapping[int, str],
        saved: Mapping[str, Revision],
        span_of: Spans = lambda place: None,
    ) -> list[MaskToSave]:
        """The classes of one frame: those drawn on it, and those accepted or saved there and erased since.

        Parameters
        ----------
        labels : (H, W) int array
            The frame of the Labels layer.
        titles : mapping of int to str
            Of the label values.
        saved : mapping of str to Revision
            By title, what was saved of this frame before.
        span_of : callable
            The frames that the mask of a view, frame and value is projected over.
        """
        sentences = self.asked
        drawn = {int(value) for value in np.unique(labels) if value}
        known = {value for view, at, value in self.accepted if (view, at) == (view_index, frame)}
        known |= {value for value, title in titles.items() if title in saved}
        return [
            MaskToSave(
                view_index,
                frame,
                labels == value,
                titles.get(value, f"label {value}"),
                self.accepted.get((view_index, frame, value)),
                sentences.get(value),
                saved.get(titles.get(value, "")),
                span_of((view_index, frame, value)),
            )
            for value in sorted(drawn | known)
        ]


def masks_here(session: ReviewSession, prompts: PromptList, span_of: Spans) -> list[MaskToSave]:
    """The masks of the shown frame of the active view, copied; see `PromptList.to_save`."""
    index = session.active_view
    if session.study is None or not session.has_labels(index):
        return []
    frame = session.frame_of(index)
    labels = np.array(session.labels_layer(index).data[frame])
    saved = session.records.seen_masks(index, frame)
    return prompts.to_save(labels, index, frame, session.classes, saved, span_of)


def record_prompt(
    store: Store, study: Study, view_index: int, frame: int, proposal: MaskProposal, author: str
) -> Revision:
    """Write down that a sentence was asked. Off the GUI thread."""
    return store.add_prompt(
        store.case_for(study),
        view_index,
        frame,
        proposal.prompt,
        model_prompt=proposal.normalised_prompt,
        convention=proposal.convention,
        model_id=proposal.model_id,
        author=author,
    )


def save_masks(store: Store, study: Study, masks: Sequence[MaskToSave], author: str) -> list[Revision]:
    """Write masks of one frame as revisions, with the pixels that fine-tuning needs. Off the GUI thread.

    A mask that its author saved before exactly like this makes no further revision. One that somebody else
    has changed meanwhile makes a conflict; see `Store.add_mask`.
    """
    from napari_clipmed.training.snapshots import save_segmentation_inputs

    case = store.case_for(study)
    for view_index, frame in sorted({(m.view_index, m.frame) for m in masks}):
        save_segmentation_inputs(store, case, study.views[view_index], view_index, frame)
    return [_save_mask(store, case, mask, author) for mask in masks]


def _save_mask(store: Store, case: str, mask: MaskToSave, author: str) -> Revision:
    said, before = mask.sentence, mask.before
    unchanged = (
        before is not None
        and before.projected == mask.projected
        and np.array_equal(store.read_mask(before), mask.mask)
    )
    if before is not None and unchanged and before.author == author:
        return before
    return store.add_mask(
        case,
        mask.view_index,
        mask.frame,
        mask.mask,
        said.prompt if said else before.prompt if before else "",
        model_prompt=said.normalised_prompt if said else before.model_prompt if before else "",
        convention=said.convention if said else before.convention if before else "picture",
        verdict=Verdict.ACCEPTED if unchanged else mask.verdict,
        name=mask.title,
        threshold=mask.origin.threshold if mask.origin else None,
        model_id=said.model_id if said else before.model_id if before else "",
        model_version=said.model_version if said else before.model_version if before else "",
        model_score=said.score if said else before.model_score if before else None,
        projected=mask.projected,
        author=author,
        based_on=before.id if before else None,
    )
