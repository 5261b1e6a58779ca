"""The part of the Study dock that says how the study was read, and lets the person put it right."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui import overruling
from napari_clipmed.gui.session import ReviewSession
from napari_clipmed.gui.study_words import guess_line, reading_line
from napari_clipmed.gui.theme import SPACING, empty, hint_label, named, view_colour
from napari_clipmed.gui.widgets.failure_note import FailureNote
from napari_clipmed.gui.widgets.overrule_row import NumberEditor, OverruleRow
from napari_clipmed.study import Kind, Projection, Study, Topic, View

KINDS = {
    "Angiogram": Kind.ANGIOGRAM.value,
    "Chest film": Kind.CHEST.value,
    "Something else": Kind.OTHER.value,
}
SUBTRACTED = {"Subtracted by the scanner": "subtracted", "Native, not subtracted": "native"}
TIME_UNITS = {"ms a frame": False, "frames/s": True}
ASSUMED_MS = 250.0
"""Offered where no time base is known: four frames a second, usual for cerebral DSA."""

SWAP, APART = "swap", "apart"
OVERRULABLE = (Topic.PROJECTION, Topic.TIME_BASE, Topic.SUBTRACTION, Topic.CALIBRATION)


class OverrulesPane(QWidget):
    """All conclusions about the open study, each with its reason and its control.

    Parameters
    ----------
    session : ReviewSession
    """

    def __init__(self, session: ReviewSession) -> None:
        super().__init__()
        self.setObjectName("overrules_pane")
        self.session = session
        self.failure = FailureNote()
        self.rows: dict[tuple[int, Topic], OverruleRow] = {}
        self._column = QVBoxLayout()
        self._column.setContentsMargins(0, 0, 0, 0)
        self._column.setSpacing(SPACING // 2)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addLayout(self._column)
        outer.addWidget(self.failure)
        session.study_changed.connect(self._on_study)
        session.subtraction_changed.connect(self._on_subtraction)
        session.reader.not_kept.connect(self.failure.tell)
        self._on_study(session.study)

    def text(self) -> str:
        """Everything that is said, a line each."""
        return "\n".join(label.text() for label in self.findChildren(QLabel))

    def _on_study(self, study: Study | None) -> None:
        empty(self._column)
        self.rows = {}
        if study is None:
            self.failure.clear()
        else:
            self.session.turns.run_or_do(self._fill(study))

    def _fill(self, study: Study) -> Iterator[None]:
        """The rows of a study, a few at a time; ends early when it is no longer the open one."""
        rows = self.rows  # others as soon as something else is told of
        for _ in self._parts(study):
            yield
            if self.rows is not rows:
                return

    def _parts(self, study: Study) -> Iterator[None]:
        self._add(0, Topic.KIND, self._kind_row(study))
        if (pair := self._pair_row(study)) is not None:
            self._add(0, Topic.PAIRING, pair)
        for index, (name, view) in enumerate(zip(self.session.view_names, study.views, strict=True)):
            yield
            heading = named(QLabel(name), "reading_of")
            heading.setStyleSheet(f"color: {view_colour(name)}; font-weight: 600; padding-top: 4px;")
            self._column.addWidget(heading)
            yield from self._rows_of(index, view)

    def _on_subtraction(self, index: int) -> None:
        """Say anew how a view is subtracted; everything else stays as it is."""
        study, row = self.session.study, self.rows.get((index, Topic.SUBTRACTION))
        if study is not None and row is not None:
            row.label.setText(_subtraction_text(study.views[index]))

    def _rows_of(self, index: int, view: View) -> Iterator[None]:
        self._add(index, Topic.PROJECTION, self._projection_row(index, view))
        if view.n_frames > 1:
            self._add(index, Topic.TIME_BASE, self._time_row(index, view))
            yield
            self._add(index, Topic.SUBTRACTION, self._subtraction_row(index, view))
        self._add(index, Topic.CALIBRATION, self._size_row(index, view))
        others = [guess_line(guess) for guess in view.guesses if guess.what not in OVERRULABLE]
        if others:
            self._column.addWidget(hint_label("\n".join(others), "other_guesses"))

    def _add(self, index: int, topic: Topic, row: OverruleRow) -> None:
        self.rows[index, topic] = row
        self._column.addWidget(row)

    # -- rows ---------------------------------------------------------------------------------------------

    def _row(self, index: int, topic: Topic, text: str) -> OverruleRow:
        row = OverruleRow(
            text, f"{topic.name.lower()}_{index}", overruling.is_overruled(self.session, index, topic)
        )
        row.chosen.connect(partial(self._overrule, index, topic))
        row.taken_back.connect(lambda: self._try(partial(overruling.go_back, self.session, index, topic)))
        return row

    def _kind_row(self, study: Study) -> OverruleRow:
        row = self._row(0, Topic.KIND, reading_line(study.guesses, Topic.KIND, "Examination", study.kind))
        return row.offer(KINDS, study.kind.value)

    def _projection_row(self, index: int, view: View) -> OverruleRow:
        text = reading_line(view.guesses, Topic.PROJECTION, "Projection", view.projection)
        return self._row(index, Topic.PROJECTION, text).offer(
            {projection.value: projection.value for projection in Projection}, view.projection.value
        )

    def _time_row(self, index: int, view: View) -> OverruleRow:
        timing = view.timing
        words = f"{timing.interval_ms:.4g} ms a frame" if timing.known else "not known"
        text = reading_line(view.guesses, Topic.TIME_BASE, "Times", words, timing.source)
        editor = NumberEditor(timing.interval_ms if timing.known else ASSUMED_MS, TIME_UNITS)
        return self._row(index, Topic.TIME_BASE, text).offer_number(editor)

    def _subtraction_row(self, index: int, view: View) -> OverruleRow:
        row = self._row(index, Topic.SUBTRACTION, _subtraction_text(view))
        present = "subtracted" if view.subtracted and view.native is None else "native"
        return row.offer(SUBTRACTED, present)

    def _size_row(self, index: int, view: View) -> OverruleRow:
        spacing = view.spacing
        words = f"{spacing.column_mm:.3g} mm" if spacing.known else "not known"
        text = reading_line(view.guesses, Topic.CALIBRATION, "Pixel size", words, spacing.calibration)
        editor = NumberEditor(spacing.column_mm if spacing.known else 0.3, {"mm a pixel": False}, decimals=4)
        return self._row(index, Topic.CALIBRATION, text).offer_number(editor)

    def _pair_row(self, study: Study) -> OverruleRow | None:
        session = self.session
        partners = overruling.can_pair_with(session)
        by_hand = overruling.pairing_is_set(session)
        if len(study.views) < 2 and not partners and not by_hand:
            return None
        text = guess_line(study.pairing) if study.pairing else "pairing: a single view"
        row = OverruleRow(text, "pairing_0", by_hand)
        if len(study.views) > 1:
            row.offer({"Swap AP and LA": SWAP, "Take apart: show the active view alone": APART})
        row.offer({f"Pair with {title}": position for position, title in partners.items()})
        row.chosen.connect(self._pair)
        row.taken_back.connect(lambda: self._try(partial(overruling.pair_as_read, session)))
        return row

    # -- doing --------------------------------------------------------------------------------------------

    def _overrule(self, index: int, topic: Topic, value: object) -> None:
        if topic is Topic.CALIBRATION and isinstance(value, float):
            value = (value, value)
        self._try(partial(overruling.overrule, self.session, index, topic, value))

    def _pair(self, choice: object) -> None:
        if choice == SWAP:
            self._try(partial(overruling.swap_projections, self.session))
        elif choice == APART:
            self._try(partial(overruling.take_apart, self.session))
        elif isinstance(choice, int):
            self._try(partial(overruling.pair_with, self.session, choice))

    def _try(self, act: Callable[[], None]) -> None:
        self.failure.clear()
        try:
            act()
        except ClipmedError as error:
            self.failure.tell(error)


def _subtraction_text(view: View) -> str:
    words = "subtracted" if view.subtracted else "native"
    return reading_line(view.guesses, Topic.SUBTRACTION, "Subtraction", words)
