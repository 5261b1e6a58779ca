"""The first picture on the canvas while the rest of a study is still being read.

What arrives is hung at once, but it is not open yet: `session.study` stays None until every frame is there,
so that nothing computes, paints or records on half a study. The finished study then takes the place of the
provisional one layer by layer, without a new hanging.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, Signal

from napari_clipmed.gui.jobs import Job, JobState

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.io.arriving import Arriving
    from napari_clipmed.study import Study


class Arrivals(QObject):
    """Shows a study while it is being read, and sees to a clear end.

    Parameters
    ----------
    session : ReviewSession
        Whose canvas is used.
    """

    _came = Signal(int, object)
    _frame_came = Signal()

    def __init__(self, session: ReviewSession) -> None:
        super().__init__(session)
        self._session = session
        self._expected = 0
        self._coming: Arriving | None = None
        self._arriving: Arriving | None = None
        self._looking = False
        self._came.connect(self._show, Qt.ConnectionType.QueuedConnection)
        self._frame_came.connect(self._refresh, Qt.ConnectionType.QueuedConnection)
        session.frame_changed.connect(self._look_where_the_slider_is)

    @property
    def arriving(self) -> Arriving | None:
        """What is on the canvas, or on its way there, and not complete; None where there is no such study."""
        return self._arriving or self._coming

    def expect(self) -> Callable[[Arriving], None]:
        """What a job calls, on its own thread, with the first picture; what earlier jobs say is ignored."""
        self._expected += 1
        return partial(self._on_came, self._expected)

    def watch(self, job: Job) -> None:
        """Clear the canvas when a job ends without a whole study."""
        expected = self._expected
        job.ended.connect(lambda: self._end(job, expected))

    def complete(self, study: Study) -> bool:
        """Put the whole study in the place of the provisional one; whether it fits there."""
        arriving, hanging = self._arriving, self._session.hanging
        self.forget()
        if arriving is None or hanging is None or not hanging.fits(study):
            return False
        hanging.complete(study)
        return True

    def forget(self) -> None:
        """The canvas is about to show something else."""
        self._arriving = self._coming = None

    def _on_came(self, expected: int, arriving: Arriving) -> None:
        """On the thread of the job, which waits a moment until the picture is on screen."""
        arriving.seen.clear()
        self._came.emit(expected, arriving)

    def _show(self, expected: int, arriving: Arriving) -> None:
        if expected == self._expected:
            self._arriving, self._coming = None, arriving
            self._session.turns.run(self._showing(arriving))

    def _showing(self, arriving: Arriving) -> Iterator[None]:
        for step in self._session.hang_arriving(arriving.study):
            hanging = self._session.hanging
            if hanging is not None and hanging.study is arriving.study and hanging.pictures_drawn:
                arriving.seen.set()
            yield step
        arriving.seen.set()
        self._arriving, self._coming = arriving, None
        arriving.tell = self._on_told
        self._look_where_the_slider_is()
        self._session.study_arriving.emit(arriving.study)

    def _on_told(self, view: int, frame: int) -> None:
        """On the thread of the job: many frames between two looks of the GUI thread become one signal."""
        if not self._looking:
            self._looking = True
            self._frame_came.emit()

    def _look_where_the_slider_is(self, frames: object = None) -> None:
        """Have the frames around the slider decoded next, and say which are missing."""
        if self._arriving is not None:
            for view in range(len(self._arriving.study.views)):
                self._arriving.look_at(view, self._session.frame_of(view))
            self._refresh()

    def _refresh(self) -> None:
        """Draw what has arrived since the last look, where it is on screen."""
        self._looking = False
        hanging = self._session.hanging
        if self._arriving is None or hanging is None:
            return
        views = range(len(self._arriving.study.views))
        unread = {view for view in views if not self._arriving.has(view, self._session.frame_of(view))}
        for view in hanging.unread - unread:
            hanging.images[view].refresh()
        if unread != hanging.unread:
            hanging.mark_unread(unread)

    def _end(self, job: Job, expected: int) -> None:
        arriving = self.arriving
        if job.state is JobState.DONE or expected != self._expected or arriving is None:
            return
        arrived, total = arriving.counts
        self.forget()
        self._session.close_study()
        if job.state is JobState.CANCELLED:
            self._session.message.emit(
                f"Opening was cancelled after {arrived} of {total} frames; nothing of it is open."
            )
