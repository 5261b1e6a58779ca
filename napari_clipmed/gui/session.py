"""What is open in one napari window; the one object that all docks share.

A session is found again with `session_for(viewer)`, from any dock and through napari's proxies. It holds the
viewer weakly and dies with it. All methods belong to the GUI thread except `engine` and `store`, which belong
to jobs.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer, Signal

from napari_clipmed.gui.answer_keeper import AnswerKeeper
from napari_clipmed.gui.arrivals import Arrivals
from napari_clipmed.gui.backend import Backend
from napari_clipmed.gui.canvas import Canvas
from napari_clipmed.gui.case_keeper import CaseKeeper
from napari_clipmed.gui.garbage import LookAgainOnClose, leave_out_libraries
from napari_clipmed.gui.jobs import JobRunner
from napari_clipmed.gui.keys import SideKeys, bind_session_keys
from napari_clipmed.gui.layers import handed_over, make_ready_for_layers, window_is_open
from napari_clipmed.gui.opening import Folder, Memory, Opened, as_left, read_entry, read_paths
from napari_clipmed.gui.overruling import overrule
from napari_clipmed.gui.reader_settings import ReaderSettings
from napari_clipmed.gui.settings import Settings, read_settings
from napari_clipmed.gui.shader_memory import remember_shaders
from napari_clipmed.gui.turns import Turns
from napari_clipmed.io.mask_settings import same_greys
from napari_clipmed.io.subtraction import resubtracted
from napari_clipmed.memory import give_back_freed
from napari_clipmed.progress import Progress
from napari_clipmed.remembered import explained
from napari_clipmed.study import Projection, Study, Subtraction, Topic

if TYPE_CHECKING:
    import napari
    from napari.layers import Image
    from qtpy.QtWidgets import QWidget

    from napari_clipmed.inference.engine import Engine
    from napari_clipmed.inference.results import Diagnosis
    from napari_clipmed.inference.towers import Towers
    from napari_clipmed.io.study_reader import Show
    from napari_clipmed.models.registry import Registry
    from napari_clipmed.records import Store


OPEN_KEY = "open"
"""Key of the job that opens a study; a newer one supersedes it."""


class ReviewSession(Canvas):
    """Study, answers, jobs and layers of one viewer; the signals and layers are those of `Canvas`.

    Attributes
    ----------
    study_changed, diagnosis_changed : Signal(object)
        The new `Study` or `Diagnosis`, or None.
    study_arriving : Signal(object)
        A provisional `Study` hangs while its frames are being read; `study` is None meanwhile.
    subtraction_changed : Signal(int)
        A view was subtracted differently: other pixels of the same run, everything else stays.
    models_changed : Signal(str)
        Another model was chosen for this task ("diagnosis" or "segmentation").
    open_failed : Signal(object)
        The `ClipmedError` that kept a study from opening.
    reader : ReaderSettings
        What the reader set about the open study.
    jobs : JobRunner
        Work off the GUI thread.
    records : CaseKeeper
        Brings back what was saved about the study, and journals what is not saved yet.
    answers : AnswerKeeper
        Keeps every answer of the diagnosis model in the workspace.
    side_keys : SideKeys
        Who gets Alt+← and Alt+→.
    turns : Turns
        Work of the GUI thread itself, in steps.
    strip : QWidget or None
        The time strip of this window.
    """

    study_changed = Signal(object)
    study_arriving = Signal(object)
    diagnosis_changed = Signal(object)
    subtraction_changed = Signal(int)
    models_changed = Signal(str)
    open_failed = Signal(object)

    def __init__(self, viewer: napari.Viewer) -> None:
        super().__init__(viewer)
        self.reader = ReaderSettings(self)
        self.jobs = JobRunner(self)
        self.backend = Backend()
        self.records = CaseKeeper(self)
        self.answers = AnswerKeeper(self)
        self.side_keys = SideKeys()
        self.strip: QWidget | None = None
        self.arrivals = Arrivals(self)
        self.turns = Turns(self, self._has_a_window)
        self._hanging_up = False
        self._opened: Opened | None = None
        self._diagnosis: Diagnosis | None = None
        viewer.layers.events.inserted.connect(self._on_inserted)
        bind_session_keys(self)
        leave_out_libraries()
        remember_shaders()
        window = getattr(viewer, "window", None)
        if window is not None:
            LookAgainOnClose(window._qt_window)
            QTimer.singleShot(0, make_ready_for_layers)
        self._adopt()

    def _has_a_window(self) -> bool:
        viewer = self._viewer()
        return viewer is not None and (not hasattr(viewer, "window") or window_is_open(viewer))

    # -- what is open -------------------------------------------------------------------------------------

    @property
    def study(self) -> Study | None:
        """The open study; None while its frames are still being read, or hung one view after the other."""
        return None if self._hanging_up or self.arrivals.arriving is not None else self._study

    @property
    def busy(self) -> bool:
        """Whether a job is at work, or a study is being hung."""
        return bool(self.jobs.active) or self.turns.busy

    @property
    def diagnosis(self) -> Diagnosis | None:
        """Answer of the diagnosis model about the open study."""
        return self._diagnosis

    @diagnosis.setter
    def diagnosis(self, diagnosis: Diagnosis | None) -> None:
        if diagnosis is not self._diagnosis:
            self._diagnosis = diagnosis
            self.diagnosis_changed.emit(diagnosis)

    @property
    def opened(self) -> Opened | None:
        """The open study with the shelf it was taken from; None where nothing or no shelf is known."""
        return self._opened

    def open_paths(self, paths: Iterable[str | Path]) -> None:
        """Read files or one folder off the GUI thread, then show the study (the first of several)."""
        chosen = [Path(path) for path in paths]
        if chosen:
            self.open_by(
                lambda progress, show: read_paths(chosen, progress, self.memory(), show), chosen[0].name
            )

    def open_entry(self, position: int) -> None:
        """Read another study of the folder that was opened."""
        if self._opened is not None and 0 <= position < len(self._opened.shelf):
            self.open_from(self._opened.folder, position)

    def open_from(self, folder: Folder, position: int) -> None:
        """Read an entry of a folder, perhaps one that was put together anew."""
        self.open_by(
            lambda progress, show: read_entry(folder, position, progress, self.memory(), show),
            folder.entries[position].title,
        )

    def open_by(self, read: Callable[[Progress, Show], Opened], what: str) -> None:
        """Show the study that `read`, off the GUI thread, makes; it may show a picture of it early."""

        def show(opened: Opened) -> None:
            self.turns.run(self._showing_read(opened))

        self.reader.write()
        show_early = self.arrivals.expect()

        def work(progress: Progress) -> Opened:
            try:
                return read(progress, show_early)
            finally:
                give_back_freed()  # compressed frames, and those of the study before

        job = self.jobs.start(
            work,
            title=f"Open {what}",
            on_done=show,
            on_error=self.open_failed.emit,
            key=OPEN_KEY,
        )
        self.arrivals.watch(job)

    def hang_arriving(self, study: Study) -> Iterator[None]:
        """Hang a provisional study in steps; the one shown before is closed. Only the canvas knows of it."""
        yield from self._closing()
        yield from self.hang_in_steps(study)

    def show_study(self, study: Study, images: Sequence[Image] = ()) -> None:
        """Hang a study at once; the one shown before, or about to be shown, is closed.

        Parameters
        ----------
        images : sequence of Image
            Layers of this study that a napari reader has added already.
        """
        self.turns.drop()
        opened = self._opened if self._opened is not None and self._opened.study is study else None
        for _ in self._showing(study, images, opened):
            pass

    def _showing_read(self, opened: Opened) -> Iterator[None]:
        """What was shown before is closed first, so that nobody works on it while the canvas changes."""
        if self.arrivals.arriving is None:
            yield from self._closing()
        yield from self._showing(opened.study, opened=opened)

    def _showing(
        self, study: Study, images: Sequence[Image] = (), opened: Opened | None = None
    ) -> Iterator[None]:
        """Hang a study in steps, and tell of it in the last one."""
        self._opened = opened
        self.diagnosis = None
        if self.arrivals.complete(study):
            self._study = study
        else:
            self._hanging_up = True
            yield from self.hang_in_steps(study, images)
            yield
            self._hanging_up = False
        if opened is None:
            self.reader.begin(study)
            self._recall(study)
        else:
            self.reader.begin(opened.as_read or study, opened.settings)
        self.study_changed.emit(study)
        yield
        if self._study is study:
            self.announce()
        QTimer.singleShot(0, give_back_freed)  # what stood in for it while it was read

    def _recall(self, study: Study) -> None:
        """Look up what was set about a study that came without it, and show it so."""

        def show(found: Opened) -> None:
            if self._study is study and found.study is not study:
                self.reader.begin(study, found.settings)
                self.revise(found.study)

        self.jobs.start(
            lambda progress: as_left(study, self.memory()),
            title="Look up what was set before",
            on_done=show,
            key="recall settings",
        )

    def memory(self) -> Memory:
        """Where a job finds what was set before."""
        settings = self.settings
        store = self.store if settings.workspace_path.exists() else None  # looking must not make a workspace
        return Memory(store, settings.author)

    def close_study(self) -> None:
        """Take the study off the canvas, or what is there of one that comes, and forget its answers."""
        self.turns.drop()
        if self.arrivals.arriving is not None:
            self.arrivals.forget()
            self.jobs.cancel(OPEN_KEY)
        for _ in self._closing():
            pass

    def _closing(self) -> Iterator[None]:
        """Take down what hangs, in steps; in the first one all docks let go of it."""
        if self._study is not None:
            self._opened = self.diagnosis = None
            self._hanging_up = False
            self.reader.begin(None)
            self.forget_study()
            self.study_changed.emit(None)
            yield
        yield from self.clear_in_steps()
        QTimer.singleShot(0, give_back_freed)

    def revise(self, study: Study) -> None:
        """Show the same runs under other conclusions; masks stay, the answers no longer hold."""
        if self._study is None or self.hanging is None:
            return
        self._take_over(study)
        self.heat.hide()
        self.diagnosis = None
        self.rehang(study)
        self.study_changed.emit(study)
        self.announce()

    def relabel_view(self, index: int, projection: Projection) -> None:
        """Overrule the projection of a view."""
        overrule(self, index, Topic.PROJECTION, projection.value)

    def resubtract(self, index: int, wanted: Subtraction | None, reason: str = "") -> None:
        """Subtract a view differently; only the frame on screen is computed.

        Parameters
        ----------
        wanted : Subtraction or None
            None shows the run as stored.
        reason : str
            What the guess about the subtraction then says; empty for what the file says.
        """
        if self._study is None or self.hanging is None:
            return
        old = self._study.views[index]
        view = resubtracted(old, wanted, old.window if same_greys(old.subtraction, wanted) else None)
        view = explained(view, reason) if reason else view
        self._take_over(self._study.with_view(index, view))
        self.repaint(self._study, index)
        self.subtraction_changed.emit(index)

    def _take_over(self, study: Study) -> None:
        self._study = study
        if self._opened is not None:
            self._opened = replace(self._opened, study=study)

    def view_index(self, name: str) -> int | None:
        """Which view a name in a diagnosis or saliency means; None for a name unknown here."""
        if self._diagnosis is not None and name in self._diagnosis.view_index:
            return self._diagnosis.view_index[name]
        return super().view_index(name)

    # -- settings, models, records (jobs only: engine, store) ---------------------------------------------

    @property
    def settings(self) -> Settings:
        """The preferences as they are now."""
        return read_settings()

    @property
    def workspace(self) -> Path:
        """Folder of labels, masks and fine-tuned models."""
        return self.settings.workspace_path

    def registry(self) -> Registry:
        """Models shipped, of the user and of the workspace."""
        return self.backend.registry()

    def model_id(self, task: str) -> str:
        """The chosen model of a task; empty for the default one."""
        return self.backend.model_id(task)

    def choose_model(self, task: str, model_id: str) -> None:
        """Use another model from the next question on."""
        if self.backend.choose_model(task, model_id):
            self.models_changed.emit(task)

    def engine(self) -> Engine:
        """The engine for the chosen models; off the GUI thread only, since this loads networks."""
        return self.backend.engine()

    def towers(self, spec: str, progress: Progress) -> Towers:
        """The backbone that answers zero-shot; off the GUI thread only."""
        return self.backend.towers(spec, progress)

    def store(self) -> Store:
        """The annotation store of the workspace; off the GUI thread only."""
        return self.backend.store()

    # -- inside -------------------------------------------------------------------------------------------

    def _on_inserted(self, event: object = None) -> None:
        if not self._arranging:
            QTimer.singleShot(0, self._adopt)

    def _adopt(self) -> None:
        """Take over a study whose layers a napari reader has put on the canvas."""
        viewer = self._viewer()
        found = handed_over(viewer, self.hanging.images if self.hanging else ()) if viewer else None
        if found is not None:
            self.show_study(*found)


_sessions: weakref.WeakKeyDictionary[Any, ReviewSession] = weakref.WeakKeyDictionary()


def session_for(viewer: napari.Viewer) -> ReviewSession:
    """The session of a viewer, made when first asked for; every dock of a window gets the same one."""
    bare = getattr(viewer, "__wrapped__", viewer)
    session = _sessions.get(bare)
    if session is None:
        session = _sessions[bare] = ReviewSession(bare)
    return session
