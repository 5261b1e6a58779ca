"""The Diagnosis dock: what the model says about the study, where and when it looks, and the reader's verdict.

Asking another class or another method recomputes the activation maps only; scrubbing recomputes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QSignalBlocker, QTimer
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_clipmed.gui.diagnosis_words import (
    CAM_METHODS,
    agreement,
    attention_curves,
    cautions,
    decisive_frames,
    frame_time,
    name_frame,
    peak_curves,
    remarks,
    times_are_known,
    title_of,
)
from napari_clipmed.gui.job_bar import JobBar
from napari_clipmed.gui.jobs import Job
from napari_clipmed.gui.session import session_for
from napari_clipmed.gui.shortcuts import DockShortcuts, keyed
from napari_clipmed.gui.theme import (
    SPACING,
    banner,
    empty,
    fill_dock,
    hint_label,
    rule,
    say,
    section,
    wrapped_label,
)
from napari_clipmed.gui.verdicts import VerdictKeeper
from napari_clipmed.gui.widgets.class_bars import ClassBars
from napari_clipmed.gui.widgets.failure_note import FailureNote
from napari_clipmed.gui.widgets.model_chooser import ModelChooser
from napari_clipmed.gui.widgets.pages import Pages
from napari_clipmed.gui.widgets.saliency_box import KEY_OVERLAY, SaliencyBox
from napari_clipmed.gui.widgets.verdict_box import KEY_ACCEPT, KEY_CORRECT, VerdictBox
from napari_clipmed.gui.zero_shot_pane import ZeroShotPane
from napari_clipmed.inference.results import Diagnosis, Saliency
from napari_clipmed.progress import Progress
from napari_clipmed.study import Kind, Study

if TYPE_CHECKING:
    import napari

CLASSIFY, EXPLAIN = "classify", "explain"
OUTLINE_VALUE = 1
"""Mask value that an outlined hot region gets."""
KEY_CLASSIFY = "Alt+D"
SETTLED_MS = 1500
"""The model is asked anew this long after the last change of a subtraction."""
EARLIER_PICTURE = "This answer is about the picture before its subtraction was changed. {next}"
ASKING_ANEW, ASK_ANEW = "The model is asked anew.", "Press Classify to ask anew."
NO_STUDY = "Open a study first: drop a folder or a DICOM file on the window, or use the Study dock."
NO_ANSWER = "Press Classify to ask the model about this study."


class DiagnosisDock(QWidget):
    """Bars, curves, overlay and verdict of one study.

    Parameters
    ----------
    viewer : napari.Viewer
        Given by napari; may be its public proxy.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.setObjectName("diagnosis_dock")
        self.session = session_for(viewer)
        self._saliencies: dict[tuple[str, str], Saliency] = {}
        self._build()
        self._connect()
        self._on_study(self.session.study)
        if self.session.diagnosis is not None:
            self._on_diagnosis(self.session.diagnosis)

    # -- parts --------------------------------------------------------------------------------------------

    def _build(self) -> None:
        jobs = self.session.jobs
        self.headline = wrapped_label(name="study_title")
        self.headline.setStyleSheet("QLabel { font-weight: 600; }")
        self.simulated = banner("", "info", "simulated")
        self.models = ModelChooser(self.session, "diagnosis")
        self.classify_button = QPushButton(keyed("Classify", KEY_CLASSIFY))
        self.classify_button.setObjectName("classify")
        self.job_bar = JobBar(jobs, (CLASSIFY, EXPLAIN))
        self.failure = FailureNote()
        self.empty = hint_label(NO_STUDY, "empty_state")
        self.stale = banner("", "info", "stale")
        self.model_headline = wrapped_label(name="model_headline")
        self.model_headline.setStyleSheet("QLabel { font-size: 13pt; font-weight: 600; }")
        self.caution = banner("", "warning", "caution")
        self.notes = hint_label("", "notes")
        self.bars = ClassBars()
        self.agreement = wrapped_label(name="agreement")
        self.decisive = QWidget()
        self._decisive_row = QHBoxLayout(self.decisive)
        self._decisive_row.setContentsMargins(0, 0, 0, 0)
        self.saliency_box = SaliencyBox(CAM_METHODS)
        self.verdict = VerdictBox()
        self.keeper = VerdictKeeper(self.session, self.verdict, self.failure)

        self.answer = QWidget()
        column = QVBoxLayout(self.answer)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACING)
        column.addWidget(self.stale)
        column.addWidget(self.model_headline)
        column.addWidget(self.caution)
        column.addWidget(self.bars)
        column.addWidget(self.agreement)
        column.addWidget(self.notes)
        column.addWidget(section("Your verdict", self.verdict))
        column.addWidget(rule())
        column.addWidget(section("Where and when the model looks", self.decisive, self.saliency_box))

        choice = QWidget()
        row = QHBoxLayout(choice)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.models, 1)
        row.addWidget(self.classify_button)
        trained = section("", choice, self.job_bar, self.failure, self.empty, self.answer)
        self.zero_shot = ZeroShotPane(self.session)
        self.pages = Pages({"Trained model": trained, "By sentences": self.zero_shot}, "diagnosis_tabs")
        fill_dock(self, self.headline, self.simulated, self.pages)

    def _connect(self) -> None:
        session = self.session
        session.study_changed.connect(self._on_study)
        session.diagnosis_changed.connect(self._on_diagnosis)
        session.heat.changed.connect(self._on_saliency)
        session.frame_changed.connect(self._on_frame)
        session.models_changed.connect(self._on_model_chosen)
        session.jobs.job_ended.connect(self._on_job_ended)
        session.subtraction_changed.connect(self._on_subtraction)
        self._settling = QTimer(self)
        self._settling.setSingleShot(True)
        self._settling.setInterval(SETTLED_MS)
        self._settling.timeout.connect(self.classify)
        self.classify_button.clicked.connect(self.classify)
        self.bars.chosen.connect(self._explain)
        self.saliency_box.method_chosen.connect(lambda method: self._explain(self.bars.choice))
        self.saliency_box.overlay_switched.connect(self._switch_overlay)
        self.saliency_box.outline_asked.connect(self._outline)
        self.saliency_box.opacity_changed.connect(self._fade_overlay)
        self.saliency_box.plot.jumped.connect(self._jump)
        self.shortcuts = DockShortcuts(
            self,
            {
                KEY_CLASSIFY: self.classify_button.click,
                KEY_ACCEPT: self.verdict.accept_button.click,
                KEY_CORRECT: self.verdict.open_menu,
                KEY_OVERLAY: self.saliency_box.overlay.click,
            },
        )

    # -- asking -------------------------------------------------------------------------------------------

    def classify(self) -> None:
        """Ask the chosen model about the open study; a newer question replaces an older one."""
        study, session = self.session.study, self.session
        if study is None:
            return
        self.failure.clear()

        def work(progress: Progress) -> Diagnosis:
            progress.step("Loading the model")
            return session.engine().classify(study, progress)

        session.jobs.start(
            work,
            title="Classify",
            on_done=lambda diagnosis: self._answered(study, diagnosis),
            on_error=self.failure.tell,
            key=CLASSIFY,
        )
        self._show_empty_state()

    def _answered(self, study: Study, diagnosis: Diagnosis) -> None:
        if study is self.session.study:
            self.session.diagnosis = diagnosis

    def _on_subtraction(self, index: int) -> None:
        """Say that the answer is about the earlier picture; ask anew when the change has come to rest."""
        asked = self.session.jobs.running(CLASSIFY) is not None or self._settling.isActive()
        if self.session.diagnosis is None and not asked:
            return
        by_itself = self.session.settings.classify_on_open
        say(self.stale, EARLIER_PICTURE.format(next=ASKING_ANEW if by_itself else ASK_ANEW))
        if by_itself:
            self._settling.start()

    def _explain(self, label: str) -> None:
        """Show the maps of a class; those computed before come back at once."""
        diagnosis, session = self.session.diagnosis, self.session
        if diagnosis is None or not label:
            return
        method = self.saliency_box.method
        known = self._saliencies.get((label, method))
        if known is not None:
            session.jobs.cancel(EXPLAIN)
            for _ in self._laying_over(known):  # at once: the layers are there, only their data change
                pass
            return
        progress_title = f"Activation maps of {title_of(diagnosis, label)}"

        def work(progress: Progress) -> Saliency:
            progress.step(progress_title)
            return session.engine().explain(diagnosis, label, method, progress)

        session.jobs.start(
            work,
            title=progress_title,
            on_done=lambda saliency: self._explained(diagnosis, label, method, saliency),
            on_error=self.failure.tell,
            key=EXPLAIN,
        )

    def _explained(self, diagnosis: Diagnosis, label: str, method: str, saliency: Saliency) -> None:
        if diagnosis is not self.session.diagnosis:
            return
        self._saliencies[label, method] = saliency
        if (label, method) == (self.bars.choice, self.saliency_box.method):
            self.session.turns.run(self._laying_over(saliency))

    def _laying_over(self, saliency: Saliency) -> Iterator[None]:
        yield from self.session.heat.show_in_steps(saliency, self.saliency_box.opacity)
        for layer in self.session.heat.layers:
            layer.visible = self.saliency_box.overlay_on
            layer.events.visible.connect(self._on_layer_visible)

    def _outline(self) -> None:
        """Write the hot region of every shown frame into the editable mask of its view."""
        saliency, study, session = self.session.heat.saliency, self.session.study, self.session
        if saliency is None or study is None:
            return
        targets = {
            name: (index, session.frame_of(index), study.views[index].pixels.shape[1:])
            for name in saliency.maps
            if (index := session.view_index(name)) is not None
        }

        def work(progress: Progress) -> list[tuple[int, int, NDArray[np.bool_]]]:
            from napari_clipmed.inference.hot_region import hot_region

            return [
                (index, frame, hot_region(saliency, name, frame, shape))
                for name, (index, frame, shape) in targets.items()
            ]

        def write(outlines: list[tuple[int, int, NDArray[np.bool_]]]) -> None:
            if study is not session.study:
                return
            hot = [outline for outline in outlines if outline[2].any()]
            for index, frame, mask in hot:
                session.write_mask(index, frame, mask, OUTLINE_VALUE)
            if not hot:
                session.message.emit("Nothing is hot in the frames shown; go to the decisive frame first.")

        session.jobs.start(work, title="Outline", on_done=write, on_error=self.failure.tell, key="outline")

    # -- showing ------------------------------------------------------------------------------------------

    def _on_study(self, study: Study | None) -> None:
        self.failure.clear()
        self._settling.stop()
        self.session.jobs.cancel(CLASSIFY)
        self.session.jobs.cancel(EXPLAIN)
        self.headline.setText((study.title or "Untitled study") if study else "No study open")
        say(self.simulated, "SIMULATED study, not a patient." if study and study.synthetic else "")
        self.classify_button.setEnabled(study is not None)
        self.classify_button.setToolTip("Ask the chosen model about this study" if study else NO_STUDY)
        self._on_diagnosis(self.session.diagnosis)
        if self._asks_by_itself(study):
            self.classify()
        self._show_empty_state()

    def _asks_by_itself(self, study: Study | None) -> bool:
        """Whether a study is classified without being asked: an angiogram, where the preference says so."""
        wanted = study is not None and study.kind is Kind.ANGIOGRAM and self.session.diagnosis is None
        return wanted and self.session.settings.classify_on_open

    def _on_diagnosis(self, diagnosis: Diagnosis | None) -> None:
        self._saliencies = {}
        say(self.stale, "")
        self.answer.setVisible(diagnosis is not None)
        self.bars.show_diagnosis(diagnosis)
        self.keeper.show(self.session.study, diagnosis)
        self._show_empty_state()
        study = self.session.study
        if diagnosis is None or study is None:
            return
        self.model_headline.setText(diagnosis.headline)
        say(self.caution, cautions(diagnosis))
        say(self.notes, remarks(diagnosis))
        say(self.agreement, agreement(diagnosis))
        plot = self.saliency_box.plot
        plot.setVisible(any(study.views[i].n_frames > 1 for i in diagnosis.view_index.values()))
        plot.set_time_unit("seconds" if times_are_known(study, diagnosis) else "frame")
        plot.show_attention(attention_curves(study, diagnosis))
        plot.show_peaks([])
        self._show_decisive(diagnosis, None)
        self._on_frame(None)
        self._explain(diagnosis.predicted)

    def _on_saliency(self, saliency: Saliency | None) -> None:
        study, diagnosis = self.session.study, self.session.diagnosis
        box = self.saliency_box
        if study is None or diagnosis is None or saliency is None:
            box.caption.setText("")
            box.plot.show_peaks([])
            return
        self.bars.choose(saliency.label)
        box.caption.setText(f"Shown: {title_of(diagnosis, saliency.label)}")
        box.plot.show_peaks(peak_curves(study, diagnosis, saliency))
        self._show_decisive(diagnosis, saliency)

    def _show_decisive(self, diagnosis: Diagnosis, saliency: Saliency | None) -> None:
        study = self.session.study
        empty(self._decisive_row)
        if study is None:
            return
        self._decisive_row.addWidget(hint_label("Decisive"), 1)
        for name, frame in decisive_frames(diagnosis, saliency).items():
            view = study.views[diagnosis.view_index[name]]
            spoken = name_frame(view, name, frame)
            button = QPushButton(spoken)
            button.setObjectName(f"decisive_{name}")
            button.setToolTip(f"Go to {spoken}")
            button.clicked.connect(lambda checked=False, name=name, frame=frame: self._jump(name, frame))
            self._decisive_row.addWidget(button)
        moving = any(study.views[i].n_frames > 1 for i in diagnosis.view_index.values())
        self.decisive.setVisible(moving)

    def _on_frame(self, frames: object) -> None:
        """Move the line in the curves; nothing is computed."""
        study, diagnosis = self.session.study, self.session.diagnosis
        if study is None or diagnosis is None:
            return
        index = self.session.active_view
        time = frame_time(study.views[index], self.session.frame_of(index), times_are_known(study, diagnosis))
        self.saliency_box.plot.show_now(time)

    def _on_model_chosen(self, task: str) -> None:
        """Ask again when another model was chosen for a study that has been answered already."""
        diagnosis, chosen = self.session.diagnosis, self.session.model_id("diagnosis")
        if task == "diagnosis" and diagnosis is not None and chosen not in ("", diagnosis.model_id):
            self.classify()

    def _switch_overlay(self, on: bool) -> None:
        for layer in self.session.heat.layers:
            layer.visible = on

    def _fade_overlay(self, opacity: float) -> None:
        for layer in self.session.heat.layers:
            layer.opacity = opacity

    def _on_layer_visible(self, event: object = None) -> None:
        """The eye in napari's layer list and the key of the canvas switch the overlay too."""
        shown = any(layer.visible for layer in self.session.heat.layers)
        with QSignalBlocker(self.saliency_box.overlay):
            self.saliency_box.overlay.setChecked(shown)

    def _show_empty_state(self) -> None:
        busy = self.session.jobs.running(CLASSIFY) is not None
        if self.session.diagnosis is not None or busy:
            say(self.empty, "")
        else:
            say(self.empty, NO_ANSWER if self.session.study is not None else NO_STUDY)

    def _on_job_ended(self, job: Job) -> None:
        if job.key == CLASSIFY:
            self._show_empty_state()

    def _jump(self, view: str, frame: int) -> None:
        index = self.session.view_index(view)
        if index is not None:
            self.session.go_to_frame(index, frame)
