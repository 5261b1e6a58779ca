"""The part of the Study dock in which a run is subtracted differently: mask, shift, landmarks, undo."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSlider,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui import keys
from napari_clipmed.gui.job_bar import JobBar
from napari_clipmed.gui.session import ReviewSession
from napari_clipmed.gui.shortcuts import DockShortcuts, keyed
from napari_clipmed.gui.subtraction_desk import AUTO_SHIFT, FIRST_MASK, SubtractionDesk
from napari_clipmed.gui.subtraction_words import frame_list, frames_of, mask_line, screen_shift, shift_line
from napari_clipmed.gui.theme import SPACING, hint_label, named, say, view_colour, wrapped_label
from napari_clipmed.gui.widgets.failure_note import FailureNote
from napari_clipmed.io.mask_settings import (
    LARGEST_SHIFT,
    shift_of,
    why_fixed,
    with_landmark,
    with_mask,
    with_operation,
    with_shift,
)
from napari_clipmed.study import MaskOperation, Subtraction, View

OPERATIONS = {
    MaskOperation.AVG_SUB: ("Mask frames", "The mean of the mask frames is subtracted (AVG_SUB)"),
    MaskOperation.TID: ("Earlier frame", "From each frame an earlier one is subtracted (TID)"),
}
STEPS = {"": 0.1, "Shift-": 1.0}
"""Pixels that an arrow key moves the mask, with and without Shift."""

ARROWS = {"Up": (-1.0, 0.0), "Down": (1.0, 0.0), "Left": (0.0, 1.0), "Right": (0.0, -1.0)}
"""Rows down and columns to the LEFT of one step, as DICOM counts them."""

NATIVE = "This run is shown as stored. Subtract it to see vessels alone."
MANY_ITEMS = "The file has {count} masks for different frames; a new mask serves all of them."
NOTHING_TO_UNDO, NOTHING_TO_REDO = "Nothing to take back", "Nothing was taken back"
FIRST = "Subtract this view first"


class SubtractionPane(QWidget):
    """Controls for the active view of a session.

    Parameters
    ----------
    session : ReviewSession
    """

    def __init__(self, session: ReviewSession) -> None:
        super().__init__()
        self.setObjectName("subtraction_pane")
        self.session = session
        self.desk = SubtractionDesk(session)
        self.failure = FailureNote()
        self.name = named(QLabel(), "subtraction_view")
        self.state = wrapped_label(name="subtraction_state")
        self.reason = hint_label("", "subtraction_reason")
        self.begin_button = _button("Subtract this view", "begin_subtraction", self._begin)
        self.controls = QWidget()
        self._build()
        self._connect()
        self.show_view()

    # -- parts --------------------------------------------------------------------------------------------

    def _build(self) -> None:
        head = QHBoxLayout()
        head.addWidget(self.name)
        head.addWidget(self.state, 1)
        grid = QGridLayout(self.controls)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(SPACING // 2)
        grid.setVerticalSpacing(SPACING // 2)
        grid.setColumnStretch(1, 1)
        for row, (label, part) in enumerate(
            (
                ("Subtract", self._operation_row()),
                ("Mask", self._mask_row()),
                ("Shift", self._shift_row()),
                ("", self._auto_row()),
                ("", self._own_row()),
                ("Landmark", self._landmark_row()),
            )
        ):
            grid.addWidget(QLabel(label), row, 0)
            grid.addWidget(part, row, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACING // 2)
        column.addLayout(head)
        for part in (
            self.reason,
            self.begin_button,
            self.controls,
            JobBar(self.session.jobs, (AUTO_SHIFT, FIRST_MASK)),
            self.failure,
            self._undo_row(),
        ):
            column.addWidget(part)

    def _operation_row(self) -> QWidget:
        self.operation = named(QComboBox(), "operation")
        for operation, (word, tip) in OPERATIONS.items():
            self.operation.addItem(word, operation)
            self.operation.setItemData(self.operation.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.operation.activated.connect(self._on_operation)
        self.offset = named(QSpinBox(), "tid_offset")
        self.offset.setRange(1, 99)
        self.offset.setSuffix(" back")
        self.offset.setToolTip("How many frames earlier the mask of each frame was taken")
        self.offset.valueChanged.connect(self._on_operation)
        return _row(self.operation, self.offset)

    def _mask_row(self) -> QWidget:
        self.mask_edit = named(QLineEdit(), "mask_frames")
        self.mask_edit.setPlaceholderText("1, 2")
        self.mask_edit.setToolTip("Frames whose mean is the mask, for example 1, 2 or 1–3")
        self.mask_edit.editingFinished.connect(self._on_mask)
        self.remask = _button(keyed("This frame", keys.spoken(keys.REMASK)), "remask", self._remask)
        self.remask.setToolTip("Make the frame on screen the mask")
        return _row(self.mask_edit, self.remask)

    def _shift_row(self) -> QWidget:
        self.down, self.right = (
            self._shift_box(f"mask_{word}", arrow, f"Pixels that the mask is moved {word}")
            for word, arrow in (("down", "↓ "), ("right", "→ "))
        )
        return _row(self.down, self.right)

    def _shift_box(self, name: str, arrow: str, tip: str) -> QDoubleSpinBox:
        box = named(QDoubleSpinBox(), name)
        box.setRange(-LARGEST_SHIFT, LARGEST_SHIFT)
        box.setDecimals(2)
        box.setSingleStep(0.1)
        box.setPrefix(arrow)
        box.setSuffix(" px")
        box.setKeyboardTracking(False)
        box.setToolTip(f"{tip}. Keys: Alt+arrows move by 0.1 px, with Shift by 1 px")
        box.valueChanged.connect(self._on_shift)
        return box

    def _own_row(self) -> QWidget:
        self.own = named(QCheckBox("shift this frame only"), "this_frame_only")
        self.own.setToolTip("Move the mask for the frame on screen only, where the patient moved meanwhile")
        self.own.toggled.connect(self._on_own)
        return self.own

    def _auto_row(self) -> QWidget:
        self.auto = _button("Automatic", "auto_shift", partial(self._auto, False))
        self.auto.setToolTip("Find the shift that lays the mask over the bones; vessels are left out")
        self.auto_each = _button("Per frame", "auto_shift_each", partial(self._auto, True))
        self.auto_each.setToolTip("Find a shift for every frame, for patients who moved during the run")
        self.no_shift = _button("Reset", "reset_shift", self._reset_shift)
        self.no_shift.setToolTip("Take all shifts back to zero; the mask stays")
        return _row(self.auto, self.auto_each, self.no_shift)

    def _landmark_row(self) -> QWidget:
        self.landmark = named(QSlider(Qt.Orientation.Horizontal), "landmark")
        self.landmark.setRange(0, 100)
        self.landmark.setToolTip("How much of the native anatomy shows behind the vessels")
        self.landmark.valueChanged.connect(self._on_landmark)
        self.landmark_text = QLabel("0 %")
        self.landmark_text.setMinimumWidth(42)
        return _row(self.landmark, self.landmark_text)

    def _undo_row(self) -> QWidget:
        self.undo = _button(
            keyed("Undo", keys.spoken(keys.UNDO_MASK)), "undo_mask", lambda: self.desk.undo(self.index)
        )
        self.redo = _button("Redo", "redo_mask", lambda: self.desk.redo(self.index))
        self.file = _button("As in the file", "mask_as_read", lambda: self.desk.as_read(self.index))
        self.undo_row = _row(self.undo, self.redo, self.file)
        return self.undo_row

    def _connect(self) -> None:
        session, desk = self.session, self.desk
        for signal in (session.active_view_changed, session.frame_changed, session.study_changed):
            signal.connect(self.show_view)
        session.native_changed.connect(self.show_view)
        session.reader.changed.connect(self.show_view)
        desk.changed.connect(self.show_view)
        desk.failed.connect(self.failure.tell)
        actions = {
            f"Alt-{shift}{arrow}": partial(self._nudge, (step * down, step * left))
            for shift, step in STEPS.items()
            for arrow, (down, left) in ARROWS.items()
        } | {
            keys.REMASK: self._remask,
            keys.UNDO_MASK: lambda: desk.undo(self.index),
            keys.REDO_MASK: lambda: desk.redo(self.index),
        }
        side = session.side_keys
        side.shift, side.shifting = lambda way: self._nudge((0.0, -way * STEPS[""])), self.isVisible
        actions |= {keys.PREVIOUS_CASE: side.left, keys.NEXT_CASE: side.right}  # the worklist has them too
        for key, action in actions.items():
            session.bind_key(key, action)
        self.shortcuts = DockShortcuts(self, {keys.spoken(key): action for key, action in actions.items()})

    # -- showing ------------------------------------------------------------------------------------------

    @property
    def index(self) -> int:
        """Index of the view that the controls act on."""
        return self.session.active_view

    @property
    def view(self) -> View | None:
        """The view that the controls act on."""
        return self.desk.view(self.index)

    def show_view(self, _: object = None) -> None:
        """Say how the active view is subtracted, and set every control to it."""
        view = self.view
        self.setVisible(view is not None)
        if view is None:
            return
        name = self.session.view_names[self.index]
        self.name.setText(name)
        self.name.setStyleSheet(f"color: {view_colour(name)}; font-weight: 600;")
        fixed, wanted = why_fixed(view), view.subtraction
        frame = self.session.frame_of(self.index) + 1
        if wanted is not None:
            self.state.setText(f"{mask_line(wanted)}, {shift_line(wanted, frame)}")
        else:
            self.state.setText("")
        say(self.reason, fixed or self._remark(wanted))
        self.begin_button.setVisible(not fixed and wanted is None)
        self.controls.setVisible(not fixed and wanted is not None)
        self.undo_row.setVisible(not fixed)
        self._set_controls(wanted or Subtraction(()), frame)
        self._dress_undo(view)

    def _remark(self, wanted: Subtraction | None) -> str:
        if wanted is None:
            return NATIVE
        return MANY_ITEMS.format(count=len(wanted.items)) if len(wanted.items) > 1 else ""

    def _set_controls(self, wanted: Subtraction, frame: int) -> None:
        item = next(iter(wanted.items), None)
        difference = item is not None and item.operation is MaskOperation.TID
        boxes = (self.operation, self.offset, self.down, self.right, self.landmark, self.own)
        blockers = [QSignalBlocker(box) for box in boxes]
        self.operation.setCurrentIndex(self.operation.findData(MaskOperation.TID) if difference else 0)
        self.offset.setValue(item.tid_offset if item is not None else 1)
        self.offset.setVisible(difference)
        if not self.mask_edit.hasFocus() or not self.mask_edit.isModified():
            masks = item.mask_frames if item is not None and not difference else ()
            self.mask_edit.setText(frame_list(masks))
            self.mask_edit.setModified(False)
        self.mask_edit.setEnabled(not difference)
        down, right = screen_shift(shift_of(wanted, frame))
        self.down.setValue(down)
        self.right.setValue(right)
        self.own.setChecked(self.desk.this_frame_only)
        self.landmark.setValue(round(100 * wanted.landmark))
        self.landmark_text.setText(f"{round(100 * wanted.landmark)} %")
        del blockers

    def _dress_undo(self, view: View) -> None:
        history = self.desk.history(self.index)
        self.undo.setEnabled(history.can_undo)
        self.undo.setToolTip(
            "Take the last change of this subtraction back" if history.can_undo else NOTHING_TO_UNDO
        )
        self.redo.setEnabled(history.can_redo)
        self.redo.setToolTip(keys.spoken(keys.REDO_MASK) if history.can_redo else NOTHING_TO_REDO)
        changed = self.desk.differs_from_file(self.index)
        self.file.setEnabled(changed)
        self.file.setToolTip(
            "Back to what the file asks for" if changed else "It is subtracted as the file asks for"
        )

    # -- doing --------------------------------------------------------------------------------------------

    def _change(self, wanted: Callable[[Subtraction], Subtraction], control: str = "") -> None:
        """Change the subtraction in force, if there is one, and make sure that it is seen."""
        view = self.view
        if view is None or view.subtraction is None:
            return
        self.failure.clear()
        try:
            new = wanted(view.subtraction)
        except ClipmedError as error:
            self.failure.tell(error)
            return
        self._see_subtracted()
        self.desk.set(self.index, new, control)

    def _see_subtracted(self) -> None:
        if self.session.showing_native:
            self.session.show_native(False)

    def _begin(self) -> None:
        self.failure.clear()
        self._see_subtracted()
        self.desk.begin(self.index)

    def _remask(self) -> None:
        self.failure.clear()
        self._see_subtracted()
        self.desk.remask(self.index)

    def _nudge(self, by: tuple[float, float]) -> None:
        self._see_subtracted()
        self.desk.nudge(by)

    def _auto(self, per_frame: bool) -> None:
        self.failure.clear()
        self._see_subtracted()
        self.desk.auto_shift(self.index, per_frame)

    def _reset_shift(self) -> None:
        self._change(lambda wanted: with_shift(wanted, (0.0, 0.0)))

    def _on_operation(self, _: object = None) -> None:
        operation = MaskOperation(self.operation.currentData())
        self._change(lambda wanted: with_operation(wanted, operation, self.offset.value()), "offset")

    def _on_mask(self) -> None:
        view = self.view
        if view is None or not self.mask_edit.isModified():
            return
        self.mask_edit.setModified(False)
        text = self.mask_edit.text()
        self._change(lambda wanted: with_mask(wanted, frames_of(text, view.n_frames)))

    def _on_shift(self, _: object = None) -> None:
        shift = screen_shift((self.down.value(), self.right.value()))
        frame = self.session.frame_of(self.index) + 1 if self.desk.this_frame_only else None
        self._change(lambda wanted: with_shift(wanted, shift, frame), "shift")

    def _on_own(self, on: bool) -> None:
        self.desk.this_frame_only = on

    def _on_landmark(self, percent: int) -> None:
        self._change(lambda wanted: with_landmark(wanted, percent / 100), "landmark")


def _button(text: str, name: str, action: Callable[[], object]) -> QPushButton:
    button = named(QPushButton(text), name)
    button.clicked.connect(lambda: action())
    return button


def _row(*parts: QWidget) -> QWidget:
    box = QWidget()
    row = QHBoxLayout(box)
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(SPACING // 2)
    for part in parts:
        if not isinstance(part, QPushButton):  # a button is never narrower than its words
            part.setMinimumWidth(44)
        row.addWidget(part, 0 if isinstance(part, QLabel) else 1)
    return box
