"""The "Edit" section of the Segment dock: napari's own tools at hand, and edits of the class in hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QPushButton, QWidget

from napari_clipmed.gui.grey_brush import GreyBrush
from napari_clipmed.gui.history_words import projected_words, title_of_label
from napari_clipmed.gui.mask_edits import MaskEdits
from napari_clipmed.gui.mask_records import TITLE_LENGTH
from napari_clipmed.gui.piece_picker import PiecePicker
from napari_clipmed.gui.shortcuts import keyed
from napari_clipmed.gui.theme import say
from napari_clipmed.gui.widgets.edit_controls import EditControls, quietly
from napari_clipmed.inference.mask_edit import Step
from napari_clipmed.progress import Progress
from napari_clipmed.study import Kind, Study

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.inference.results import MaskProposal, Saliency

NO_STUDY = "Open a study first."
NO_HEAT = "There is no heat map: classify the study in the Diagnosis dock first."
ONE_FRAME = "There is only one frame."
TOOLS = {"brush": "paint", "erase": "erase", "fill": "fill", "look": "pan_zoom"}
"""napari's modes behind the tool buttons."""


class EditPane(EditControls):
    """Corrects the masks of a session.

    Parameters
    ----------
    session : ReviewSession
    value_of : callable
        Label value for a new class title.
    picker : PiecePicker
        Shared with the proposal, so that a click means one thing.

    Attributes
    ----------
    heat_proposed : Signal(object, int, int, object, str)
        The hot region of a frame as a proposal: study, view index, frame, `MaskProposal`, title of the class.
    heat_failed : Signal(object)
        The `ClipmedError` instead.
    edits : MaskEdits
    """

    heat_proposed = Signal(object, int, int, object, str)
    heat_failed = Signal(object)

    def __init__(
        self,
        session: ReviewSession,
        value_of: Callable[[str], int],
        picker: PiecePicker,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.session, self.picker = session, picker
        self.edits = MaskEdits(session, value_of, self)
        self.grey_brush = GreyBrush(session, self)
        self._watched: set[int] = set()
        self._image_hash = ""
        self._name_keys()
        self._connect()
        self._on_study(session.study)

    def _name_keys(self) -> None:
        """Write napari's keys, as the person set them, on the tools."""
        from napari.settings import get_settings

        bindings: Any = get_settings().shortcuts.shortcuts
        for tool, mode in TOOLS.items():
            keys = [str(key) for key in bindings.get(f"napari:activate_labels_{mode}_mode", ())]
            button: QPushButton = getattr(self, f"{tool}_button")
            if keys:
                button.setText(keyed(button.text(), keys[0]))
                self.tips[button] += f"; {' or '.join(keys)} while a mask is the active layer"

    def _connect(self) -> None:
        session, edits = self.session, self.edits
        session.study_changed.connect(self._on_study)
        for signal in (session.frame_changed, session.active_view_changed):
            signal.connect(self.refresh)
        session.heat.changed.connect(self.refresh)
        session.mask_changed.connect(self._on_mask)
        session.records.loaded.connect(self._on_loaded)
        edits.said.connect(self._on_said)
        edits.classes_changed.connect(self.refresh)
        for tool, mode in TOOLS.items():
            button: QPushButton = getattr(self, f"{tool}_button")
            button.clicked.connect(lambda checked=False, mode=mode: self.take_tool(mode))
        self.class_box.activated.connect(self._on_class)
        self.limit.toggled.connect(self._on_limit)
        self.darker.activated.connect(self._on_limit)
        self.level.valueChanged.connect(self._on_limit)
        self.grey_brush.changed.connect(lambda text: say(self.limit_note, text))
        lengths = {"smooth": self.smooth_button, "grow": self.grow_button, "shrink": self.shrink_button}
        for name, button in lengths.items():
            button.clicked.connect(lambda checked=False, name=name: edits.run(self._length(name)))
        self.small_button.clicked.connect(lambda: edits.run(Step("remove-small", self.area.value() + 1)))
        self.holes_button.clicked.connect(lambda: edits.run(Step("fill-holes", self.area.value())))
        self.largest_button.clicked.connect(lambda: edits.run(Step("keep-largest")))
        self.split_button.clicked.connect(edits.split)
        self.move_button.clicked.connect(lambda: edits.move_class(self.target.currentText()))
        self.piece_button.toggled.connect(self._on_pick)
        self.span_box.activated.connect(self._on_span)
        self.copy_button.clicked.connect(lambda: edits.copy(self._span))
        self.heat_button.clicked.connect(self.propose_heat)

    # -- tools --------------------------------------------------------------------------------------------

    def take_tool(self, mode: str) -> None:
        """Make the mask of the active view napari's active layer, with a tool in hand."""
        session = self.session
        if session.study is None:
            return
        self.piece_button.setChecked(False)
        layer = session.labels_layer(session.active_view)
        session.viewer.layers.selection.active = layer
        layer.mode = mode
        self.refresh()

    def _on_class(self, _: object = None) -> None:
        if self.edits.layer is not None:
            self.edits.layer.selected_label = int(self.class_box.currentData())
            self.refresh()

    def _on_limit(self, _: object = None) -> None:
        self.level_text.setText(f"{self.level.value()} %")
        self.grey_brush.set(
            self.limit.isChecked(), bool(self.darker.currentData()), self.level.value() / 100.0
        )

    def _on_pick(self, on: bool) -> None:
        if not on:
            self.picker.stop()
            return
        self.picker.start(self._move_piece)
        say(
            self.note,
            f"Click the piece that belongs to {self.target.currentText().strip() or '(no class yet)'}.",
        )

    def _move_piece(self, view_index: int, row: int, column: int) -> None:
        self.edits.move_piece(view_index, row, column, self.target.currentText())

    # -- amounts ------------------------------------------------------------------------------------------

    def _length(self, name: str) -> Step:
        unit = "mm" if self.edits.size is not None else "px"
        return Step(name, round(self.amount.value(), 1), unit)

    @property
    def _span(self) -> tuple[int, int]:
        return self.first.value() - 1, self.last.value() - 1

    def _on_span(self, _: object = None) -> None:
        if self.span_box.currentData():
            self.edits.project(self._span)
        else:
            self.edits.single()

    def propose_heat(self) -> None:
        """The heat map of the shown class, on the shown frame of the active view, becomes a proposal."""
        session, study, saliency = self.session, self.session.study, self.session.heat.saliency
        name = heat_view(session, saliency) if study is not None and saliency is not None else None
        if study is None or saliency is None or name is None:
            return
        index, diagnosis = session.active_view, session.diagnosis
        frame, (_, height, width) = session.frame_of(index), study.views[index].pixels.shape
        title = title_of_label(saliency.label)
        model = (diagnosis.model_id, diagnosis.model_version) if diagnosis is not None else ("", "")

        def work(progress: Progress) -> MaskProposal:
            from napari_clipmed.inference.hot_region import heat_proposal

            return heat_proposal(saliency, name, frame, (height, width), title, model, study.image_hash)

        def show(proposal: MaskProposal) -> None:
            if study is session.study:
                self.heat_proposed.emit(study, index, frame, proposal, f"{title}, heat map"[:TITLE_LENGTH])

        session.jobs.start(
            work,
            title="Outline the heat map",
            on_done=show,
            on_error=self.heat_failed.emit,
            key="heat-outline",
        )

    # -- following the session ----------------------------------------------------------------------------

    def _on_study(self, study: Study | None) -> None:
        image_hash = study.image_hash if study is not None else ""
        if image_hash != self._image_hash:  # a relabelled study keeps its masks
            self._image_hash = image_hash
            self.edits.forget()
            self.piece_button.setChecked(False)
            say(self.note, "")
            if study is not None:
                self.darker.setCurrentIndex(self.darker.findData(study.kind is Kind.ANGIOGRAM))
                self._on_limit()
                for box in (self.first, self.last):
                    box.setMaximum(max(view.n_frames for view in study.views))
                self.first.setValue(1)
                self.last.setValue(self.last.maximum())
        self.refresh()

    def _on_mask(self, view_index: int) -> None:
        self.edits.projections.show(view_index)
        self.refresh()

    def _on_loaded(self) -> None:
        self.edits.projections.recall()
        self.refresh()

    def _on_said(self, text: str) -> None:
        say(self.note, text)
        self.refresh()

    def refresh(self, _: object = None) -> None:
        """Say what is in hand, and which controls can be used; cheap, since it follows the slider."""
        session, layer = self.session, self.edits.layer
        study = session.study
        name = session.view_names[session.active_view] if study is not None else ""
        no_mask = f"There is no mask on {name} yet: find one with a sentence, or take the brush."
        why_not = NO_STUDY if study is None else no_mask if layer is None else ""
        for part in self.tips:
            self.allow(part, why_not)
        for button in (self.brush_button, self.limit, self.darker, self.level):
            self.allow(button, NO_STUDY if study is None else "")
        self.allow(self.heat_button, "" if self._heat_of(session.heat.saliency) else NO_HEAT)
        moving = study is not None and study.views[session.active_view].n_frames > 1
        self.span_row.setVisible(moving)
        self.amount.setSuffix(" mm" if self.edits.size is not None else " px")
        if layer is not None:
            self._watch(layer)
        self._offer_classes()
        self._say_where(why_not, moving)

    def _heat_of(self, saliency: Saliency | None) -> bool:
        """Whether a heat map lies over the active view."""
        session = self.session
        return session.study is not None and saliency is not None and heat_view(session, saliency) is not None

    def _watch(self, layer: Any) -> None:
        """Follow the class that napari's own controls choose."""
        if id(layer) not in self._watched:
            self._watched.add(id(layer))
            layer.events.selected_label.connect(self._on_selected_label)

    def _on_selected_label(self, event: object = None) -> None:
        self.refresh()

    def _offer_classes(self) -> None:
        classes, typed, value = self.session.classes, self.target.currentText(), self.edits.value
        words = [(f"{v}  {title}", v) for v, title in sorted(classes.items())]
        if value and value not in classes:
            words.append((f"{value}  (no name)", value))

        def fill_classes() -> None:
            self.class_box.clear()
            for text, number in words:
                self.class_box.addItem(text, number)
            self.class_box.setCurrentIndex(self.class_box.findData(value))

        def fill_targets() -> None:
            self.target.clear()
            self.target.addItems([title for _, title in sorted(classes.items())])
            self.target.setEditText(typed)

        if [self.class_box.itemText(i) for i in range(self.class_box.count())] != [text for text, _ in words]:
            quietly(self.class_box, fill_classes)
            quietly(self.target, fill_targets)
        elif self.class_box.currentData() != value:
            quietly(self.class_box, lambda: self.class_box.setCurrentIndex(self.class_box.findData(value)))

    def _say_where(self, why_not: str, moving: bool) -> None:
        """State plainly whether the mask is one of this frame or a projection."""
        if why_not:
            self.where.setText(why_not)
            return
        edits, index = self.edits, self.session.active_view
        span = edits.projections.span_of((index, edits.frame, edits.value))
        quietly(
            self.span_box, lambda: self.span_box.setCurrentIndex(self.span_box.findData(span is not None))
        )
        if not moving:
            self.where.setText(f"In hand: {edits.title}")
            return
        what = projected_words(span) if span else "of this frame only"
        lines = [f"In hand: {edits.title}, {what} (frame {edits.frame + 1})"]
        for (_, kept, value), frames in edits.projections.over(index, edits.frame):
            title = self.session.classes.get(value, value)
            lines.append(f"Outlined: {title}, {projected_words(frames)}, kept on frame {kept + 1}")
        self.where.setText("\n".join(lines))


def heat_view(session: ReviewSession, saliency: Saliency) -> str | None:
    """Name under which a saliency knows the active view; None where it has no map of it."""
    names = (name for name in saliency.maps if session.view_index(name) == session.active_view)
    return next(names, None)
