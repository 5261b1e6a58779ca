"""Cases that lie near the open one, or near a sentence, in the model's embedding."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QIcon, QShowEvent
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.job_bar import JobBar
from napari_clipmed.gui.theme import banner, hint_label, named, say
from napari_clipmed.gui.widgets.failure_note import FailureNote
from napari_clipmed.gui.worklist_model import PICTURE_SIDE, SIMULATED
from napari_clipmed.progress import Progress
from napari_clipmed.records import Revision
from napari_clipmed.worklist.embeddings import Bank, Match, caveats

if TYPE_CHECKING:
    from napari_clipmed.gui.worklist_desk import WorklistDesk
    from napari_clipmed.inference.results import Diagnosis
    from napari_clipmed.worklist.lines import Line

SIMILAR = "similar"
MOST = 8
EMPTY = (
    "Nothing to compare yet.\n\n"
    "Classify the open study, or press “Classify all” under Cases; then the cases nearest to it stand here."
)
NOT_LISTED = "This case is not on the worklist, so its files are not known here"
NOT_CALIBRATED = "Similarity is a cosine in the model's embedding: not calibrated, for research only."
NEEDS_ANSWER = "Classify the open study first"
LIKE_THIS = "Like the open case"


@dataclass(frozen=True)
class Found:
    """The answer to a search: what was asked, what is near it, what is to be said about it."""

    asked: str
    matches: tuple[Match, ...]
    labels: dict[str, Revision]
    cautions: tuple[str, ...] = ()


class SimilarPane(QWidget):
    """Search by the open case or by a sentence; a click opens a case of the worklist.

    Parameters
    ----------
    desk : WorklistDesk
    """

    def __init__(self, desk: WorklistDesk) -> None:
        super().__init__()
        self.setObjectName("similar_pane")
        self._desk = desk
        self._found: Found | None = None
        self.like_this = named(QPushButton(LIKE_THIS), "like_this")
        self.sentence = named(QLineEdit(), "similar_sentence")
        self.sentence.setPlaceholderText("Cases like this sentence …")
        self.sentence.setAccessibleName("Sentence to search by")
        self.sentence.setMaxLength(400)
        self.search = named(QPushButton("Search"), "similar_search")
        self.failure = FailureNote()
        self.caution = banner(kind="warning", name="similar_caution")
        self.asked = hint_label("", "similar_asked")
        self.empty = hint_label(EMPTY, "similar_empty")
        self.list = named(QListWidget(), "similar_list")
        self.list.setIconSize(QSize(PICTURE_SIDE, PICTURE_SIDE))
        self.list.setWordWrap(True)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        words = QHBoxLayout()
        words.addWidget(self.sentence, 1)
        words.addWidget(self.search)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(self.like_this)
        column.addLayout(words)
        column.addWidget(JobBar(desk.session.jobs, [SIMILAR]))
        column.addWidget(self.failure)
        column.addWidget(self.caution)
        column.addWidget(self.asked)
        column.addWidget(self.empty, 1, Qt.AlignmentFlag.AlignTop)
        column.addWidget(self.list, 1)
        column.addWidget(hint_label(NOT_CALIBRATED, "similar_note"))
        self._connect()
        self._show(None)
        self._on_diagnosis(desk.session.diagnosis)

    def _connect(self) -> None:
        session = self._desk.session
        self.like_this.clicked.connect(self.find_like_open)
        self.search.clicked.connect(self.find_by_sentence)
        self.sentence.returnPressed.connect(self.find_by_sentence)
        self.list.itemClicked.connect(self._open)
        self.list.itemActivated.connect(self._open)
        self._desk.thumbnails.made.connect(self._picture_made, Qt.ConnectionType.QueuedConnection)
        session.diagnosis_changed.connect(self._on_diagnosis)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Look for cases like the open one as soon as somebody looks here."""
        super().showEvent(event)
        if self._found is None:
            self._on_diagnosis(self._desk.session.diagnosis)

    def _on_diagnosis(self, diagnosis: Diagnosis | None) -> None:
        there = diagnosis is not None and bool(diagnosis.embedding)
        self.like_this.setEnabled(there)
        self.like_this.setToolTip("The cases nearest to the open one" if there else NEEDS_ANSWER)
        if there and self.isVisible():
            self.find_like_open()

    # -- searching ----------------------------------------------------------------------------------------

    def find_like_open(self) -> None:
        """Search by the open study."""
        diagnosis, desk = self._desk.session.diagnosis, self._desk
        study = desk.session.study
        if diagnosis is None or study is None or not diagnosis.embedding:
            return

        def find(progress: Progress) -> Found | None:
            from napari_clipmed.records.identity import case_key

            shelves = desk.shelves()
            if shelves is None:
                return None
            progress.step("Comparing cases")
            bank = shelves.embeddings.bank(diagnosis.model_version)
            near = bank.nearest(diagnosis.embedding, MOST, without=[case_key(study)])
            return Found("Nearest to the open case", tuple(near), shelves.store.current_labels())

        self._start(find)

    def find_by_sentence(self) -> None:
        """Search by what was typed."""
        desk, text = self._desk, self.sentence.text().strip()
        if not text:
            return

        def find(progress: Progress) -> Found | None:
            shelves = desk.shelves()
            if shelves is None:
                return None
            engine = desk.session.engine()
            progress.step("Reading the sentence")
            vector = engine.embed_sentences([text], progress)[0]
            assert engine.diagnosis is not None  # it has just answered
            card = engine.diagnosis.card
            bank: Bank = shelves.embeddings.bank(card.sha256)
            near = bank.nearest_to_sentence(vector, MOST)
            labels = shelves.store.current_labels()
            return Found(f"Nearest to “{text}”", tuple(near), labels, tuple(caveats(card.limits)))

        self._start(find)

    def _start(self, find: object) -> None:
        self.failure.clear()

        def refused(error: ClipmedError) -> None:
            self.failure.tell(error)

        self._desk.session.jobs.start(
            find,  # type: ignore[arg-type]
            title="Find similar cases",
            on_done=self._show,
            on_error=refused,
            key=SIMILAR,
        )

    # -- showing ------------------------------------------------------------------------------------------

    def _show(self, found: Found | None) -> None:
        self._found = found
        self.list.clear()
        matches = found.matches if found is not None else ()
        self.empty.setVisible(not matches)
        self.list.setVisible(bool(matches))
        say(self.caution, "\n".join(found.cautions) if found is not None else "")
        say(self.asked, "" if found is None or not matches else f"{found.asked}: {self._vote(found)}.")
        lines = {line.case: line for line in self._desk.model.lines if line.case}
        for match in matches:
            self.list.addItem(self._item(match, found, lines.get(match.case)))

    def _vote(self, found: Found) -> str:
        """How many of the cases have which label."""
        said = [found.labels.get(match.case) for match in found.matches]
        counts = Counter(self._title(one.label) if one is not None else "not read yet" for one in said)
        return ", ".join(f"{n} × {what}" for what, n in counts.most_common())

    def _title(self, label: str | None) -> str:
        return self._desk.model.titles.get(label or "", label or "no label")

    def _item(self, match: Match, found: Found | None, line: Line | None) -> QListWidgetItem:
        held = found.labels.get(match.case) if found is not None else None
        views = "" if match.by == "both" else f" ({match.by} only)"
        reader = f"Reader: {self._title(held.label)}" if held is not None else "Not read yet"
        certainty = line.certainty() if line is not None else None
        model = f" · model: {certainty.headline(self._desk.model.titles)}" if certainty is not None else ""
        where = line.listed.title if line is not None else f"case {match.case[:8]}"
        where += SIMULATED if line is not None and line.listed.synthetic else ""
        item = QListWidgetItem(f"{match.similarity:.2f}{views}  {reader}{model}\n{where}")
        item.setData(Qt.ItemDataRole.UserRole, match.case)
        if line is None:
            item.setToolTip(NOT_LISTED)
            item.setFlags(item.flags() & ~Qt.ItemFlag.ItemIsEnabled)
        else:
            item.setIcon(QIcon(self._desk.model.picture(line)))
            item.setToolTip(f"Click to open\n{self._desk.model.tip(line)}")
        return item

    def _picture_made(self, name: str, picture: object) -> None:
        for row in range(self.list.count()):
            item = self.list.item(row)
            line = self._line(item)
            if line is not None and line.thumbnail == name:
                item.setIcon(QIcon(self._desk.model.picture(line)))

    def _line(self, item: QListWidgetItem) -> Line | None:
        case = item.data(Qt.ItemDataRole.UserRole)
        return next((line for line in self._desk.model.lines if line.case == case), None)

    def _open(self, item: QListWidgetItem) -> None:
        line = self._line(item)
        if line is not None:
            self._desk.open(line.listed)
