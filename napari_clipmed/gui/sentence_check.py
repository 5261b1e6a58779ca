"""Says where a mask is not what its sentence says: while it is proposed, and after a person corrected it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from qtpy.QtCore import QObject, QTimer
from qtpy.QtWidgets import QLabel

from napari_clipmed.gui.theme import banner, say
from napari_clipmed.progress import Progress
from napari_clipmed.study import Kind

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_clipmed.errors import ClipmedError
    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.inference.results import MaskProposal

PROPOSED, DRAWN = "check-proposal", "check-labels"
"""Keys of its jobs."""

REST_MS = 400
"""Corrected masks are compared this long after the last stroke."""


class Sentence(NamedTuple):
    """A sentence as it was typed, and whose left was meant ("picture" or "patient")."""

    prompt: str
    convention: str


class SentenceCheck(QObject):
    """Compares off the GUI thread; on angiograms, whose sides are not those of a film, it keeps silent.

    Parameters
    ----------
    session : ReviewSession
    about_proposal : QLabel
        Banner for the mask that waits for judgement.
    asked : callable
        The sentences that were asked, by label value.

    Attributes
    ----------
    about_labels : QLabel
        Banner for the editable masks of the shown frame.
    """

    def __init__(
        self,
        session: ReviewSession,
        about_proposal: QLabel,
        asked: Callable[[], Mapping[int, MaskProposal]],
    ) -> None:
        super().__init__(about_proposal)
        self._session, self._asked = session, asked
        self._about_proposal = about_proposal
        self.about_labels = banner("", "warning", "labels_contradiction")
        self._rest = QTimer(self)
        self._rest.setSingleShot(True)
        self._rest.setInterval(REST_MS)
        self._rest.timeout.connect(self._check_labels)
        for signal in (
            session.mask_changed,
            session.frame_changed,
            session.active_view_changed,
            session.records.loaded,
        ):
            signal.connect(self._later)
        session.study_changed.connect(self._forget)

    def proposal(self, proposal: MaskProposal | None, mask: NDArray[np.bool_] | None = None) -> None:
        """Compare the proposal at its present threshold; None forgets the one before."""
        if proposal is None or mask is None or not self._speaks_of_lungs:
            self._session.jobs.cancel(PROPOSED)
            say(self._about_proposal, "")
            return
        masks = {1: mask}
        sentences = {1: ("", Sentence(proposal.prompt, proposal.convention))}
        self._start(PROPOSED, self._about_proposal, lambda value: masks[value], sentences)

    @property
    def _speaks_of_lungs(self) -> bool:
        study = self._session.study
        return study is not None and study.kind is not Kind.ANGIOGRAM

    def _later(self, _: object = None) -> None:
        self._rest.start()

    def _forget(self, _: object = None) -> None:
        for key, label in ((PROPOSED, self._about_proposal), (DRAWN, self.about_labels)):
            self._session.jobs.cancel(key)
            say(label, "")
        self._later()

    def _check_labels(self) -> None:
        session, index = self._session, self._session.active_view
        if session.hanging is None or session.hanging.gone:
            return  # the window was closed meanwhile
        sentences = self._sentences_here()
        if not (sentences and self._speaks_of_lungs and session.has_labels(index)):
            session.jobs.cancel(DRAWN)
            say(self.about_labels, "")
            return
        labels = np.array(session.labels_layer(index).data[session.frame_of(index)])
        self._start(DRAWN, self.about_labels, lambda value: labels == value, sentences)

    def _sentences_here(self) -> dict[int, tuple[str, Sentence]]:
        """Title and sentence of the classes that have one: asked now, or saved with a mask of this frame."""
        session, index = self._session, self._session.active_view
        if session.study is None:
            return {}
        saved = session.records.seen_masks(index, session.frame_of(index))
        found: dict[int, tuple[str, Sentence]] = {}
        for value, title in session.classes.items():
            revision = saved.get(title)
            if revision is not None and revision.prompt:
                found[value] = title, Sentence(revision.prompt, revision.convention or "picture")
        for value, proposal in self._asked().items():
            title = session.classes.get(value, proposal.prompt)
            found[value] = title, Sentence(proposal.prompt, proposal.convention)
        return found

    def _start(
        self,
        key: str,
        label: QLabel,
        mask_of: Callable[[int], NDArray[np.bool_]],
        sentences: Mapping[int, tuple[str, Sentence]],
    ) -> None:
        def work(progress: Progress) -> str:
            from napari_clipmed.inference.contradictions import contradictions_of

            lines: list[str] = []
            for value, (title, sentence) in sentences.items():
                mask = mask_of(value)
                found = contradictions_of(*sentence, mask) if mask.any() else ()
                lines += [f"{title}: {' '.join(found)}"] if title and found else found
            return "\n".join(lines)

        def refused(error: ClipmedError) -> None:
            say(label, f"Mask and sentence could not be compared: {error.message}")

        self._session.jobs.start(
            work,
            title="Compare mask and sentence",
            on_done=lambda text: say(label, text),
            on_error=refused,
            key=key,
        )
