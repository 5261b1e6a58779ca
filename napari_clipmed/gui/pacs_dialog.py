"""The archive of the hospital in a window: search, retrieve, send results."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QComboBox,
    QDialog,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_clipmed.gui.job_bar import JobBar
from napari_clipmed.gui.jobs import Job, JobState
from napari_clipmed.gui.pacs_jobs import (
    ECHO,
    KEYS,
    RETRIEVE,
    SEARCH,
    SEND,
    find_studies,
    greet,
    list_servers,
    retrieve_studies,
    send_results,
)
from napari_clipmed.gui.pacs_server_form import ServerForm
from napari_clipmed.gui.theme import RESEARCH_USE, SPACING, TEXT_QUIET, banner, hint_label, named, say
from napari_clipmed.gui.widgets.failure_note import FailureNote
from napari_clipmed.pacs.spoken import HEADINGS, cells, told_retrieved, told_sent
from napari_clipmed.pacs.words import MODALITIES, Found, Query, Retrieved, Sent

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.pacs.servers import Server
    from napari_clipmed.study import Study

FIRST = "Search for studies. Empty fields find everything of the modalities named; * stands for any text."
NO_SERVER = "No server is known yet. Add the first one; whoever looks after the archive knows what to enter."
DATE_TIP = "A day (20240131) or a range (20240101-20240131; either end may be left open)"
NOTHING = "Nothing matches. Ask for less, or for other modalities."
KEPT = "Stopped. What has come is kept apart; Retrieve goes on where it stopped."
SEND_TIP = (
    "Saved masks (SEG) and labels (SR) into the archive, beside the study that they are about. "
    "They name the patient, as an archive demands."
)


class PacsButton(QPushButton):
    """Opens the one `PacsDialog` of its window.

    Parameters
    ----------
    session : ReviewSession
    """

    def __init__(self, session: ReviewSession) -> None:
        super().__init__("Archive (PACS) …")
        named(self, "pacs")
        self.setToolTip("Find studies in the hospital's archive, retrieve them, send results back")
        self._session = session
        self.dialog: PacsDialog | None = None
        self.clicked.connect(self.show_dialog)

    def show_dialog(self) -> None:
        """Open the dialog, or bring it to the front; a retrieval goes on while it is closed."""
        if self.dialog is None:
            self.dialog = PacsDialog(self._session, self.window())
            self.dialog.arrived.connect(self._put_on_worklist)
        self.dialog.show()
        self.dialog.raise_()

    def _put_on_worklist(self, folders: list[Path]) -> None:
        from napari_clipmed.gui.worklist_desk import WorklistDesk

        WorklistDesk.of(self._session).add(folders)


class PacsDialog(QDialog):
    """Servers, a query, what it finds, and what can be done with it; everything waits in workers.

    Parameters
    ----------
    session : ReviewSession
    parent : QWidget, optional

    Attributes
    ----------
    arrived : Signal(list of Path)
        Folders of studies that have come whole, for whoever keeps a list of them.
    """

    arrived = Signal(object)

    def __init__(self, session: ReviewSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("pacs_dialog")
        self.setWindowTitle("Archive (PACS)")
        self.resize(960, 560)
        self._session = session
        self._servers: list[Server] = []
        self._found = Found(())
        self._arrived: list[Path] = []
        self.folder = session.workspace.parent / "retrieved"
        self.server = named(QComboBox(), "pacs_server")
        self.failure = FailureNote()
        self.note = banner(kind="info", name="pacs_note")
        self.status = hint_label(FIRST, "pacs_status")
        self.table = _table()
        self.into = hint_label("", "pacs_folder")
        self._build()
        session.jobs.job_started.connect(self._on_job)
        session.jobs.job_ended.connect(self._on_job_ended)
        session.study_changed.connect(self._on_study)
        self.table.itemSelectionChanged.connect(self._allow)
        self.table.itemDoubleClicked.connect(lambda item: self.retrieve())
        self.server.currentIndexChanged.connect(lambda index: self._allow())
        self._allow()
        self.refresh_servers()

    # -- what it shows ------------------------------------------------------------------------------------

    def _build(self) -> None:
        self.add_button = _button("Add server …", "pacs_add", self.add_server)
        self.echo_button = _button("Test", "pacs_echo", self.echo)
        self.search_button = _button("Search", "pacs_search", self.search)
        self.search_button.setDefault(True)
        self.retrieve_button = _button("Retrieve", "pacs_retrieve", self.retrieve)
        self.open_button = _button("Open", "pacs_open", self.open_retrieved)
        self.send_button = _button("Send results of the open case", "pacs_send", self.send)
        self.choose_button = _button("Choose folder …", "pacs_choose", self.choose_folder)
        servers = _row(QLabel("Server"), self.server, self.echo_button, self.add_button)
        servers.setStretch(1, 1)
        actions = _row(self.retrieve_button, self.open_button, self.choose_button)
        actions.addStretch(1)
        actions.addWidget(self.send_button)
        column = QVBoxLayout(self)
        column.setSpacing(SPACING)
        column.addLayout(servers)
        column.addLayout(self._query_fields())
        for part in (self.failure, self.note, JobBar(self._session.jobs, KEYS), self.status):
            column.addWidget(part)
        column.addWidget(self.table, 1)
        column.addWidget(self.into)
        column.addLayout(actions)
        column.addWidget(hint_label(RESEARCH_USE))

    def _query_fields(self) -> QGridLayout:
        grid = QGridLayout()
        self.fields: dict[str, QLineEdit] = {}
        asked = (
            ("patient_name", "Patient", "FAMILY^GIVEN"),
            ("patient_id", "ID", ""),
            ("study_date", "Date", "20240101-20240131"),
            ("modalities", "Modalities", "empty: all"),
            ("accession", "Accession", ""),
        )
        for place, (key, title, example) in enumerate(asked):
            field = named(QLineEdit(), f"pacs_{key}")
            field.setPlaceholderText(example)
            field.setMaxLength(64)
            field.setToolTip(DATE_TIP if key == "study_date" else "")
            field.returnPressed.connect(self.search)
            label = QLabel(title)
            label.setStyleSheet(f"QLabel {{ color: {TEXT_QUIET}; }}")
            label.setBuddy(field)
            grid.addWidget(label, 0, place)
            grid.addWidget(field, 1, place)
            self.fields[key] = field
        self.fields["modalities"].setText(", ".join(MODALITIES))
        grid.addWidget(self.search_button, 1, len(asked))
        for place, stretch in enumerate((3, 2, 3, 2, 2)):
            grid.setColumnStretch(place, stretch)
        return grid

    def refresh_servers(self, chosen: str = "") -> None:
        """Read the list of servers anew."""
        self._session.jobs.start(
            list_servers,
            title="Read the list of servers",
            on_done=partial(self._show_servers, chosen),
            on_error=self.failure.tell,
            key="pacs servers",
        )

    def _show_servers(self, chosen: str, servers: list[Server]) -> None:
        self._servers = servers
        self.server.clear()
        for server in self._servers:
            self.server.addItem(f"{server.name}  ({server.place})", server.name)
        self.server.setCurrentIndex(max(0, self.server.findData(chosen)) if self._servers else -1)
        say(self.status, FIRST if self._servers else NO_SERVER)
        self._allow()

    @property
    def chosen_server(self) -> Server | None:
        """The server that is asked."""
        index = self.server.currentIndex()
        return self._servers[index] if 0 <= index < len(self._servers) else None

    @property
    def chosen_studies(self) -> list[str]:
        """Study Instance UIDs of the chosen lines."""
        rows = sorted({index.row() for index in self.table.selectedIndexes()})
        return [self._found.studies[row].study_uid for row in rows]

    def _allow(self) -> None:
        """Enable what can be done now, and say of the rest why it cannot."""
        server = "" if self.chosen_server is not None else "Add a server first"
        busy = "Wait until it has come, or cancel" if self._session.jobs.running(RETRIEVE) else ""
        sending = "Wait until they are sent, or cancel" if self._session.jobs.running(SEND) else ""
        chosen = "" if self.chosen_studies else "Search, and choose one or more studies"
        study = "" if self._session.study is not None else "Open a study first"
        for button, why_not, tip in (
            (self.echo_button, server, "Ask whether the server is there and knows us"),
            (self.search_button, server, "Studies that match the fields"),
            (self.retrieve_button, server or busy or chosen, "Bring the chosen studies to this computer"),
            (self.open_button, "" if self._arrived else "Retrieve a study first", "The study that came last"),
            (self.send_button, server or study or sending, SEND_TIP),
            (self.choose_button, busy, "Where retrieved studies are put"),
        ):
            button.setEnabled(not why_not)
            button.setToolTip(why_not or tip)
        self.into.setText(f"Retrieved studies are put into {self.folder}; they hold the patient's identity.")

    # -- what it does -------------------------------------------------------------------------------------

    def add_server(self) -> None:
        """Let the person describe a server."""
        form = ServerForm(self._session.jobs, self)
        form.added.connect(self.refresh_servers)
        form.open()

    def echo(self) -> None:
        """Ask whether the server is there."""
        server = self._begin()
        if server is not None:
            self._session.jobs.start(
                partial(greet, server),
                title=f"Ask {server.name}",
                on_done=lambda nothing: say(self.note, f"{server.name} answers."),
                on_error=self.failure.tell,
                key=ECHO,
            )

    def search(self) -> None:
        """Ask the server for studies."""
        server = self._begin()
        if server is None:
            return
        asked = {key: field.text() for key, field in self.fields.items()}
        modalities = tuple(
            part.strip().upper() for part in asked.pop("modalities").split(",") if part.strip()
        )
        self._session.jobs.start(
            partial(find_studies, server, Query(modalities=modalities, **asked)),
            title=f"Search {server.name}",
            on_done=self._show_found,
            on_error=self.failure.tell,
            key=SEARCH,
        )

    def retrieve(self) -> None:
        """Bring the chosen studies to this computer."""
        if not self.retrieve_button.isEnabled():
            return
        studies, folder = self.chosen_studies, self.folder
        server = self._begin()
        if server is not None:
            self._session.jobs.start(
                partial(retrieve_studies, server, studies, folder),
                title="Retrieve",
                on_done=self._show_retrieved,
                on_error=self.failure.tell,
                key=RETRIEVE,
            )

    def open_retrieved(self) -> None:
        """Open the study that came last."""
        if self._arrived:
            self._session.open_paths([self._arrived[-1]])

    def send(self) -> None:
        """Send what was saved of the open study."""
        study, server = self._session.study, self._begin()
        if server is not None and study is not None:
            self._session.jobs.start(
                partial(send_results, self._session, study, server),
                title=f"Send to {server.name}",
                on_done=partial(self._show_sent, server.name),
                on_error=self.failure.tell,
                key=SEND,
            )

    def choose_folder(self) -> None:
        """Let the person say where retrieved studies go."""
        chosen = QFileDialog.getExistingDirectory(
            self, "Folder for retrieved studies", str(self.folder.parent)
        )
        if chosen:
            self.folder = Path(chosen)
            self._allow()

    def _begin(self) -> Server | None:
        self.failure.clear()
        say(self.note, "")
        return self.chosen_server

    # -- what comes of it ---------------------------------------------------------------------------------

    def _show_found(self, found: Found) -> None:
        self._found = found
        self.table.setRowCount(len(found.studies))
        for row, study in enumerate(found.studies):
            for column, text in enumerate(cells(study)):
                item = QTableWidgetItem(text)
                item.setToolTip(text)
                self.table.setItem(row, column, item)
        self.table.clearSelection()
        count = f"{len(found.studies)} studies, newest first."
        more = " There are more: narrow the search." if found.cut else ""
        say(self.status, f"{count}{more}" if found.studies else NOTHING)
        self._allow()

    def _show_retrieved(self, studies: list[Retrieved]) -> None:
        whole = [study.folder for study in studies if study.complete]
        self._arrived += whole
        if whole:
            self.arrived.emit(whole)
        say(self.note, "\n".join(map(told_retrieved, studies)))
        self._allow()

    def _show_sent(self, server: str, sent: list[Sent]) -> None:
        say(self.note, told_sent(sent, server))

    def _on_study(self, study: Study | None) -> None:
        self._allow()

    def _on_job(self, job: Job) -> None:
        if job.key in KEYS:
            self._allow()

    def _on_job_ended(self, job: Job) -> None:
        if job.key in KEYS:
            if job.key == RETRIEVE and job.state is JobState.CANCELLED:
                say(self.note, KEPT)
            self._allow()


def _table() -> QTableWidget:
    table = named(QTableWidget(0, len(HEADINGS)), "pacs_table")
    table.setHorizontalHeaderLabels(list(HEADINGS))
    table.verticalHeader().setVisible(False)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
    table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
    table.setTextElideMode(Qt.TextElideMode.ElideRight)
    header = table.horizontalHeader()
    header.setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    for name in ("Patient", "Study"):
        header.setSectionResizeMode(HEADINGS.index(name), QHeaderView.ResizeMode.Stretch)
    return table


def _button(text: str, name: str, action: Callable[[], None]) -> QPushButton:
    button = named(QPushButton(text), name)
    button.setAutoDefault(False)
    button.clicked.connect(lambda: action())
    return button


def _row(*parts: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    for part in parts:
        row.addWidget(part)
    return row
