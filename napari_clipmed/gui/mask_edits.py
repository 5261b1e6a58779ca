"""Edits of the masks on the canvas: computed off the GUI thread, written as one step of undo."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.mask_records import TITLE_LENGTH
from napari_clipmed.gui.projections import Projections, Span
from napari_clipmed.inference import mask_edit
from napari_clipmed.inference.mask_edit import LARGEST_VALUE, PixelSize, Step
from napari_clipmed.progress import Progress

if TYPE_CHECKING:
    from napari.layers import Labels

    from napari_clipmed.gui.session import ReviewSession

Frames = Mapping[int, NDArray[Any]]
"""Label values of whole frames, by frame index."""


@dataclass(frozen=True, eq=False)
class _Edit:
    """One edit that waits for its turn.

    Parameters
    ----------
    title : str
        What is being done, for the list of jobs.
    layer : Labels
        Which mask.
    frames : sequence of int
        The frames that it reads.
    work : callable
        From those frames the changed ones; off the GUI thread.
    done : callable
        What to say, given how many pixels changed; in the GUI thread.
    """

    title: str
    layer: Labels
    frames: Sequence[int]
    work: Callable[[Frames], Frames]
    done: Callable[[int], str]


class MaskEdits(QObject):
    """Edits the class in hand on the shown frame of the active view.

    Parameters
    ----------
    session : ReviewSession
    value_of : callable
        Label value of a class title; a new title gets the next free one.

    Attributes
    ----------
    said : Signal(str)
        What came of an edit.
    failed : Signal(object)
        The `ClipmedError` that kept an edit from being done.
    classes_changed : Signal()
        A class was added.
    projections : Projections
    """

    said = Signal(str)
    failed = Signal(object)
    classes_changed = Signal()

    def __init__(
        self, session: ReviewSession, value_of: Callable[[str], int], parent: QObject | None = None
    ) -> None:
        super().__init__(parent)
        self._session, self._next_value = session, value_of
        self.projections = Projections(session)
        self._waiting: deque[_Edit] = deque()
        self._busy = False

    # -- what is in hand ----------------------------------------------------------------------------------

    @property
    def layer(self) -> Labels | None:
        """The mask of the active view, if there is one."""
        session = self._session
        return session.labels_layer(session.active_view) if session.has_labels(session.active_view) else None

    @property
    def frame(self) -> int:
        """The shown frame of the active view."""
        return self._session.frame_of(self._session.active_view)

    @property
    def value(self) -> int:
        """The class in hand; 0 where there is none."""
        return int(self.layer.selected_label) if self.layer is not None else 0

    @property
    def title(self) -> str:
        """Title of the class in hand."""
        return self._session.classes.get(self.value, f"label {self.value}")

    @property
    def size(self) -> PixelSize | None:
        """Of a pixel of the active view, where it is known."""
        session = self._session
        if session.study is None or not session.study.views[session.active_view].spacing.known:
            return None
        spacing = session.study.views[session.active_view].spacing
        return PixelSize(spacing.row_mm, spacing.column_mm)

    def class_value(self, title: str) -> int:
        """Label value of a title, which becomes a class if it is none yet.

        Raises
        ------
        ClipmedError
            When all label values are used.
        """
        for value, known in self._session.classes.items():
            if known == title:
                return value
        value = self._next_value(title)
        if value > LARGEST_VALUE:
            raise ClipmedError("There are 255 classes already.", "Move the mask to one of them.")
        self._session.name_class(value, title)
        self.classes_changed.emit()
        return value

    # -- edits --------------------------------------------------------------------------------------------

    def run(self, step: Step) -> None:
        """Smooth, grow, shrink, … the class in hand."""
        value, size = self.value, self.size

        def change(labels: NDArray[Any]) -> NDArray[Any]:
            return mask_edit.put(labels, value, mask_edit.run_step(labels == value, step, size))

        self._on_frame(str(step), change, lambda n: _told(_spoken(step), n))

    def split(self) -> None:
        """Give each piece of the class in hand a class of its own; the largest keeps it."""
        layer, value, title, frame = self.layer, self.value, self.title, self.frame
        if layer is None:
            return
        n = mask_edit.pieces(np.asarray(layer.data[frame]) == value)[1]
        if n < 2:
            self.said.emit(f"{title} has {n} piece(s) on this frame: nothing to split.")
            return
        try:
            values = [
                self.class_value(_numbered(title, number)) for number in range(2, min(n, MOST_PIECES) + 1)
            ]
        except ClipmedError as error:
            self.failed.emit(error)
            return
        over = f" The {n - MOST_PIECES + 1} smallest share the last class." if n > MOST_PIECES else ""
        self._on_frame(
            "Split",
            lambda labels: mask_edit.split(labels, value, values),
            lambda changed: f"{title}: {n} pieces, the largest keeps its class.{over}",
        )

    def move_class(self, title: str) -> None:
        """Give all of the class in hand on the shown frame to another class, perhaps a new one."""
        value, old = self.value, self.title
        self._move(title, lambda labels: labels == value, old)

    def move_piece(self, view_index: int, row: int, column: int, title: str) -> None:
        """Give one piece, of whatever class, to another class."""
        self._session.activate_view(view_index)

        def piece(labels: NDArray[Any]) -> NDArray[np.bool_]:
            own = int(labels[row, column])
            return mask_edit.piece_at(labels == own, (row, column)) & (own > 0)

        self._move(title, piece, "The piece")

    def _move(self, title: str, which: Callable[[NDArray[Any]], NDArray[np.bool_]], what: str) -> None:
        title = title.strip()[:TITLE_LENGTH]
        if not title:
            self.said.emit("Choose a class to move to, or type the name of a new one.")
            return
        if self.layer is None:
            return
        if not which(np.asarray(self.layer.data[self.frame])).any():
            self.said.emit("There is no mask at this place: click a piece of one.")
            return
        try:
            value = self.class_value(title)
        except ClipmedError as error:
            self.failed.emit(error)
            return
        self._on_frame(
            f"Move to {title}",
            lambda labels: mask_edit.move(labels, which(labels), value),
            lambda n: f"{what} is now {title}." if n else f"{what} was {title} already.",
        )

    def copy(self, span: Span) -> None:
        """Let the class in hand be on each frame of a span what it is on the shown one."""
        value, frame, title = self.value, self.frame, self.title
        first, last = self._within(span)

        def work(frames: Frames) -> Frames:
            mask = frames[frame] == value
            return {at: mask_edit.put(labels, value, mask) for at, labels in frames.items()}

        self._start(
            "Copy the mask",
            sorted({*range(first, last + 1), frame}),
            work,
            lambda n: f"{title}: copied to frames {first + 1} to {last + 1}, {n} pixels changed.",
        )

    def project(self, span: Span) -> None:
        """Make the class in hand, on the shown frame, the union of what it is on the frames of a span."""
        layer, value, frame, title = self.layer, self.value, self.frame, self.title
        view_index = self._session.active_view
        if layer is None:
            return
        first, last = self._within(span)
        first, last = min(first, frame), max(last, frame)
        before = np.asarray(layer.data[frame]) == value

        def work(frames: Frames) -> Frames:
            union = np.any([labels == value for labels in frames.values()], axis=0)
            return {frame: mask_edit.put(frames[frame], value, union)}

        def done(n: int) -> str:
            self.projections.declare((view_index, frame, value), (first, last), before if n else None)
            return f"{title}: projected over frames {first + 1} to {last + 1}, kept on frame {frame + 1}."

        self._start("Project the mask", range(first, last + 1), work, done)

    def single(self) -> None:
        """Say that the class in hand on the shown frame is a mask of that frame alone; no pixel changes."""
        self.projections.declare((self._session.active_view, self.frame, self.value), None)
        self.said.emit(
            f"{self.title}: of frame {self.frame + 1} only. Its pixels stay; correct them as needed."
        )

    # -- inside -------------------------------------------------------------------------------------------

    def _within(self, span: Span) -> Span:
        session = self._session
        last = session.study.views[session.active_view].n_frames - 1 if session.study else 0
        low, high = (min(max(at, 0), last) for at in span)
        return min(low, high), max(low, high)

    def _on_frame(
        self, title: str, change: Callable[[NDArray[Any]], NDArray[Any]], done: Callable[[int], str]
    ) -> None:
        frame = self.frame
        self._start(title, [frame], lambda frames: {frame: change(frames[frame])}, done)

    def _start(
        self,
        title: str,
        frames: Sequence[int],
        work: Callable[[Frames], Frames],
        done: Callable[[int], str],
    ) -> None:
        """Edits wait for one another: each starts from what the one before made."""
        if self.layer is not None:
            self._waiting.append(_Edit(title, self.layer, frames, work, done))
            self._next()

    def _next(self) -> None:
        if self._busy or not self._waiting:
            return
        edit, session = self._waiting.popleft(), self._session
        before = {frame: np.array(edit.layer.data[frame]) for frame in edit.frames}
        study = session.study
        self._busy = True

        def compute(progress: Progress) -> Frames:
            return edit.work(before)

        def write(after: Frames) -> None:
            self._busy = False
            if study is None or session.study is None or edit.layer not in session.viewer.layers:
                self._waiting.clear()
                return
            if all(np.array_equal(edit.layer.data[frame], before[frame]) for frame in after):
                self.said.emit(edit.done(session.masks.change(edit.layer, after)))
            else:
                self.said.emit("The mask was painted on meanwhile; ask again.")
            self._next()

        def refused(error: ClipmedError) -> None:
            self._busy = False
            self._waiting.clear()
            self.failed.emit(error)

        session.jobs.start(compute, title=edit.title, on_done=write, on_error=refused)

    def forget(self) -> None:
        """Another study."""
        self._waiting.clear()
        self.projections.forget()


MOST_PIECES = 12
"""Classes that one split makes at most; specks are better removed first."""


def _numbered(title: str, number: int) -> str:
    ending = f" {number}"
    return title[: TITLE_LENGTH - len(ending)] + ending


DONE = {
    "smooth": "Smoothed by",
    "grow": "Grown by",
    "shrink": "Shrunk by",
    "keep-largest": "Only the largest piece kept",
    "remove-small": "Pieces removed below",
    "fill-holes": "Holes filled up to",
}


def _spoken(step: Step) -> str:
    amount = "" if step.amount is None else f" {step.amount:g} {step.unit}"
    return DONE[step.name] + amount


def _told(what: str, n: int) -> str:
    return f"{what}, {n} pixels changed. Ctrl+Z takes it back." if n else f"{what}: nothing changed."
