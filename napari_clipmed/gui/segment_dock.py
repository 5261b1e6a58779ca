"""The Segment dock: a sentence becomes an outline, the outline editable labels, the labels a saved mask.

The threshold acts on the probability that the model gave once; moving it runs no network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from qtpy.QtWidgets import QPushButton, QWidget

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.diagnosis_words import name_frame
from napari_clipmed.gui.job_bar import JobBar
from napari_clipmed.gui.live_outline import LiveOutline
from napari_clipmed.gui.mask_preview import MaskPreview
from napari_clipmed.gui.mask_records import Accepted, MaskToSave, PromptList, save_masks
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

    from napari_clipmed.models.prompts import Prompt
    from napari_clipmed.records import Revision

SEGMENT, SAVE, READ_PROMPT = "segment", "save-masks", "read-prompt"
KEY_SAVE = "Alt+K"
NO_STUDY = "Open a chest film or an angiogram first, then describe what to outline."
NOT_A_FILM = "The model was trained on chest X-rays; on a frame of an angiogram it is out of its depth."
LONG_PROMPT = "This is long; the model reads one sentence, shown below."
LONG_WORDS = 60


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
        self._proposal: tuple[MaskProposal, int, int] | None = None
        self._kept = False
        self._image_hash = ""
        self._build()
        self._connect()
        self.prompt.set_convention(self.session.settings.side_convention)
        self.prompt.live.setChecked(self.session.settings.live_preview)
        self._load_presets()
        self._on_study(self.session.study)

    # -- parts --------------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.target = wrapped_label(name="segment_target")
        self.target.setStyleSheet("QLabel { font-weight: 600; }")
        self.empty = hint_label(NO_STUDY, "empty_state")
        self.not_a_film = banner("", "warning", "not_a_film")
        self.models = ModelChooser(self.session, "segmentation")
        self.prompt = PromptPane()
        self.job_bar = JobBar(self.session.jobs, (SEGMENT, SAVE))
        self.failure = FailureNote()
        self.proposal = ProposalPane()
        self.proposal_section = section("Proposed mask", self.proposal)
        self.sentences = SentenceList()
        self.sentences_section = section("Labels of this study", self.sentences)
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
        self.prompt.edited.connect(self._read_prompt)
        self.prompt.edited.connect(self.live.consider)
        self.prompt.live_switched.connect(self.live.switch)
        self.proposal.wording_switched.connect(self.wording.switch)
        self.proposal.threshold_changed.connect(self._on_threshold)
        self.proposal.opacity_changed.connect(self.preview.set_opacity)
        self.proposal.taken.connect(self.take)
        self.proposal.discarded.connect(self.discard)
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
        self._keep_sentence(study)

    def _outline(self, study: Study, index: int, frame: int, proposal: MaskProposal) -> None:
        """Show a proposal; the sentence is not kept before the person asks for it or takes the mask."""
        self._proposal, self._kept = (proposal, index, frame), False
        self.proposal.propose(proposal.threshold)
        colour = self.prompts.colour_of(proposal.prompt)
        self.preview.show(index, frame, proposal.mask(self.proposal.threshold), colour, self.proposal.opacity)
        self.proposal_section.setVisible(True)
        say(self.proposal.notes, "\n".join(proposal.notes))
        self._describe()
        self.wording.follow(self._proposal)

    def _withdraw_outline(self) -> None:
        """The sentence was deleted: an outline that only followed the typing goes with it."""
        if self._proposal is not None and not self._kept:
            self.discard()

    def _no_outline(self, error: ClipmedError) -> None:
        say(self.status, f"No outline while typing: {error.message}")

    def _keep_sentence(self, study: Study) -> None:
        if self._proposal is None or self._kept:
            return
        proposal, index, frame = self._proposal
        self._kept = True
        self.prompt.box.remember(proposal.prompt)
        self._record_prompt(study, index, frame, proposal)

    def _record_prompt(self, study: Study, index: int, frame: int, proposal: MaskProposal) -> None:
        session, author = self.session, self.session.settings.author

        def write(progress: Progress) -> Revision:
            store = session.store()
            return store.add_prompt(
                store.case_for(study),
                index,
                frame,
                proposal.prompt,
                model_prompt=proposal.normalised_prompt,
                convention=proposal.convention,
                model_id=proposal.model_id,
                author=author,
            )

        def refused(error: ClipmedError) -> None:
            say(self.status, f"The sentence was not recorded: {error.message}")

        session.jobs.start(
            write, title="Record the sentence", on_done=lambda revision: None, on_error=refused
        )

    def _read_prompt(self, text: str, convention: str) -> None:
        """Say what the model will read, while the person still types."""
        if not text:
            say(self.prompt.reading, "")
            return

        def read(progress: Progress) -> Prompt:
            from napari_clipmed.models.prompts import normalise

            return normalise(text, convention)  # type: ignore[arg-type]

        def tell(prompt: Prompt) -> None:
            lines = [LONG_PROMPT] if len(text.split()) > LONG_WORDS else []
            lines += [f"The model reads: {prompt.sentence}", *prompt.notes]
            say(self.prompt.reading, "\n".join(lines))

        self.session.jobs.start(
            read,
            title="Read the sentence",
            on_done=tell,
            on_error=lambda error: say(self.prompt.reading, str(error)),
            key=READ_PROMPT,
        )

    def _load_presets(self) -> None:
        def load(progress: Progress) -> list[tuple[str, str]]:
            from napari_clipmed.models.prompts import presets

            return [(preset.title, preset.text) for preset in presets()]

        self.session.jobs.start(
            load, title="Read the presets", on_done=self.prompt.offer_presets, on_error=self.failure.tell
        )

    @property
    def proposed(self) -> MaskProposal | None:
        """The mask that waits to be taken or discarded."""
        return self._proposal[0] if self._proposal else None

    # -- judging ------------------------------------------------------------------------------------------

    def _on_threshold(self, threshold: float) -> None:
        if self._proposal is not None:
            self.preview.update(self._proposal[0].mask(threshold))
            self._describe()

    def _describe(self) -> None:
        if self._proposal is None or self.session.study is None:
            return
        proposal, index, frame = self._proposal
        inside = proposal.probability[proposal.mask(self.proposal.threshold)]
        share = 100.0 * inside.size / proposal.probability.size
        score = f"mean probability {float(inside.mean()):.2f}" if inside.size else "nothing is marked"
        where = name_frame(self.session.study.views[index], self.session.view_names[index], frame)
        self.proposal.summary.setText(
            f"{where}: {share:.1f} % of the picture, {score}.\nThe model read: {proposal.normalised_prompt}"
        )

    def take(self) -> None:
        """Write the proposal into the labels layer, as one step of undo."""
        if self._proposal is None:
            return
        proposal, index, frame = self._proposal
        value = self.prompts.value_of(proposal.prompt)
        accepted = Accepted(proposal, self.proposal.threshold, index, frame, value)
        try:
            self.session.write_mask(index, frame, accepted.mask, value, proposal.prompt)
        except LookupError as error:
            self.failure.tell(ClipmedError(f"{error}.", "Open the study again."))
            return
        if self.session.study is not None:
            self._keep_sentence(self.session.study)
        self.prompts.remember(accepted)
        self.sentences.put(value, proposal.prompt, self.prompts.colour_of(proposal.prompt))
        self.sentences_section.setVisible(True)
        self.session.viewer.layers.selection.active = self.session.labels_layer(index)
        self.discard()
        say(self.status, "Editable now: paint, erase, Ctrl+Z. Not saved yet.")
        self._allow_saving()

    def discard(self) -> None:
        """Forget the proposal."""
        self._proposal = None
        self.preview.remove()
        self.wording.follow(None)
        self.proposal_section.setVisible(False)

    def _paint_with(self, value: int) -> None:
        layer = self.session.labels_layer(self.session.active_view)
        layer.selected_label = value
        self.session.viewer.layers.selection.active = layer

    # -- saving -------------------------------------------------------------------------------------------

    def _masks_here(self) -> list[MaskToSave]:
        """The masks of the shown frame of the active view, copied."""
        session, index = self.session, self.session.active_view
        if session.study is None or not session.has_labels(index):
            return []
        frame = session.frame_of(index)
        labels = np.array(session.labels_layer(index).data[frame])
        saved = session.records.seen_masks(index, frame)
        return self.prompts.to_save(labels, index, frame, session.classes, saved)

    def save(self) -> None:
        """Save the masks of the shown frame as they are now."""
        session, study, masks = self.session, self.session.study, self._masks_here()
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

    # -- following the session ----------------------------------------------------------------------------

    def _on_study(self, study: Study | None) -> None:
        self.session.jobs.cancel(SEGMENT)
        self.live.forget()
        self.discard()
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
        self.prompts.adopt(self.session.classes)
        for sentence, value in self.prompts.values.items():
            self.sentences.put(value, sentence, self.prompts.colour_of(sentence))
        self.sentences_section.setVisible(self.sentences.count() > 0)
        self._allow_saving()

    def _allow_saving(self) -> None:
        session = self.session
        there = session.study is not None and session.has_labels(session.active_view)
        self.save_button.setEnabled(there)
        self.save_button.setToolTip(
            "Save every mask of the shown frame; what is saved is kept for ever and can be learned from"
            if there
            else "There is no mask yet: find one, or paint in the labels layer"
        )
