"""The outline that follows the typing: after a pause, a sentence is tried on the frame that is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from napari_clipmed.errors import ClipmedError
from napari_clipmed.inference.results import MaskProposal
from napari_clipmed.progress import Progress
from napari_clipmed.study import Study

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession

LIVE = "live-outline"
"""Key of its jobs: a newer sentence supersedes an older one."""

Shown = Callable[[Study, int, int, MaskProposal], None]


class LiveOutline:
    """Asks the model by itself, off the GUI thread, and never twice the same.

    Parameters
    ----------
    session : ReviewSession
    show : callable
        Given study, view index, frame and answer; the frame is still shown then.
    withdraw : callable
        Called when the sentence was deleted.
    complain : callable
        Given the error that kept a sentence from being tried.
    """

    def __init__(
        self,
        session: ReviewSession,
        show: Shown,
        withdraw: Callable[[], None],
        complain: Callable[[ClipmedError], None],
    ) -> None:
        self._session, self._show = session, show
        self._withdraw, self._complain = withdraw, complain
        self._last: tuple[object, ...] = ()
        self.on = True

    def switch(self, on: bool) -> None:
        """Follow the typing, or wait to be asked."""
        self.on = on
        if not on:
            self._session.jobs.cancel(LIVE)

    def consider(self, text: str, convention: str) -> None:
        """Try a sentence, unless it is what was asked last on this frame."""
        session, study = self._session, self._session.study
        hanging = session.hanging
        if (
            not self.on or study is None or hanging is None or hanging.gone
        ):  # the timer may outlive the window
            return
        if not text.strip():
            session.jobs.cancel(LIVE)
            self._last = ()
            self._withdraw()
            return
        question = self._question(text, convention)
        if question == self._last:
            return
        self._last = question
        index, frame = session.active_view, session.frame_of(session.active_view)
        view = study.views[index]

        def work(progress: Progress) -> MaskProposal:
            return session.engine().segment(view, frame, text, convention, progress)

        def done(proposal: MaskProposal) -> None:
            if self._question(text, convention) == question:  # else another frame or study is shown by now
                self._show(study, index, frame, proposal)

        session.jobs.start(
            work, title="Outline while typing", on_done=done, on_error=self._complain, key=LIVE
        )

    def stand_back(self, text: str, convention: str) -> None:
        """The person asks this very thing now."""
        self._session.jobs.cancel(LIVE)
        self._last = self._question(text, convention)

    def forget(self) -> None:
        """Another study, or the outline was discarded: the same sentence may be tried again."""
        self._session.jobs.cancel(LIVE)
        self._last = ()

    def _question(self, text: str, convention: str) -> tuple[object, ...]:
        session = self._session
        index = session.active_view
        shown = session.study.image_hash if session.study is not None else ""
        return (
            text.strip(),
            convention,
            shown,
            index,
            session.frame_of(index),
            session.model_id("segmentation"),
        )
