"""Asking a CLIP from elsewhere by sentences: a page of the Diagnosis dock.

Everything that reads pictures or sentences is a job; the answer is about one study and goes with it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.backbone_chooser import BACKBONE, BackboneChooser
from napari_clipmed.gui.job_bar import JobBar
from napari_clipmed.gui.theme import SPACING, banner, hint_label, named, say, section
from napari_clipmed.gui.widgets.class_bars import ClassBars
from napari_clipmed.gui.widgets.failure_note import FailureNote
from napari_clipmed.gui.widgets.likeness_table import LikenessTable
from napari_clipmed.gui.zero_shot_editor import ZeroShotEditor
from napari_clipmed.gui.zero_shot_words import (
    CONFLICT,
    MEANING,
    SEEN,
    WAYS,
    descriptor_rows,
    finding_rows,
)
from napari_clipmed.inference.results import Saliency
from napari_clipmed.inference.zero_shot import PATCH_TEXT, UNCALIBRATED, ZeroShotAnswer
from napari_clipmed.models.zero_shot_sets import ZeroShotSet, is_changed, read_set, set_names
from napari_clipmed.progress import Progress
from napari_clipmed.study import Study

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession

ZERO_SHOT, HEAT, SETS = "zero-shot", "zero-shot heat", "zero-shot sets"
NO_STUDY = "Open a study first: drop a folder or a DICOM file on the window, or use the Study dock."
NO_BACKBONE = (
    "Choose a backbone first: a CLIP whose text tower reads your sentences. Nothing is trained here; "
    "the model page of the documentation says which there are."
)
PRESS_ASK = "Press Ask: the sentences of the set are compared with this study."
HEAT_NOTE = "The hottest place is always red, whether or not it is there."
HEAT_OPACITY = 0.7


class ZeroShotPane(QWidget):
    """Backbone, set of questions, ranked findings, their descriptors, heat map, likeness of the sentences.

    Parameters
    ----------
    session : ReviewSession
    """

    def __init__(self, session: ReviewSession) -> None:
        super().__init__()
        self.setObjectName("zero_shot_pane")
        self._session = session
        self.answer: ZeroShotAnswer | None = None
        self._kinds: dict[str, str] = {}
        self._build()
        self._connect()
        self._read_sets()
        self._on_study(session.study)

    # -- parts --------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.backbone = BackboneChooser(self._session)
        self.sets = _list("zero_shot_set", "Set of questions")
        self.edit = named(QPushButton("Edit …"), "zero_shot_edit")
        self.edit.setToolTip("Change findings, sentences and descriptors, in a copy of your own")
        self.ask_button = named(QPushButton("Ask"), "zero_shot_ask")
        self.failure = FailureNote()
        self.empty = hint_label("", "zero_shot_empty")
        self.uncalibrated = banner(UNCALIBRATED, "warning", "zero_shot_uncalibrated")
        self.notes = hint_label("", "zero_shot_notes")
        self.way = _list("zero_shot_way", "How the findings are asked for")
        for key, title in WAYS.items():
            self.way.addItem(title, key)
        self.meaning = hint_label("", "zero_shot_meaning")
        self.findings = named(ClassBars(), "zero_shot_findings")
        self.descriptors = named(ClassBars(), "zero_shot_descriptors")
        self.seen_note = hint_label("", "zero_shot_seen")
        self.seen = section("What can be seen", self.seen_note, self.descriptors)
        self.sentence = named(QLineEdit(), "zero_shot_sentence")
        self.sentence.setPlaceholderText("Any sentence …")
        self.sentence.setAccessibleName("Sentence to look for in the picture")
        self.sentence.setMaxLength(400)
        self.look = named(QPushButton("Show where"), "zero_shot_look")
        self.overlay = named(QCheckBox("Overlay"), "zero_shot_overlay")
        self.overlay.setChecked(True)
        self.shown = hint_label("", "zero_shot_shown")
        self.likeness = LikenessTable()
        self.warning = banner("", "warning", "zero_shot_alike")
        self.result = QWidget()
        column = QVBoxLayout(self.result)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACING)
        for part in (
            self.uncalibrated,
            self.warning,
            self.notes,
            self.way,
            self.meaning,
            self.findings,
            self.seen,
        ):
            column.addWidget(part)
        self.likeness_section = section("How alike the sentences are", self.likeness)
        self.heat_section = section("Where is it?", _row(self.sentence, self.look), self.overlay, self.shown)
        whole = QVBoxLayout(self)
        whole.setContentsMargins(0, 0, 0, 0)
        whole.setSpacing(SPACING)
        whole.addWidget(self.backbone)
        whole.addWidget(_row(self.sets, self.edit, self.ask_button))
        for part in (
            JobBar(self._session.jobs, (ZERO_SHOT, HEAT, BACKBONE)),
            self.failure,
            self.empty,
            self.result,
            self.heat_section,
            self.likeness_section,
        ):
            whole.addWidget(part)

    def _connect(self) -> None:
        session = self._session
        session.study_changed.connect(self._on_study)
        session.subtraction_changed.connect(lambda index: self._on_study(session.study))
        session.heat.changed.connect(self._on_saliency)
        self.backbone.chosen.connect(lambda spec: self._on_study(session.study))
        self.backbone.failed.connect(self.failure.tell)
        self.sets.activated.connect(lambda index: self._forget())
        self.ask_button.clicked.connect(self.ask)
        self.edit.clicked.connect(self._edit)
        self.way.activated.connect(lambda index: self._show_findings())
        self.findings.chosen.connect(self._choose_finding)
        self.descriptors.chosen.connect(self.show_where)
        self.look.clicked.connect(lambda: self.show_where(self.sentence.text()))
        self.sentence.returnPressed.connect(self.look.click)
        self.overlay.toggled.connect(self._switch_overlay)

    # -- sets of questions --------------------------------------------------------------------------------

    @property
    def set_name(self) -> str:
        """Name of the chosen set."""
        return str(self.sets.currentData() or "")

    def _read_sets(self, wanted: str = "") -> None:
        """List the sets anew; the wanted one, or the one that suits the study, is chosen."""
        wanted = wanted or self.set_name

        def read(progress: Progress) -> list[tuple[str, str, str]]:
            rows = []
            for name in set_names():
                try:
                    questions = read_set(name)
                except ClipmedError as error:
                    rows.append((name, f"{name} cannot be read: {error.message}", ""))
                else:
                    mine = " (changed by you)" if is_changed(name) else ""
                    rows.append((name, questions.title + mine, questions.kind))
            return rows

        def listed(rows: list[tuple[str, str, str]]) -> None:
            self._kinds = {name: kind for name, _, kind in rows}
            self.sets.clear()
            for name, title, _ in rows:
                self.sets.addItem(title, name)
            self.sets.setCurrentIndex(max(0, self.sets.findData(wanted)))
            self._suit_study()

        self._start(read, listed, "Read the sets of questions", SETS)

    def _suit_study(self) -> None:
        """Another kind of study asks for another set; a set of the right kind stays."""
        study = self._session.study
        if study is not None and self._kinds.get(self.set_name) != study.kind:
            fitting = next((name for name, kind in self._kinds.items() if kind == study.kind), self.set_name)
            self.sets.setCurrentIndex(max(0, self.sets.findData(fitting)))

    def _edit(self) -> None:
        """Open a copy of the chosen set in a dialog."""
        name = self.set_name

        def opened(questions: ZeroShotSet) -> None:
            editor = ZeroShotEditor(self._session, questions, self)
            editor.kept.connect(self._kept)
            editor.open()

        self._start(lambda progress: read_set(name), opened, "Read the set", SETS)

    def _kept(self, name: str) -> None:
        self._forget()
        self._read_sets(name)

    # -- asking -------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """Ask the backbone the chosen set about the open study; a newer question replaces an older one."""
        session, study, spec, name = self._session, self._session.study, self.backbone.spec, self.set_name
        if study is None or not spec or not name:
            return
        self.failure.clear()

        def work(progress: Progress) -> ZeroShotAnswer:
            progress.step("Loading the backbone")
            return session.towers(spec, progress).ask(study, read_set(name), progress)

        def done(answer: ZeroShotAnswer) -> None:
            if study is session.study and spec == self.backbone.spec:
                self._show(answer)

        self._start(work, done, "Ask by sentences", ZERO_SHOT)

    def show_where(self, sentence: str) -> None:
        """Lay the heat map of a sentence over the frames."""
        session, study, spec, name = self._session, self._session.study, self.backbone.spec, self.set_name
        sentence = sentence.strip()
        if study is None or not spec or not sentence:
            return
        self.failure.clear()
        self.sentence.setText(sentence)

        def work(progress: Progress) -> Saliency:
            progress.step("Loading the backbone")
            return session.towers(spec, progress).heat(study, sentence, read_set(name).neutral, progress)

        def done(heat: Saliency) -> None:
            if study is session.study:
                session.turns.run(self._laying_over(heat))

        self._start(work, done, "Look for the sentence", HEAT)

    def _laying_over(self, heat: Saliency) -> Iterator[None]:
        """Lay a heat map over the views in turns of the event loop."""
        yield from self._session.heat.show_in_steps(heat, HEAT_OPACITY)
        self._switch_overlay(self.overlay.isChecked())

    def _start(self, work: object, done: object, title: str, key: str) -> None:
        self._session.jobs.start(work, title=title, on_done=done, on_error=self.failure.tell, key=key)  # type: ignore[arg-type]

    # -- showing ------------------------------------------------------------------------------------------

    def _on_study(self, study: Study | None) -> None:
        """What was said is about another picture; what is missing is said instead."""
        for key in (ZERO_SHOT, HEAT):
            self._session.jobs.cancel(key)
        self.failure.clear()
        self._forget()
        ready = study is not None and bool(self.backbone.spec)
        for part in (self.ask_button, self.look, self.sentence):
            part.setEnabled(ready)
            part.setToolTip("" if ready else NO_STUDY if study is None else NO_BACKBONE)
        self.heat_section.setVisible(ready)
        self._suit_study()

    def _forget(self) -> None:
        self.answer = None
        self.result.setVisible(False)
        self.likeness_section.setVisible(False)
        missing = NO_STUDY if self._session.study is None else "" if self.backbone.spec else NO_BACKBONE
        say(self.empty, missing or PRESS_ASK)

    def _show(self, answer: ZeroShotAnswer) -> None:
        self.answer = answer
        say(self.empty, "")
        alike = [note for note in answer.notes if "nearly the same" in note]
        others = [note for note in answer.notes if note not in (UNCALIBRATED, "Simulated study.", *alike)]
        say(self.warning, "\n".join(alike))
        say(self.notes, "\n".join([f"Answered by {answer.backbone}.", *others]))
        titles = [finding.title for finding in answer.questions.findings]
        self.likeness.show_matrix(answer.similarity, answer.questions.keys, titles)
        self.result.setVisible(True)
        self.likeness_section.setVisible(True)
        self._show_findings()

    def _show_findings(self) -> None:
        if self.answer is None:
            return
        way = str(self.way.currentData())
        rows = finding_rows(self.answer, way)
        say(self.meaning, MEANING[way])
        self.findings.show_rows(rows)
        first = next((row.label for row in rows), "")
        self.findings.choose(first)
        self._show_descriptors(first)

    def _show_descriptors(self, key: str) -> None:
        finding = next((one for one in self.answer.findings if one.key == key), None) if self.answer else None
        rows = descriptor_rows(finding) if finding is not None else []
        self.descriptors.show_rows(rows)
        self.seen.setVisible(bool(rows))
        self.seen_note.setText(CONFLICT if finding is not None and finding.conflicting() else SEEN)

    def _choose_finding(self, key: str) -> None:
        """Show what belongs to a finding, and where its first sentence is nearest."""
        self._show_descriptors(key)
        if self.answer is not None:
            self.show_where(
                next(one.sentences[0] for one in self.answer.questions.findings if one.key == key)
            )

    def _on_saliency(self, saliency: Saliency | None) -> None:
        """Say what the canvas shows; another dock may have laid its own maps over it."""
        ours = saliency is not None and saliency.method == PATCH_TEXT
        say(self.shown, f"Shown: “{saliency.label}”. {HEAT_NOTE}" if ours and saliency is not None else "")

    def _switch_overlay(self, on: bool) -> None:
        for layer in self._session.heat.layers:
            layer.visible = on


def _list(name: str, purpose: str) -> QComboBox:
    box = named(QComboBox(), name)
    box.setAccessibleName(purpose)
    box.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.setMinimumContentsLength(8)
    box.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return box


def _row(first: QWidget, *others: QWidget) -> QWidget:
    """Widgets side by side, the first as wide as there is room."""
    box = QWidget()
    row = QHBoxLayout(box)
    row.setContentsMargins(0, 0, 0, 0)
    row.addWidget(first, 1)
    for other in others:
        row.addWidget(other)
    return box
