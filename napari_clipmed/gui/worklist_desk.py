"""What the Worklist dock does, without widgets: the list, the case that is open, the one that comes next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Qt, Signal

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.background import ANSWER_ALL, WORKLIST, PersonFirst, lower_priority
from napari_clipmed.gui.opening import Opened, as_left
from napari_clipmed.gui.read_ahead import ReadAhead
from napari_clipmed.gui.thumbnail_loader import ThumbnailLoader
from napari_clipmed.gui.worklist_model import WorklistModel
from napari_clipmed.progress import Progress
from napari_clipmed.records import Answer, Listed, Revision
from napari_clipmed.study import Kind, Study
from napari_clipmed.worklist.answering import Gate, answer_all
from napari_clipmed.worklist.lines import Line, Status, model_in_use, read_lines
from napari_clipmed.worklist.orders import ordered, score
from napari_clipmed.worklist.words import Order

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.io.study_reader import Show
    from napari_clipmed.worklist.keeping import Shelves

ADD = "worklist-add"
PAUSED, PERSON = "paused", "person"
LAST, FIRST = "This is the last case of the list.", "This is the first case of the list."
ALL_READ = "All cases of this list have been read."
ALL_ANSWERED = "Every angiogram of this list has an answer already."


class WorklistDesk(QObject):
    """The worklist of a session.

    Attributes
    ----------
    changed : Signal()
        Lines, progress, or which case is open.
    said : Signal(str)
        A sentence to show; empty takes it away.
    failed : Signal(object)
        A `ClipmedError` of something that was asked for here.
    model : WorklistModel
    current : Listed or None
        The entry whose study is open.
    """

    changed = Signal()
    said = Signal(str)
    failed = Signal(object)
    _came = Signal(object)
    _answered = Signal(str, object, object, str)

    def __init__(self, session: ReviewSession) -> None:
        super().__init__(session)
        self.session = session
        self.model = WorklistModel(self)
        self.current: Listed | None = None
        self.order = Order.ADDED
        self.gate = Gate()
        self._opening: Listed | None = None
        self._refused: Listed | None = None
        self._read: tuple[Study, Listed] | None = None
        self._shelves: tuple[Path, Shelves] | None = None
        self._workspace = ""
        self.person = PersonFirst(session.jobs, self)
        self.ahead = ReadAhead(session, self.person)
        self.thumbnails = ThumbnailLoader(session, self.person, self.shelves)
        self._connect()

    @classmethod
    def of(cls, session: ReviewSession) -> WorklistDesk:
        """The worklist of a session, made when first asked for; a dock that is opened anew finds it."""
        found = session.findChild(cls)
        return found if isinstance(found, cls) else cls(session)

    def _connect(self) -> None:
        session, queued = self.session, Qt.ConnectionType.QueuedConnection
        self._answered.connect(self._on_answered, queued)
        self.thumbnails.made.connect(self.model.set_picture, queued)
        self.thumbnails.refused.connect(self._on_refused, queued)
        self.model.pictures_asked.connect(self.thumbnails.ask)
        self.person.busy.connect(lambda: self.gate.hold(PERSON))
        self.person.free.connect(lambda: self.gate.release(PERSON))
        session.study_changed.connect(self._on_study)
        session.open_failed.connect(self._on_open_failed)
        session.records.changed.connect(self._on_records)
        session.records.judged.connect(self._on_judged)
        session.answers.kept.connect(self._on_kept)
        session.models_changed.connect(lambda task: self.refresh())

    # -- the list -----------------------------------------------------------------------------------------

    def shelves(self) -> Shelves | None:
        """Where answers, embeddings and thumbnails lie; None without a workspace. Off the GUI thread only."""
        from napari_clipmed.worklist.keeping import Shelves

        place = self.session.workspace
        if not place.exists():  # looking must not make a workspace
            return None
        if self._shelves is None or self._shelves[0] != place:
            self._shelves = (place, Shelves.of(self.session.store()))
        return replace(self._shelves[1], store=self.session.store())

    def refresh(self) -> None:
        """Read the list anew, in the chosen order."""
        order, model_id = self.order, self.session.model_id("diagnosis")

        def read(progress: Progress) -> tuple[list[Line], Any, Any]:
            shelves = self.shelves()
            self.model.titles = titles_of_labels()
            if shelves is None:
                return [], np.zeros(0, np.int64), np.zeros(0)
            lines = read_lines(shelves.store, model_id, progress)
            progress.step("Ordering the worklist")
            vectors = shelves.embeddings.bank(model_in_use(lines)).best() if order is Order.DIVERSITY else {}
            scores = np.array([score(line, order) for line in lines], dtype=float)
            return lines, ordered(lines, order, vectors), scores

        def show(found: tuple[list[Line], Any, Any]) -> None:
            lines, ranked, scores = found
            self.model.set_lines(lines, order, ranked, scores)
            self._workspace = str(self.session.workspace)
            self.model.mark(self.current.key if self.current else "")
            self.changed.emit()
            self._look_ahead()

        self.session.jobs.start(
            read, title="Read the worklist", on_done=show, on_error=self.failed.emit, key=WORKLIST
        )

    def set_order(self, order: Order) -> None:
        """Order the list anew."""
        self.order = order
        self.ahead.want(None)
        self.refresh()

    def add(self, paths: Sequence[Path]) -> None:
        """Put files and folders on the list; headers are read off the GUI thread."""
        session, author = self.session, self.session.settings.author

        def work(progress: Progress) -> tuple[int, list[Listed]]:
            from napari_clipmed.worklist.adding import entries_in

            entries = entries_in(paths, progress)
            progress.step("Saving the list")
            return session.store().add_to_worklist(entries, author), entries

        def done(found: tuple[int, list[Listed]]) -> None:
            new, entries = found
            bad = sum(bool(entry.problem) for entry in entries)
            known = f", {len(entries) - new} were on the list" if new < len(entries) else ""
            broken = f"; {bad} cannot be read, see their lines" if bad else ""
            self.said.emit(f"{new} new on the list{known}{broken}.")
            self.refresh()

        self.said.emit("")
        session.jobs.start(
            work, title="Add to the worklist", on_done=done, on_error=self.failed.emit, key=ADD
        )

    def remove(self, rows: Sequence[int]) -> None:
        """Take lines off the list; what was said about their cases stays."""
        session, author = self.session, self.session.settings.author
        chosen = [self.model.line_at(row).listed for row in rows]

        def work(progress: Progress) -> None:
            session.store().remove_from_worklist(chosen, author)

        def done(nothing: None) -> None:
            self.said.emit(f"{len(chosen)} taken off the list; their labels and masks stay.")
            self.refresh()

        session.jobs.start(work, title="Take off the list", on_done=done, on_error=self.failed.emit)

    # -- one case after the other -------------------------------------------------------------------------

    def open_row(self, row: int) -> None:
        """Open the case of a row."""
        self.open(self.model.line_at(row).listed)

    def open(self, listed: Listed) -> None:
        """Open an entry; one that was read ahead is there at once."""
        session, memory = self.session, self.session.memory()
        ahead = self.ahead.take(listed.key)
        self._opening = listed

        def read(progress: Progress, show: Show) -> Opened:
            from napari_clipmed.io import open_entry
            from napari_clipmed.worklist.reading import entry_of

            progress.step(f"Reading {listed.title}")
            opened = ahead or as_left(open_entry(entry_of(listed, progress), progress, show), memory)
            self._read = (opened.study, listed)
            return opened

        self.said.emit("")
        session.open_by(read, listed.title)

    def step(self, direction: int) -> None:
        """Open the next (+1) or the previous (-1) case of the list as it is shown."""
        at = self._opening or self._refused or self.current
        row = self.model.row_of(at.key) if at is not None else None
        target = 0 if row is None else row + direction
        if self.model.rowCount() == 0:
            self.said.emit("The list is empty.")
        elif 0 <= target < self.model.rowCount():
            self.open_row(target)
        else:
            self.said.emit(LAST if direction > 0 else FIRST)

    def next_to_read(self) -> Listed | None:
        """The next entry of the list as it is shown that nobody has read, after the open one."""
        shown = self.model.shown
        row = self.model.row_of(self.current.key) if self.current is not None else None
        start = 0 if row is None else row + 1
        turned = [*shown[start:], *shown[: max(start - 1, 0)]]
        return next((line.listed for line in turned if line.status is Status.TO_REVIEW), None)

    def _look_ahead(self) -> None:
        self.ahead.want(self.next_to_read() if self.current is not None else None)

    def _on_study(self, study: Study | None) -> None:
        read, self._opening, self._refused = self._read, None, None
        if study is None:
            self.current = None
        elif read is not None and (study is read[0] or study.image_hash == read[0].image_hash):
            self.current = read[1]  # also when the same runs are concluded about differently
        else:
            self.current = self._by_place(study)
        self.model.mark(self.current.key if self.current else "")
        if self.current is not None and self.current.problem:
            self._learn(self.current, problem="")
        self.changed.emit()
        self._look_ahead()

    def _by_place(self, study: Study) -> Listed | None:
        """The entry of a study that was opened by other ways."""
        sops = {view.source.sop_instance_uid for view in study.views} - {""}
        place = {view.source.path for view in study.views}
        for line in self.model.lines:
            listed = line.listed
            if (sops and sops == set(listed.sops)) or (not sops and place <= set(map(str, listed.files))):
                return listed
        return None

    def _entry_of(self, study: Study) -> Listed | None:
        """The entry of a study that is or was open."""
        return self.current if study is self.session.study else self._by_place(study)

    def _on_open_failed(self, error: ClipmedError) -> None:
        listed, self._opening = self._opening, None
        if listed is not None:
            problem = f"{error.message} {error.hint}".strip()
            self._learn(listed, problem=problem)
            self.said.emit(f"{listed.title}: {problem} The next case can be opened.")
            self._refused = listed  # "next" goes on from here, whatever is still open
            self.changed.emit()

    def _on_refused(self, key: str, problem: str) -> None:
        self.model.change(key, lambda line: line.with_problem(problem))
        self.changed.emit()

    def _learn(self, listed: Listed, case: str | None = None, problem: str = "") -> None:
        """Keep what was learned of an entry, in the list and in the workspace."""
        session = self.session

        def change(line: Line) -> Line:
            learned = replace(line.listed, case_id=case or line.listed.case_id, problem=problem)
            return replace(line, listed=learned, case=case or line.case, problem=problem)

        self.model.change(listed.key, change)
        line = self.model.line(listed.key)
        if line is not None and self.current is not None and self.current.key == listed.key:
            self.current = line.listed

        def write(progress: Progress) -> None:
            session.store().learn_of_listed(listed, case, problem)

        def refused(error: ClipmedError) -> None:
            """A workspace for reading only says so elsewhere; the list on screen is right all the same."""

        session.jobs.start(write, title="Note on the worklist", on_done=lambda _: None, on_error=refused)

    # -- what readers and the model say -------------------------------------------------------------------

    def _on_records(self) -> None:
        state = self.session.records.state
        if state.workspace != self._workspace:
            self.refresh()
            return
        current = self.current
        if current is None or state.case is None or self.model.line(current.key) is None:
            return
        if current.case_id != state.case:
            self._learn(current, case=state.case)
        disputed = bool(state.conflicts)
        self.model.change(
            current.key, lambda line: replace(line, case=state.case, label=state.label, disputed=disputed)
        )
        self.changed.emit()

    def _on_kept(self, study: Study, case: str, answer: Answer) -> None:
        listed = self._entry_of(study)
        if listed is not None:
            if listed.case_id != case:
                self._learn(listed, case=case)
            self.model.change(listed.key, lambda line: replace(line, case=case, answer=answer))
            self.changed.emit()

    def _on_judged(self, study: Study, revision: Revision) -> None:
        """A verdict was saved; an accepted answer opens the next case, where the person wants that."""
        listed = self._entry_of(study)
        if listed is None:
            return
        case = revision.case_id
        if listed.case_id != case:
            self._learn(listed, case=case)
        self.model.change(listed.key, lambda line: replace(line, case=case, label=revision))
        self.changed.emit()
        moves = revision.verdict == "accepted" and study is self.session.study
        if not moves or not self.session.settings.next_after_accept:
            return
        coming = self.next_to_read()
        if coming is not None:
            self.open(coming)
        else:
            self.said.emit(ALL_READ)

    # -- the model about all of them ----------------------------------------------------------------------

    def unanswered(self) -> list[Listed]:
        """Angiograms of the list as it is shown that the model has not answered; it reads nothing else."""
        return [
            line.listed
            for line in self.model.shown
            if line.answer is None and not line.problem and line.listed.kind == Kind.ANGIOGRAM
        ]

    def classify_all(self) -> None:
        """Ask the model about all cases that are shown, in the background."""
        session, entries = self.session, self.unanswered()
        if not entries:
            self.said.emit(ALL_ANSWERED)
            return
        if session.jobs.running(ANSWER_ALL) is not None:
            return

        def work(progress: Progress) -> tuple[int, int]:
            lower_priority()
            progress.step("Loading the model")
            engine, shelves = session.engine(), self.shelves()
            counts = [0, 0]
            if shelves is None:
                return 0, 0
            for outcome in answer_all(entries, engine, shelves, progress, self.gate):
                counts[bool(outcome.problem)] += 1
                case = outcome.listed.case_id
                answer = shelves.store.newest_answer(case) if case else None
                self._answered.emit(outcome.listed.key, outcome.listed, answer, outcome.problem)
            return counts[0], counts[1]

        def done(counts: tuple[int, int]) -> None:
            failed = f"; {counts[1]} cannot be read, see their lines" if counts[1] else ""
            self.said.emit(f"{counts[0]} cases answered{failed}.")
            self.refresh()

        self.resume()
        session.jobs.start(
            work, title="Classify the worklist", on_done=done, on_error=self.failed.emit, key=ANSWER_ALL
        )

    def pause(self) -> None:
        """Let the background wait after its next safe point."""
        self.gate.hold(PAUSED)

    def resume(self) -> None:
        """Let it go on."""
        self.gate.release(PAUSED)

    def _on_answered(self, key: str, listed: Listed, answer: Answer | None, problem: str) -> None:
        self.model.change(
            key,
            lambda line: replace(line, listed=listed, case=listed.case_id, answer=answer, problem=problem),
        )
        self.changed.emit()


def titles_of_labels() -> dict[str, str]:
    """Names of the shipped labels for people, by key."""
    from napari_clipmed.models.labels import LabelSet

    labels = LabelSet.named("dsa")
    return dict(zip(labels.keys, labels.titles, strict=True))
