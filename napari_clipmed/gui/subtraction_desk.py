"""Changing how the views of a session are subtracted: at once, undoable, kept as data about the study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_clipmed.gui.mask_history import MaskHistory
from napari_clipmed.io.mask_settings import Shift, default_subtraction, shifted, why_fixed, with_mask
from napari_clipmed.progress import Progress
from napari_clipmed.records import Run
from napari_clipmed.remembered import MASK, said
from napari_clipmed.study import Study, Subtraction, View

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession

AUTO_SHIFT, FIRST_MASK = "auto shift", "first mask"
"""Keys of the jobs."""


class SubtractionDesk(QObject):
    """The subtractions of one session's study, each with its undo.

    Attributes
    ----------
    changed : Signal(int)
        The subtraction or the undo of a view changed.
    failed : Signal(object)
        The `ClipmedError` that stopped a job.
    this_frame_only : bool
        Whether `nudge` moves the mask of the shown frame only.
    """

    changed = Signal(int)
    failed = Signal(object)

    def __init__(self, session: ReviewSession) -> None:
        super().__init__(session)
        self._session = session
        self._histories: list[MaskHistory] = []
        self._study_hash = ""
        self.this_frame_only = False
        session.study_changed.connect(self._on_study)
        session.subtraction_changed.connect(self._on_changed)
        self._on_study(session.study)

    def view(self, index: int) -> View | None:
        """The view as it is shown; None where no study is open."""
        study = self._session.study
        return study.views[index] if study is not None and index < len(study.views) else None

    def history(self, index: int) -> MaskHistory:
        """Undo and redo of a view."""
        self._on_study(self._session.study)  # another study may just be being announced
        return self._histories[index]

    # -- changing -----------------------------------------------------------------------------------------

    def set(self, index: int, wanted: Subtraction | None, control: str = "") -> None:
        """Subtract a view differently, as one step that `undo` takes back.

        Parameters
        ----------
        wanted : Subtraction or None
            None shows the run as stored.
        control : str
            See `MaskHistory.push`.
        """
        view = self.view(index)
        if view is None or why_fixed(view) or wanted == view.subtraction:
            return
        self.history(index).push(wanted, control)
        self._show(index, wanted)

    def begin(self, index: int) -> None:
        """Subtract a native run by what its file says, or by its first frame that stands still."""
        view = self.view(index)
        if view is None:
            return
        self._session.jobs.start(
            lambda progress: default_subtraction(view),
            title="Look for a mask",
            on_done=lambda wanted: self._if_same(view, index, wanted),
            on_error=self.failed.emit,
            key=FIRST_MASK,
        )

    def remask(self, index: int) -> None:
        """Make the shown frame the mask."""
        view = self.view(index)
        if view is None or why_fixed(view):
            return
        basis = view.subtraction or view.file_subtraction or Subtraction(())
        self.set(index, with_mask(basis, [self._session.frame_of(index) + 1]))

    def nudge(self, by: Shift) -> None:
        """Move the mask of the active view by some rows down and columns to the LEFT."""
        index = self._session.active_view
        view = self.view(index)
        if view is None:
            return
        if view.subtraction is None:
            self._session.message.emit(why_fixed(view) or "Subtract this view first; then shift its mask.")
            return
        frame = self._session.frame_of(index) + 1 if self.this_frame_only else None
        self.set(index, shifted(view.subtraction, by, frame))

    def auto_shift(self, index: int, per_frame: bool) -> None:
        """Lay the mask over the bones, off the GUI thread; a newer question replaces an older one."""
        view = self.view(index)
        if view is None or view.subtraction is None:
            return
        wanted = view.subtraction

        def work(progress: Progress) -> Subtraction:
            from napari_clipmed.io.auto_shift import auto_shift

            return auto_shift(view, wanted, per_frame, progress)

        self._session.jobs.start(
            work,
            title="Automatic shift",
            on_done=lambda found: self._if_same(view, index, found),
            on_error=self.failed.emit,
            key=AUTO_SHIFT,
        )

    def as_read(self, index: int) -> None:
        """Back to what the file asks for."""
        if self.view(index) is not None:
            self.set(index, self._file_subtraction(index))

    def differs_from_file(self, index: int) -> bool:
        """Whether a view is subtracted otherwise than its file asks for."""
        view = self.view(index)
        return view is not None and view.subtraction != self._file_subtraction(index)

    def undo(self, index: int) -> None:
        """Take the last step of a view back."""
        if index < len(self._histories) and self._histories[index].can_undo:
            self._show(index, self._histories[index].undo())

    def redo(self, index: int) -> None:
        """Make the step again that was taken back."""
        if index < len(self._histories) and self._histories[index].can_redo:
            self._show(index, self._histories[index].redo())

    # -- inside -------------------------------------------------------------------------------------------

    def _show(self, index: int, wanted: Subtraction | None) -> None:
        """Put it on the canvas, and remember it unless it is what the file says."""
        session, view = self._session, self.view(index)
        if view is None:
            return
        own = wanted is not None and wanted != self._file_subtraction(index)
        setting = session.reader.made(Run.of(view), MASK, wanted.to_json() if wanted and own else None)
        session.resubtract(index, wanted, said(setting, setting.author) if own else "")
        session.reader.keep(setting, settling=True)

    def _file_subtraction(self, index: int) -> Subtraction | None:
        """What the view was subtracted with as read."""
        as_read = self._session.reader.as_read
        return as_read.views[index].subtraction if as_read is not None else None

    def _if_same(self, view: View, index: int, wanted: Subtraction) -> None:
        """Take over what a job found, unless the study or its masks changed meanwhile."""
        now = self.view(index)
        if now is None or Run.of(now) != Run.of(view) or now.subtraction != view.subtraction:
            return
        if wanted == now.subtraction:
            self._session.message.emit("The mask lies well already: no other shift leaves less edges.")
        self.set(index, wanted)

    def _on_study(self, study: Study | None) -> None:
        study_hash = study.image_hash if study is not None else ""
        if study is None or study_hash != self._study_hash:
            self._histories = [MaskHistory(view.subtraction) for view in study.views] if study else []
        else:  # the same pictures under other conclusions, or with the settings of last time
            for history, view in zip(self._histories, study.views, strict=True):
                if view.subtraction != history.present:
                    history.push(view.subtraction)
        self._study_hash = study_hash

    def _on_changed(self, index: int) -> None:
        self.changed.emit(index)
