"""The Worklist dock: what is to be read, in which order, and cases that resemble the open one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QModelIndex, QSize, Qt
from qtpy.QtGui import QDragEnterEvent, QDropEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QMenu,
    QProgressBar,
    QPushButton,
    QStackedWidget,
    QTabBar,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_clipmed.gui import keys
from napari_clipmed.gui.background import ANSWER_ALL
from napari_clipmed.gui.job_bar import JobBar
from napari_clipmed.gui.jobs import Job
from napari_clipmed.gui.session import session_for
from napari_clipmed.gui.settings import write_setting
from napari_clipmed.gui.shortcuts import DockShortcuts, keyed
from napari_clipmed.gui.similar_pane import SimilarPane
from napari_clipmed.gui.tabs import ReadableTabs
from napari_clipmed.gui.theme import (
    DOCK_WIDTH,
    MARGIN,
    RESEARCH_USE,
    SPACING,
    banner,
    hint_label,
    named,
    say,
    scrollable,
)
from napari_clipmed.gui.widgets.failure_note import FailureNote
from napari_clipmed.gui.worklist_desk import ADD, WorklistDesk
from napari_clipmed.gui.worklist_filters import WorklistFilters
from napari_clipmed.gui.worklist_model import CASE, MODEL, PICTURE_SIDE, READER
from napari_clipmed.worklist.words import Order

if TYPE_CHECKING:
    import napari

EMPTY = (
    "The worklist is empty.\n\n"
    "Add a folder of examinations, or drop files and folders here. They are listed by their headers; "
    "nothing is copied, and no file is changed."
)
NOTHING_PASSES = "No case passes the filters."
SIDE_KEYS = "While the subtraction controls are on screen, Alt+← and Alt+→ shift the mask instead"
FILTER = "Images (*.dcm *.ima *.dicom *.png *.jpg *.jpeg *.tif *.tiff *.zip DICOMDIR);;All files (*)"
ROW_HEIGHT = PICTURE_SIDE + 6
TABLE_HEIGHT = 200


class WorklistDock(QWidget):
    """Worklist dock of one viewer.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
    """

    def __init__(self, viewer: napari.viewer.Viewer) -> None:
        super().__init__()
        self.setObjectName("worklist_dock")
        ReadableTabs(self)
        self.setAcceptDrops(True)
        self.session = session_for(viewer)
        self.desk = WorklistDesk.of(self.session)
        self.failure = FailureNote()
        self.note = banner(kind="info", name="worklist_note")
        self.pages = QStackedWidget()
        self.tabs = named(QTabBar(), "worklist_tabs")
        self.similar = SimilarPane(self.desk)
        self._build()
        self._connect()
        self._on_changed()
        self.desk.refresh()

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """A comfortable dock."""
        return QSize(340, 600)

    # -- parts --------------------------------------------------------------------------------------------

    def _build(self) -> None:
        for title in ("Cases", "Similar cases"):
            self.tabs.addTab(title)
        self.tabs.setExpanding(True)
        self.pages.addWidget(self._cases())
        self.pages.addWidget(self.similar)
        content = QWidget()
        column = QVBoxLayout(content)
        column.setContentsMargins(MARGIN, MARGIN, MARGIN, MARGIN)
        column.setSpacing(SPACING)
        column.addLayout(self._adding())
        column.addWidget(JobBar(self.session.jobs, [ADD, ANSWER_ALL]))
        column.addWidget(self.failure)
        column.addWidget(self.note)
        column.addWidget(self.tabs)
        column.addWidget(self.pages, 1)
        column.addWidget(hint_label(RESEARCH_USE))
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scrollable(content))
        self.setMinimumWidth(DOCK_WIDTH[0])

    def _adding(self) -> QHBoxLayout:
        self.add_folder = _button("Add folder …", "add_folder", "All studies of a folder, by their headers")
        self.add_files = _button("Add files …", "add_files", "Runs, films or archives")
        self.more = _button("More", "worklist_more", "Take cases off the list, read the list anew")
        menu = QMenu(self.more)
        self.remove = menu.addAction("Take selected cases off the list", self._remove)
        menu.addAction("Read the list anew", self.desk.refresh)
        self.more.setMenu(menu)
        return _row(self.add_folder, self.add_files, self.more)

    def _cases(self) -> QWidget:
        self.progress = named(QProgressBar(), "worklist_progress")
        self.progress.setFormat("%v of %m reviewed")
        self.previous = _button(
            keyed("Previous", "Alt+←"), "previous_case", f"The case before in the list. {SIDE_KEYS}"
        )
        self.next = _button(keyed("Next", "Alt+→"), "next_case", f"The next case in the list. {SIDE_KEYS}")
        self.order = named(QComboBox(), "worklist_order")
        self.order.setAccessibleName("Order of the list")
        self.order.setToolTip("The list is ordered when you choose, and does not move while you read")
        for order in Order:
            self.order.addItem(order.words, order)
        self.filter = _button("Filter", "show_filters", "Show a part of the list")
        self.filter.setCheckable(True)
        self.filters = WorklistFilters()
        self.filters.setVisible(False)
        self.empty = hint_label(EMPTY, "worklist_empty")
        self.table = self._table()
        self.classify = _button("Classify all", "classify_all", "")
        self.pause = _button("Pause", "pause_all", "")
        self.pause.setCheckable(True)
        self.moves = named(QCheckBox("Accept opens the next case"), "next_after_accept")
        self.moves.setChecked(self.session.settings.next_after_accept)
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(SPACING // 2)
        column.addWidget(self.progress)
        column.addLayout(_row(self.previous, self.next))
        column.addLayout(_row(self.order, self.filter))
        column.addWidget(self.filters)
        column.addWidget(self.empty, 1, Qt.AlignmentFlag.AlignTop)
        column.addWidget(self.table, 1)
        column.addLayout(_row(self.classify, self.pause))
        column.addWidget(self.moves)
        return page

    def _table(self) -> QTableView:
        table = named(QTableView(), "worklist_table")
        table.setModel(self.desk.model)
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        table.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        table.setTextElideMode(Qt.TextElideMode.ElideRight)
        table.setShowGrid(False)
        table.setWordWrap(False)
        table.setTabKeyNavigation(False)
        table.setIconSize(QSize(PICTURE_SIDE, PICTURE_SIDE))
        table.setMinimumHeight(TABLE_HEIGHT)
        rows, columns = table.verticalHeader(), table.horizontalHeader()
        rows.hide()
        rows.setSectionResizeMode(
            QHeaderView.ResizeMode.Fixed
        )  # one height for all: Qt asks for no other row
        rows.setDefaultSectionSize(ROW_HEIGHT)
        columns.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        columns.setSectionResizeMode(CASE, QHeaderView.ResizeMode.Stretch)
        columns.resizeSection(READER, 60)
        columns.resizeSection(MODEL, 84)
        return table

    def _connect(self) -> None:
        desk = self.desk
        self.add_folder.clicked.connect(self.ask_folder)
        self.add_files.clicked.connect(self.ask_files)
        self.previous.clicked.connect(lambda: desk.step(-1))
        self.next.clicked.connect(lambda: desk.step(1))
        self.order.activated.connect(lambda index: desk.set_order(self.order.itemData(index)))
        self.filter.toggled.connect(self.filters.setVisible)
        self.filters.changed.connect(self._on_filter)
        self.table.activated.connect(self._open)
        self.table.clicked.connect(self._open_alone)
        self.classify.clicked.connect(desk.classify_all)
        self.pause.toggled.connect(self._on_pause)
        self.moves.toggled.connect(lambda on: write_setting("next_after_accept", on))
        self.tabs.currentChanged.connect(self.pages.setCurrentIndex)
        desk.changed.connect(self._on_changed)
        desk.model.modelReset.connect(self._on_reset)
        desk.said.connect(self._say)
        desk.failed.connect(self.failure.tell)
        self.session.answers.failed.connect(self.failure.tell)
        self.session.jobs.job_started.connect(self._on_job)
        self.session.jobs.job_ended.connect(self._on_job)
        side = self.session.side_keys
        side.walk = desk.step
        actions = {keys.PREVIOUS_CASE: side.left, keys.NEXT_CASE: side.right}
        for key, action in actions.items():
            self.session.bind_key(key, action)
        self.shortcuts = DockShortcuts(self, {keys.spoken(key): action for key, action in actions.items()})

    # -- doing --------------------------------------------------------------------------------------------

    def ask_folder(self) -> None:
        """Let the person choose a folder of examinations."""
        folder = QFileDialog.getExistingDirectory(self, "A folder of examinations", str(Path.home()))
        if folder:
            self.desk.add([Path(folder)])

    def ask_files(self) -> None:
        """Let the person choose runs, films or archives."""
        paths, _ = QFileDialog.getOpenFileNames(self, "Add to the worklist", str(Path.home()), FILTER)
        if paths:
            self.desk.add([Path(path) for path in paths])

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:  # noqa: N802 - Qt's name
        """Files and folders may be dropped here."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:  # noqa: N802 - Qt's name
        """Put what was dropped on the list."""
        paths = [Path(url.toLocalFile()) for url in event.mimeData().urls() if url.isLocalFile()]
        if paths:
            event.acceptProposedAction()
            self.desk.add(paths)

    def _open(self, index: QModelIndex) -> None:
        current = self.desk.current
        if current is None or self.desk.model.line_at(index.row()).listed.key != current.key:
            self.desk.open_row(index.row())

    def _open_alone(self, index: QModelIndex) -> None:
        """A click opens; one with Ctrl or Shift only selects more."""
        if len(self.table.selectionModel().selectedRows()) == 1:
            self._open(index)

    def _remove(self) -> None:
        rows = [index.row() for index in self.table.selectionModel().selectedRows()]
        if rows:
            self.desk.remove(rows)
        else:
            self._say("Select the cases to take off the list first.")

    def _on_filter(self, wanted: object) -> None:
        self.desk.model.show_only(wanted)  # type: ignore[arg-type]
        self.desk.ahead.want(None)
        self._on_changed()

    def _on_pause(self, held: bool) -> None:
        self.desk.pause() if held else self.desk.resume()
        self.pause.setText("Go on" if held else "Pause")

    # -- showing ------------------------------------------------------------------------------------------

    def _say(self, sentence: str) -> None:
        self.failure.clear()
        say(self.note, sentence)

    def _on_reset(self) -> None:
        self.filters.offer(self.desk.model.lines, self.desk.model.titles)

    def _on_changed(self) -> None:
        model = self.desk.model
        reviewed, total = model.progress
        there, shown = len(model.lines), model.rowCount()
        self.progress.setRange(0, max(total, 1))
        self.progress.setValue(reviewed)
        self.progress.setVisible(there > 0)
        self.empty.setText(NOTHING_PASSES if there else EMPTY)
        self.empty.setVisible(shown == 0)
        self.table.setVisible(shown > 0)
        for part in (self.order, self.filter, self.moves):
            part.setEnabled(there > 0)
        for button, tip in ((self.previous, "before"), (self.next, "next")):
            button.setEnabled(shown > 0)
            button.setToolTip(f"The case {tip} in the list. {SIDE_KEYS}" if shown else "Add cases first")
        self._show_current()
        self._on_job(None)

    def _show_current(self) -> None:
        current = self.desk.current
        row = self.desk.model.row_of(current.key) if current is not None else None
        if row is not None and self.table.currentIndex().row() != row:
            self.table.selectRow(row)
            self.table.scrollTo(self.desk.model.index(row, CASE))

    def _on_job(self, job: Job | None) -> None:
        if job is not None and job.key != ANSWER_ALL:
            return
        running = self.session.jobs.running(ANSWER_ALL) is not None
        waiting = 0 if running else len(self.desk.unanswered())
        self.classify.setEnabled(waiting > 0)
        if running:
            tip = "The model is at work; it waits whenever you ask something yourself"
        elif waiting:
            tip = f"Ask the model about {waiting} cases, in the background"
        else:
            tip = "Every angiogram shown has an answer" if self.desk.model.rowCount() else "Add cases first"
        self.classify.setToolTip(tip)
        self.pause.setEnabled(running)
        self.pause.setToolTip("Let the model wait, or go on" if running else "Nothing runs in the background")
        if not running and self.pause.isChecked():
            self.pause.setChecked(False)


def _button(text: str, name: str, tip: str) -> QPushButton:
    button = named(QPushButton(text), name)
    button.setToolTip(tip)
    return button


def _row(*parts: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setContentsMargins(0, 0, 0, 0)
    row.setSpacing(SPACING // 2)
    for part in parts:
        row.addWidget(part, 1)
    return row
