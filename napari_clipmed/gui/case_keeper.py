"""Between the open study and its records: what was saved before comes back, what is unsaved is journalled.

One for each session. Everything that touches the disk or the database runs as a job; the rest belongs to the
GUI thread.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QCoreApplication, QObject, QTimer, Signal

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.case_journal import InTurn, Place, case_key, compose, fits, journal_frames
from napari_clipmed.gui.case_state import Baseline, CaseState, read_baselines
from napari_clipmed.progress import Progress
from napari_clipmed.study import Study

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.records import Conflict, Revision, Store
    from napari_clipmed.records.drafts import Draft, Drafts

LOOK = "records"
AUTOSAVE_MS = 500
"""Marks are journalled at the latest this long after a stroke, also while one paints on."""


class CaseKeeper(QObject):
    """Keeps a session's study and its case together.

    Attributes
    ----------
    changed : Signal()
        `state` was read anew.
    loaded : Signal()
        Saved masks or drafts were put on the canvas.
    judged : Signal(object, object)
        A verdict was saved: the study that it is about, and its revision.
    failed : Signal(object)
        A `ClipmedError` of something that was asked for here.
    state : CaseState
    """

    changed = Signal()
    loaded = Signal()
    judged = Signal(object, object)
    failed = Signal(object)

    def __init__(self, session: ReviewSession) -> None:
        super().__init__(session)
        self._session = session
        self.state = CaseState()
        self.baselines: dict[Place, Baseline] = {}
        self._known_study = ""
        self._drafts: Drafts | None = None
        self._drafts_of: Path | None = None
        self._dirty: dict[int, NDArray[Any]] = {}
        self._dirty_study: Study | None = None
        self._shown_drafts: set[str] = set()
        self._in_turn = InTurn()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(AUTOSAVE_MS)
        self._timer.timeout.connect(self.journal)
        session.study_changed.connect(self._on_study)
        session.mask_changed.connect(self._on_mask_changed)
        session.masks_exhausted.connect(self.undo_saved)
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.finish)

    # -- what was seen ------------------------------------------------------------------------------------

    def seen_label(self) -> int | Literal["latest"] | None:
        """Id of the label revision on screen, for `Store.add_label(based_on=…)`."""
        if not self._known_study:
            return "latest"
        return self.state.label.id if self.state.label else None

    def seen_masks(self, view_index: int, frame: int) -> dict[str, Revision]:
        """The mask revisions on screen of one frame, by title."""
        baseline = self.baselines.get((view_index, frame))
        return dict(baseline.revisions) if baseline else {}

    # -- reading ------------------------------------------------------------------------------------------

    def refresh(self, load: bool = False) -> None:
        """Read the state anew; `load` also puts the saved masks on the canvas."""
        session, study = self._session, self._session.study

        def look(progress: Progress) -> tuple[CaseState, dict[Place, Baseline]]:
            state = self._read_state(study)
            store = session.store() if load and state.masks else None
            return state, read_baselines(store, state.masks) if store else {}

        def found(answer: tuple[CaseState, dict[Place, Baseline]]) -> None:
            if study is not session.study:
                return
            self.state = answer[0]
            self._known_study = study.image_hash if study else ""
            if load:
                self._show(answer[1])
            self.changed.emit()

        session.jobs.start(look, title="Look up the case", on_done=found, on_error=self._unknown, key=LOOK)

    def _read_state(self, study: Study | None) -> CaseState:
        """Off the GUI thread."""
        session = self._session
        place = str(session.workspace)
        if not session.workspace.exists():  # looking must not make a workspace
            return CaseState(place, drafts=self._drafts_about(study))
        store = session.store()
        case = store.find_case(study) if study else None
        if case is None:
            return CaseState(place, store.notice, drafts=self._drafts_about(study))
        return CaseState(
            place,
            store.notice,
            case,
            store.current_label(case),
            tuple(store.current_masks(case)),
            tuple(store.conflicts(case)),
            self._drafts_about(study),
        )

    def _drafts_about(self, study: Study | None) -> tuple[Draft, ...]:
        if study is None:
            return ()
        found = self.drafts.of(case_key(study))
        return tuple(d for d in found if d.key not in self._shown_drafts and fits(d, study))

    def _unknown(self, error: ClipmedError) -> None:
        self.state = CaseState(str(self._session.workspace), f"{error.message} {error.hint}".strip())
        self.changed.emit()

    def _on_study(self, study: Study | None) -> None:
        if study is not None and study.image_hash == self._known_study:
            shown = any(self._session.has_labels(index) for index in range(len(study.views)))
            if shown or not (self.baselines or self._dirty):
                return  # relabelled: the same pixels, and the masks are still there
        self.reopen()

    def reopen(self) -> None:
        """Read everything anew: another study, or another workspace."""
        self.flush()
        if self.state.notice:
            self._session.backend.forget_store()  # perhaps it can be written by now
        self.state, self.baselines, self._known_study = CaseState(), {}, ""
        self._dirty, self._dirty_study, self._shown_drafts = {}, None, set()
        self.refresh(load=True)

    # -- masks to the canvas ------------------------------------------------------------------------------

    def _show(self, baselines: dict[Place, Baseline]) -> None:
        session = self._session
        self.baselines |= baselines
        for (view_index, frame), baseline in baselines.items():
            if session.image_layer(view_index) is None:
                continue
            layer = session.labels_layer(view_index)
            values = {title: self.value_of(title) for title in baseline.pixels}
            session.masks.load(layer, frame, compose(baseline.pixels, values, layer.data.shape[-2:]))
        if baselines:
            self.loaded.emit()

    def value_of(self, title: str) -> int:
        """Mask value of a class title; an unknown one gets the next free value."""
        classes = self._session.classes
        for value, known in classes.items():
            if known == title:
                return value
        value = max(classes, default=0) + 1
        self._session.name_class(value, title)
        return value

    # -- after saving -------------------------------------------------------------------------------------

    def wrote_masks(self, study: Study, revisions: list[Revision], pixels: list[NDArray[np.bool_]]) -> None:
        """Masks were saved: they are the new baseline of their frames, and their drafts are done with."""
        if study is not self._session.study:
            return
        for revision, mask in zip(revisions, pixels, strict=True):
            view, frame = revision.view_index or 0, revision.frame or 0
            baseline = self.baselines.setdefault((view, frame), Baseline())
            baseline.revisions[revision.name], baseline.pixels[revision.name] = revision, mask
            self._dirty[view] = self._session.labels_layer(view).data
        self._dirty_study = study
        self.journal()
        self.refresh()

    # -- going back, settling -----------------------------------------------------------------------------

    def restore(self, revision: Revision) -> None:
        """Make an earlier revision hold again, and show it."""
        self._change(lambda store, author: store.restore(revision, author), "Restore a revision")

    def settle(self, conflict: Conflict, keep: Revision) -> None:
        """Say which of two versions holds."""
        self._change(lambda store, author: store.settle(conflict, keep, author), "Settle the conflict")

    def undo_saved(self, view_index: int) -> None:
        """Nothing drawn here is left to undo: take the newest saved mask of the shown frame back."""
        baseline = self.baselines.get((view_index, self._session.frame_of(view_index)))
        if baseline and baseline.revisions:
            newest = max(baseline.revisions.values(), key=lambda revision: revision.id)
            self._change(lambda store, author: store.undo(newest, author), "Undo a saved mask")

    def _change(self, act: Callable[[Store, str], Revision], title: str) -> None:
        session, study, author = self._session, self._session.study, self._session.settings.author

        def done(revision: Revision) -> None:
            session.message.emit(f"{title}: recorded as revision {revision.id}.")
            if study is session.study:
                self._reload(revision)

        session.jobs.start(
            lambda progress: act(session.store(), author),
            title=title,
            on_done=done,
            on_error=self.failed.emit,
        )

    def _reload(self, revision: Revision) -> None:
        """Show a mask as the store has it now, then read the state."""
        session = self._session
        if revision.view_index is None or revision.frame is None or revision.kind != "mask":
            self.refresh()
            return
        place, title = (revision.view_index, revision.frame), revision.name

        def read(progress: Progress) -> tuple[Revision | None, NDArray[np.bool_] | None]:
            store = session.store()
            held = [r for r in store.current_masks(revision.case_id) if r.slot == revision.slot]
            return (held[0], store.read_mask(held[0])) if held else (None, None)

        def show(answer: tuple[Revision | None, NDArray[np.bool_] | None]) -> None:
            held, pixels = answer
            baseline = self.baselines.setdefault(place, Baseline())
            baseline.revisions.pop(title, None)
            baseline.pixels.pop(title, None)
            if held is not None and pixels is not None:
                baseline.revisions[title], baseline.pixels[title] = held, pixels
            value, layer = self.value_of(title), session.labels_layer(place[0])
            labels = np.array(layer.data[place[1]])
            labels[labels == value] = 0
            if pixels is not None:
                labels[pixels] = value
            session.masks.load(layer, place[1], labels)
            self.loaded.emit()
            self.refresh()

        session.jobs.start(read, title="Show the mask", on_done=show, on_error=self.failed.emit)

    # -- the journal --------------------------------------------------------------------------------------

    @property
    def drafts(self) -> Drafts:
        """The journal for the workspace in use."""
        from napari_clipmed.models.registry import user_folder
        from napari_clipmed.records.drafts import Drafts, drafts_folder

        place = self._session.workspace
        if self._drafts is None or self._drafts_of != place:
            self._drafts, self._drafts_of = Drafts(drafts_folder(user_folder(), place)), place
        return self._drafts

    def _on_mask_changed(self, view_index: int) -> None:
        self._dirty[view_index] = self._session.labels_layer(view_index).data
        self._dirty_study = self._session.study
        if not self._timer.isActive():  # started anew by every stroke, it would wait for a pause
            self._timer.start()

    def flush(self) -> None:
        """Journal now what waits for its half second; the study may be off the canvas already."""
        if self._timer.isActive():
            self._timer.stop()
            self.journal()

    def finish(self) -> None:
        """Journal what waits for its half second, in this thread: the program is about to end."""
        write = self._journal_work() if self._timer.isActive() else None
        self._timer.stop()
        if write is not None:
            with suppress(ClipmedError):  # nobody is left to tell
                write()

    def journal(self) -> None:
        """Keep what is on the canvas and in no revision; forget what has become one."""
        session, study, write = self._session, self._dirty_study, self._journal_work()
        if write is None:
            return

        def kept(keys: set[str]) -> None:
            if study is session.study:
                self._shown_drafts |= keys

        # No key: one that was superseded would leave marks in no journal.
        session.jobs.start(
            lambda progress: write(), title="Keep unsaved marks", on_done=kept, on_error=self.failed.emit
        )

    def _journal_work(self) -> Callable[[], set[str]] | None:
        study, dirty = self._dirty_study, dict(self._dirty)
        if study is None or not dirty:
            return None
        drafts, case = self.drafts, case_key(study)
        baselines = {place: dict(b.pixels) for place, b in self.baselines.items()}
        values = {title: value for value, title in self._session.classes.items()}
        return self._in_turn.ask(case, lambda: journal_frames(drafts, case, dirty, baselines, values))

    def keep_verdict(self, study: Study, said: dict[str, Any]) -> None:
        """Journal a verdict that is about to be saved, in `Store.add_label`'s words. Off the GUI thread."""
        from napari_clipmed.records.drafts import Draft

        with suppress(ClipmedError):  # a full disk here must not keep a server from saving it
            self.drafts.keep(Draft(case_key(study), said=said))

    def verdict_saved(self, study: Study) -> None:
        """Forget the journalled verdict: it is safe. Off the GUI thread."""
        self.drafts.drop(case_key(study), "label", others=False)

    def restore_drafts(self) -> None:
        """Bring back what was never saved: marks to the canvas, a verdict to the store."""
        session, study, drafts = self._session, self._session.study, self.state.drafts
        if study is None:
            return
        author, journal = session.settings.author, self.drafts
        for draft in drafts:
            if draft.labels is not None and session.image_layer(draft.view_index or 0) is not None:
                self._show_draft(draft)

        def save(progress: Progress) -> None:
            for draft in drafts:
                if draft.labels is not None:
                    journal.keep(draft)  # as ours, before the dead program's is dropped
                    journal.drop(draft.case, draft.key, own=False)
                else:
                    store = session.store()
                    store.add_label(store.case_for(study), **{"author": author} | draft.said)
                    journal.drop(draft.case, draft.key)

        self._start_and_refresh(save, "Restore what was not saved")

    def discard_drafts(self) -> None:
        """Forget what was never saved; the person said so."""
        drafts, journal = self.state.drafts, self.drafts

        def drop(progress: Progress) -> None:
            for draft in drafts:
                journal.drop(draft.case, draft.key)

        self._start_and_refresh(drop, "Discard what was not saved")

    def _start_and_refresh(self, work: Callable[[Progress], None], title: str) -> None:
        def done(nothing: None) -> None:
            self.refresh()

        def refused(error: ClipmedError) -> None:
            self.failed.emit(error)
            self.refresh()

        self._session.jobs.start(work, title=title, on_done=done, on_error=refused)

    def _show_draft(self, draft: Draft) -> None:
        view, frame, found = draft.view_index, draft.frame, draft.labels
        if view is None or frame is None or found is None:
            return
        labels = np.zeros_like(found)
        for value, title in draft.said.get("classes", {}).items():
            labels[found == int(value)] = self.value_of(str(title))
        self._session.masks.load(self._session.labels_layer(view), frame, labels)
        self._shown_drafts.add(draft.key)
        self.loaded.emit()
        self._session.mask_changed.emit(view)
