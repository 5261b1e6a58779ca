"""A form for a server of the archive; its password goes into the system's keyring and nowhere else."""

from __future__ import annotations

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QLineEdit,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.jobs import JobRunner
from napari_clipmed.gui.theme import hint_label, named
from napari_clipmed.gui.widgets.failure_note import FailureNote
from napari_clipmed.pacs.servers import Server
from napari_clipmed.progress import Progress

KINDS = ("DICOMweb", "DIMSE, images by C-GET", "DIMSE, images by C-MOVE")
PASSWORD = "The password goes into the system's keyring. Leave it empty to use CLIPMED_PACS_PASSWORD."


class ServerForm(QDialog):
    """What a server is called, where it is, and who we are to it.

    Parameters
    ----------
    jobs : JobRunner
        The keyring may ask the person, so it is not waited for here.
    parent : QWidget, optional

    Attributes
    ----------
    added : Signal(str)
        A server of this name is on the list now.
    """

    added = Signal(str)

    def __init__(self, jobs: JobRunner, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setObjectName("pacs_form")
        self.setWindowTitle("Add a server")
        self.setMinimumWidth(460)
        self._jobs = jobs
        self.kind = named(QComboBox(), "pacs_form_kind")
        self.kind.addItems(list(KINDS))
        self.name = _line("name", "letters, digits, - and _", 32)
        self.url = _line("url", "https://pacs.example/dicom-web")
        self.user = _line("user", "")
        self.password = _line("password", "")
        self.password.setEchoMode(QLineEdit.EchoMode.Password)
        self.host = _line("host", "pacs.example")
        self.port, self.listen = _port("port", 104), _port("listen", 11112)
        self.called, self.calling = _line("called", "", 16), _line("calling", "", 16)
        self.calling.setText("CLIPMED")
        self.tls = named(QCheckBox("Encrypt (TLS)"), "pacs_form_tls")
        self.ca = _line("ca", "PEM file; empty: the system's")
        self.failure = FailureNote()
        self.form = QFormLayout()
        self._build()
        self.kind.currentIndexChanged.connect(self._dress)
        self._dress(0)

    def _build(self) -> None:
        rows: tuple[tuple[str, QWidget, tuple[int, ...]], ...] = (
            ("Name", self.name, (0, 1, 2)),
            ("Kind", self.kind, (0, 1, 2)),
            ("Address", self.url, (0,)),
            ("User", self.user, (0,)),
            ("Password", self.password, (0,)),
            ("", hint_label(PASSWORD, "pacs_form_hint"), (0,)),
            ("Host", self.host, (1, 2)),
            ("Port", self.port, (1, 2)),
            ("Its AE title", self.called, (1, 2)),
            ("Our AE title", self.calling, (1, 2)),
            ("Our port", self.listen, (2,)),
            ("", self.tls, (1, 2)),
            ("CA certificates", self.ca, (0, 1, 2)),
        )
        self._rows = [(widget, kinds) for _, widget, kinds in rows]
        for title, widget, _ in rows:
            self.form.addRow(title, widget)
        buttons = QDialogButtonBox()
        self.save = buttons.addButton("Add", QDialogButtonBox.ButtonRole.AcceptRole)
        self.save.setObjectName("pacs_form_add")
        buttons.addButton(QDialogButtonBox.StandardButton.Cancel)
        buttons.accepted.connect(self.add)
        buttons.rejected.connect(self.reject)
        column = QVBoxLayout(self)
        column.addLayout(self.form)
        column.addWidget(self.failure)
        column.addWidget(buttons)

    def _dress(self, kind: int) -> None:
        for widget, kinds in self._rows:
            self.form.setRowVisible(widget, kind in kinds)
        self.adjustSize()

    def add(self) -> None:
        """Check what was entered, keep the password, put the server on the list."""
        from napari_clipmed.models.registry import user_folder
        from napari_clipmed.pacs.servers import add_server

        self.failure.clear()
        try:
            server = self._server()
        except ClipmedError as error:
            self.failure.tell(error)
            return
        password, home = self.password.text(), user_folder()

        def work(progress: Progress) -> str:
            from napari_clipmed.credentials import keep_password

            add_server(home, server)
            if server.user and password:
                keep_password(server.keyring_service, server.user, password)
            return server.name

        self._jobs.start(work, title="Add the server", on_done=self._done, on_error=self.failure.tell)

    def _server(self) -> Server:
        kind = self.kind.currentIndex()
        name, ca_file = self.name.text().strip(), self.ca.text().strip()
        if kind == 0:
            url = self.url.text().strip() or "https://"
            return Server(name, url=url, user=self.user.text().strip(), ca_file=ca_file)
        return Server(
            name,
            ca_file=ca_file,
            host=self.host.text().strip(),
            port=self.port.value(),
            called_ae=self.called.text().strip(),
            calling_ae=self.calling.text().strip(),
            route="get" if kind == 1 else "move",
            listen_port=self.listen.value(),
            tls=self.tls.isChecked(),
        )

    def _done(self, name: str) -> None:
        self.added.emit(name)
        self.accept()


def _line(name: str, example: str, longest: int = 1024) -> QLineEdit:
    field = named(QLineEdit(), f"pacs_form_{name}")
    field.setPlaceholderText(example)
    field.setMaxLength(longest)
    return field


def _port(name: str, value: int) -> QSpinBox:
    field = named(QSpinBox(), f"pacs_form_{name}")
    field.setRange(1, 65535)
    field.setValue(value)
    return field
