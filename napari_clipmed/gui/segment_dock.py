"""The Segment dock: a sentence becomes an outline, the outline editable labels, the labels a saved mask.

The threshold acts on the probability that the model gave once; moving it runs no network.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QPushButton, QWidget

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.diagnosis_words import name_frame
from napari_clipmed.gui.edit_pane import EditPane
from napari_clipmed.gui.job_bar import JobBar
from napari_clipmed.gui.live_outline import LiveOutline
from napari_clipmed.gui.mask_preview import MaskPreview
from napari_clipmed.gui.mask_records import PromptList, class_title, masks_here, record_prompt, save_masks
from napari_clipmed.gui.piece_picker import PiecePicker
from napari_clipmed.gui.prompt_reading import PromptReading
from napari_clipmed.gui.proposed import Proposed
from napari_clipmed.gui.sentence_check import SentenceCheck
from napari_clipmed.gui.session import session_for
from napari_clipmed.gui.shortcuts import DockShortcuts, bring_to_front, keyed
from napari_clipmed.gui.theme import banner, fill_dock, hint_label, say, section, wrapped_label
from napari_clipmed.gui.widgets.failure_note import FailureNote
from napari_clipmed.gui.widgets.model_chooser import ModelChooser
from napari_clipmed.gui.widgets.prompt_pane import KEY_PROMPT, PromptPane
from napari_clipmed.gui.widgets.proposal_pane import KEY_TAKE, ProposalPane, SentenceList
from napari_clipmed.gui.wording_overlay import WordingOverlay
from napari_clipmed.inference.results import MaskProposal
from napari_clipmed.progress import Progress
from napari_clipmed.study import Kind, Study

if TYPE_CHECKING:
    import napari

    from napari_clipmed.records import Revision

SEGMENT, SAVE = "segment", "save-masks"
KEY_SAVE = "Alt+K"
NO_STUDY = "Open a chest film or an angiogram first, then describe what to outline."
SAVE_TIP = "Save every mask of the shown frame; what is saved is kept for ever and can be learned from"
NO_MASK = "There is no mask yet: find one, or paint in the labels layer"
NOT_A_FILM = "The model was trained on chest X-rays; on a frame of an angiogram it is out of its depth."


class SegmentDock(QWidget):
    """Prompt, proposal, labels and their saving, for the frame that is shown.

    Parameters
    ----------
    viewer : napari.Viewer
        Given by napari; may be its public proxy.
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.setObjectName("segment_dock")
        self.session = session_for(viewer)
        self.preview = MaskPreview(self.session)
        self.prompts = PromptList()
        self._proposed_now: Proposed | None = None
        self._being_taken = False
        self.picker = PiecePicker(self.session)
        self._image_hash = ""
        self._build()
        self._connect()
        self.prompt.set_convention(self.session.settings.side_convention)
        self.prompt.live.setChecked(self.session.settings.live_preview)
        self.reading.load_presets(self.failure.tell)
        self._on_study(self.session.study)

    # -- parts --------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.target = wrapped_label(name="segment_target")
        self.target.setStyleSheet("QLabel { font-weight: 600; }")
        self.empty = hint_label(NO_STUDY, "empty_state")
        self.not_a_film = banner("", "warning", "not_a_film")
        self.models = ModelChooser(self.session, "segmentation")
        self.prompt = PromptPane()
        self.reading = PromptReading(self.session, self.prompt)
        self.job_bar = JobBar(self.session.jobs, (SEGMENT, SAVE))
        self.failure = FailureNote()
        self.proposal = ProposalPane()
        self.proposal_section = section("Proposed mask", self.proposal)
        self.edit = EditPane(self.session, self._value_of, self.picker)
        self.sentences = SentenceList()
        self.sentences_section = section("Labels of this study", self.sentences)
        self.check = SentenceCheck(self.session, self.proposal.contradiction, lambda: self.prompts.asked)
        self.save_button = QPushButton(keyed("Save masks of this frame", KEY_SAVE))
        self.save_button.setObjectName("save_masks")
        self.status = hint_label("", "mask_status")
        self.live = LiveOutline(self.session, self._outline, self._withdraw_outline, self._no_outline)
        self.wording = WordingOverlay(self.session, lambda text: say(self.proposal.wording_note, text))

        fill_dock(
            self,
            self.target,
            self.empty,
            self.not_a_film,
            self.models,
            self.prompt,
            self.job_bar,
            self.failure,
            self.proposal_section,
            self.sentences_section,
            self.check.about_labels,
            section("Edit", self.edit),
            self.save_button,
            self.status,
        )

    def _connect(self) -> None:
        session = self.session
        session.study_changed.connect(self._on_study)
        session.frame_changed.connect(self._on_place)
        session.active_view_changed.connect(self._on_place)
        session.mask_changed.connect(self._on_mask_changed)
        session.records.loaded.connect(self._on_loaded)
        self.prompt.asked.connect(self.segment)
        self.prompt.edited.connect(self.reading.read)
        self.prompt.edited.connect(self.live.consider)
        self.prompt.live_switched.connect(self.live.switch)
        self.proposal.wording_switched.connect(self.wording.switch)
        self.proposal.threshold_changed.connect(self._on_threshold)
        self.proposal.opacity_changed.connect(self.preview.set_opacity)
        self.proposal.taken.connect(self.take)
        self.proposal.discarded.connect(self.discard)
        self.proposal.picking_switched.connect(self._pick_pieces)
        self.edit.heat_proposed.connect(self._on_heat)
        self.edit.heat_failed.connect(self.failure.tell)
        self.edit.edits.failed.connect(self.failure.tell)
        self.edit.edits.classes_changed.connect(self._list_classes)
        self.sentences.picked.connect(self._paint_with)
        self.save_button.clicked.connect(self.save)
        self.shortcuts = DockShortcuts(
            self,
            {
                KEY_PROMPT: self.focus_prompt,
                KEY_TAKE: self.proposal.take_button.click,
                KEY_SAVE: self.save_button.click,
            },
        )

    def focus_prompt(self) -> None:
        """Bring this dock to the front and the cursor into the prompt box."""
        bring_to_front(self)
        self.prompt.box.setFocus()

    # -- asking -------------------------------------------------------------------------------------------

    def segment(self, text: str, convention: str) -> None:
        """Ask for a mask on the frame that is shown; a newer question replaces an older one."""
        session, study = self.session, self.session.study
        if study is None:
            return
        self.failure.clear()
        self.live.stand_back(text, convention)
        index = session.active_view
        frame, view = session.frame_of(index), study.views[index]

        def work(progress: Progress) -> MaskProposal:
            progress.step("Loading the model")
            return session.engine().segment(view, frame, text, convention, progress)

        session.jobs.start(
            work,
            title="Find the mask",
            on_done=lambda proposal: self._proposed(study, index, frame, proposal),
            on_error=self.failure.tell,
            key=SEGMENT,
        )

    def _proposed(self, study: Study, index: int, frame: int, proposal: MaskProposal) -> None:
        # A relabelled study is another object with the same pixels; the proposal still fits it.
        if self.session.study is None or self.session.study.image_hash != study.image_hash:
            return
        self._outline(study, index, frame, proposal)
        if self._proposed_now is not None:
            self._keep_sentence(self._proposed_now, study)

    def _outline(self, study: Study, index: int, frame: int, proposal: MaskProposal, title: str = "") -> None:
        """Show a proposal; the sentence is not kept before the person asks for it or takes the mask."""
        title = title or class_title(proposal.prompt)
        self._proposed_now = Proposed(proposal, index, frame, title)
        self.proposal.propose(proposal.threshold, title, list(self.session.classes.values()))
        marks = self._proposed_now.marks(self.proposal.threshold)
        self.preview.show(index, frame, marks, self.prompts.colour_of(title), self.proposal.opacity)
        self.proposal_section.setVisible(True)
        say(self.proposal.notes, "\n".join(proposal.notes))
        self._describe()
        self.proposal.wording.setVisible(bool(proposal.prompt))
        self.wording.follow((proposal, index, frame) if proposal.prompt else None)

    def _withdraw_outline(self) -> None:
        """The sentence was deleted: an outline that only followed the typing goes with it."""
        now = self._proposed_now
        if now is not None and not (now.kept or now.from_heat):
            self.discard()

    def _no_outline(self, error: ClipmedError) -> None:
        say(self.status, f"No outline while typing: {error.message}")

    def _keep_sentence(self, now: Proposed, study: Study) -> None:
        if now.kept or now.from_heat:
            return
        now.kept = True
        self.prompt.box.remember(now.proposal.prompt)
        session, author = self.session, self.session.settings.author

        def write(progress: Progress) -> Revision:
            return record_prompt(session.store(), study, now.view_index, now.frame, now.proposal, author)

        def refused(error: ClipmedError) -> None:
            say(self.status, f"The sentence was not recorded: {error.message}")

        session.jobs.start(
            write, title="Record the sentence", on_done=lambda revision: None, on_error=refused
        )

    def _on_heat(self, study: Study, index: int, frame: int, proposal: MaskProposal, title: str) -> None:
        """The heat map is a proposal like that of a sentence, except that no sentence was asked."""
        self.failure.clear()
        self.session.jobs.cancel(SEGMENT)
        self.live.forget()
        self._outline(study, index, frame, proposal, title)

    @property
    def proposed(self) -> MaskProposal | None:
        """The mask that waits to be taken or discarded."""
        return self._proposed_now.proposal if self._proposed_now else None

    # -- judging ------------------------------------------------------------------------------------------

    def _on_threshold(self, threshold: float) -> None:
        if self._proposed_now is not None:
            self.preview.update(self._proposed_now.marks(threshold))
            self._describe()

    def _pick_pieces(self, on: bool) -> None:
        if on and self._proposed_now is not None:
            self.edit.piece_button.setChecked(False)
            self.picker.start(self._toggle_piece)
        else:
            self.picker.stop()

    def _toggle_piece(self, view_index: int, row: int, column: int) -> None:
        now, threshold = self._proposed_now, self.proposal.threshold
        here = now is not None and (view_index, self.session.frame_of(view_index)) == (
            now.view_index,
            now.frame,
        )
        if now is not None and here and now.toggle((row, column), threshold):
            self._on_threshold(threshold)

    def _describe(self) -> None:
        now, study = self._proposed_now, self.session.study
        if now is not None and study is not None:
            view, name = study.views[now.view_index], self.session.view_names[now.view_index]
            threshold, where = self.proposal.threshold, name_frame(view, name, now.frame)
            self.proposal.summary.setText(now.summary(threshold, where))
            self.check.proposal(now.proposal, now.mask(threshold))

    def take(self) -> None:
        """Write the proposal into the labels layer, as one step of undo."""
        if self._proposed_now is not None and not self._being_taken:
            self._being_taken = True
            now = self._proposed_now
            self.session.turns.run(
                self._taking(now, self.proposal.title or now.title, self.proposal.threshold)
            )

    def _taking(self, now: Proposed, title: str, threshold: float) -> Iterator[None]:
        """In turns, since napari takes long for a new layer, for a mask and for the controls of a layer."""
        index = now.view_index
        try:
            value = self.edit.edits.class_value(title)
            layer = self.session.labels_layer(index)
            yield
            self.session.write_mask(index, now.frame, now.mask(threshold), value, title)
        except (ClipmedError, LookupError) as error:
            self._being_taken = False
            told = error if isinstance(error, ClipmedError) else None
            self.failure.tell(told or ClipmedError(f"{error}.", "Open the study again."))
            return
        if self._proposed_now is now:  # and not one that came meanwhile
            self.discard()
        yield
        if self.session.study is not None:
            self._keep_sentence(now, self.session.study)
        self.prompts.remember(now.accepted(threshold, value))
        self._list_classes()
        self.sentences.put(value, title, self.prompts.colour_of(title))
        say(self.status, "Editable now: paint, erase, Ctrl+Z. Not saved yet.")
        self._allow_saving()
        self._being_taken = False  # a save would have known neither sentence nor origin before
        yield
        self.session.viewer.layers.selection.active = layer

    def discard(self) -> None:
        """Forget the proposal."""
        self._proposed_now = None
        self.proposal.picking.setChecked(False)
        self.preview.remove()
        self.wording.follow(None)
        self.check.proposal(None)
        self.proposal_section.setVisible(False)

    def _paint_with(self, value: int) -> None:
        layer = self.session.labels_layer(self.session.active_view)
        layer.selected_label = value
        self.session.viewer.layers.selection.active = layer

    # -- saving -------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Save the masks of the shown frame as they are now."""
        if self._being_taken:
            self.session.turns.run(self._saving_then())
            return
        session, study = self.session, self.session.study
        masks = masks_here(session, self.prompts, self.edit.edits.projections.span_of)
        if study is None or not masks:
            return
        author = session.settings.author
        self.failure.clear()
        say(self.status, "Saving …")

        def saved(revisions: list[Revision]) -> None:
            said = ", ".join(f"{r.name} ({r.verdict}, revision {r.id})" for r in revisions)
            if study is session.study:
                say(self.status, f"Saved: {said}.")
            session.records.wrote_masks(study, revisions, [mask.mask for mask in masks])
            session.message.emit(f"Saved {len(revisions)} mask(s).")

        def refused(error: ClipmedError) -> None:
            say(self.status, "Not saved.")
            self.failure.tell(error)

        session.jobs.start(
            lambda progress: save_masks(session.store(), study, masks, author),
            title="Save the masks",
            on_done=saved,
            on_error=refused,
        )

    def _saving_then(self) -> Iterator[None]:
        """Asked while a mask is being taken: it shall be among those that are saved."""
        self.save()
        yield

    # -- following the session ----------------------------------------------------------------------------

    def _on_study(self, study: Study | None) -> None:
        self.session.jobs.cancel(SEGMENT)
        self.live.forget()
        self.discard()
        self._being_taken = False
        self.failure.clear()
        image_hash = study.image_hash if study is not None else ""
        if image_hash != self._image_hash:  # a relabelled study keeps masks and sentences
            self._image_hash = image_hash
            self.prompts = PromptList()
            self.sentences.clear()
            self.sentences_section.setVisible(False)
            say(self.status, "")
        self.empty.setVisible(study is None)
        self.prompt.allow("" if study is not None else NO_STUDY)
        say(self.not_a_film, NOT_A_FILM if study is not None and study.kind is Kind.ANGIOGRAM else "")
        self._on_place()

    def _on_place(self, _: object = None) -> None:
        """Say which frame would be outlined; cheap, since it follows every step of the slider."""
        session, study = self.session, self.session.study
        if study is None:
            self.target.setText("No study open")
        else:
            index = session.active_view
            name = name_frame(study.views[index], session.view_names[index], session.frame_of(index))
            self.target.setText(f"Outline on {name}")
        self._allow_saving()

    def _on_mask_changed(self, view_index: object) -> None:
        say(self.status, "Changed since it was saved.")
        self._allow_saving()

    def _on_loaded(self) -> None:
        """Masks saved earlier are on the canvas: their sentences belong into the list."""
        self._list_classes()
        self._allow_saving()

    def _value_of(self, title: str) -> int:
        """Label value of a class; a new one gets a value that neither sentence nor class has."""
        self.prompts.adopt(self.session.classes)
        return self.prompts.value_of(title)

    def _list_classes(self) -> None:
        self.prompts.adopt(self.session.classes)
        for value, title in sorted(self.session.classes.items()):
            if title in self.prompts.values:
                self.sentences.put(value, title, self.prompts.colour_of(title))
        self.sentences_section.setVisible(self.sentences.count() > 0)

    def _allow_saving(self) -> None:
        session = self.session
        there = session.study is not None and session.has_labels(session.active_view)
        self.save_button.setEnabled(there)
        self.save_button.setToolTip(SAVE_TIP if there else NO_MASK)
