"""The workspace in use, in one row: which it is, another one, a backup, and the history of the case."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QMenu, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.history_dialog import HistoryDialog
from napari_clipmed.gui.job_bar import JobBar
from napari_clipmed.gui.settings import write_setting
from napari_clipmed.gui.theme import hint_label, named, say
from napari_clipmed.gui.widgets.failure_note import FailureNote
from napari_clipmed.progress import Progress

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.records.bundle import Imported
    from napari_clipmed.study import Study

BACKUP, SWITCH = "backup", "switch-workspace"
LONGEST_NAME = 24


class WorkspaceMenu(QWidget):
    """Row with the workspace's name and menu, and the History button.

    Parameters
    ----------
    session : ReviewSession
    """

    def __init__(self, session: ReviewSession) -> None:
        super().__init__()
        self.setObjectName("workspace_menu")
        self._session = session
        self._history: HistoryDialog | None = None
        self.button = named(QPushButton(), "workspace")
        self.button.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.menu = QMenu(self.button)
        self.menu.setToolTipsVisible(True)
        self.menu.aboutToShow.connect(self._fill)
        self.button.setMenu(self.menu)
        self.history_button = named(QPushButton("History …"), "history")
        self.failure = FailureNote()
        self.status = hint_label("", "workspace_status")
        self.status.setVisible(False)
        row = QHBoxLayout()
        row.addWidget(self.button, 2)
        row.addWidget(self.history_button, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addLayout(row)
        column.addWidget(JobBar(session.jobs, [BACKUP, SWITCH]))
        column.addWidget(self.failure)
        column.addWidget(self.status)
        self.history_button.clicked.connect(self.show_history)
        session.records.changed.connect(self._show)
        self._show()
        self._fill()

    def _show(self) -> None:
        folder = self._session.workspace
        name = folder.name if len(folder.name) <= LONGEST_NAME else folder.name[: LONGEST_NAME - 1] + "…"
        self.button.setText(name)
        self.button.setToolTip(f"Labels, masks and fine-tuned models are kept in\n{folder}")
        known = self._session.records.state.case is not None
        self.history_button.setEnabled(known)
        why_not = "Nothing was saved about this study yet" if self._session.study else "Open a study first"
        self.history_button.setToolTip("Who said what about this case, and when" if known else why_not)

    def _fill(self) -> None:
        from napari_clipmed.models.registry import user_folder
        from napari_clipmed.records.recent import recent_workspaces

        self.menu.clear()
        recent = [path for path in recent_workspaces(user_folder()) if path != self._session.workspace]
        self.menu.addAction("Open workspace …", self.ask_workspace)
        self.menu.addAction("New workspace …", self.ask_workspace).setToolTip(
            "Choose or make an empty folder"
        )
        part = self.menu.addMenu("Recent")
        part.setToolTipsVisible(True)
        part.setEnabled(bool(recent))
        for path in recent:
            part.addAction(path.name, partial(self.use, path)).setToolTip(str(path))
        self.menu.addSeparator()
        backup = self.menu.addAction("Back up …", self.ask_backup)
        backup.setEnabled(self._session.workspace.exists())
        backup.setToolTip("Everything in one file, checked after it was written")
        self.menu.addSeparator()
        known = self._session.records.state.case is not None
        for title, pixels in (("Case bundle …", False), ("Case bundle with its frames …", True)):
            action = self.menu.addAction(title, partial(self.ask_bundle, pixels))
            action.setEnabled(known)
            action.setToolTip("This case in one file for another workspace, without identity")
        self.menu.addAction("Take in a case bundle …", self.ask_import)

    def ask_workspace(self) -> None:
        """Let the person choose the folder of a workspace, or an empty one."""
        folder = QFileDialog.getExistingDirectory(
            self, "A workspace folder, or an empty folder", str(self._session.workspace.parent)
        )
        if folder:
            self.use(Path(folder))

    def use(self, folder: Path) -> None:
        """Open another workspace off the GUI thread; the present one stays in use if that fails."""
        from napari_clipmed.models.registry import user_folder
        from napari_clipmed.records.recent import note_workspace

        self.failure.clear()
        before = self._session.workspace

        def check(progress: Progress) -> None:
            from napari_clipmed.records import Store

            progress.step("Opening the workspace")
            Store.open(folder, fall_back=True).close()
            for place in (before, folder):
                if place.exists():
                    note_workspace(user_folder(), place)

        def opened(nothing: None) -> None:
            write_setting("workspace", str(folder))
            self._show()
            say(self.status, f"Workspace in use: {folder}")
            self._session.records.reopen()

        self._session.jobs.start(
            check, title="Open the workspace", on_done=opened, on_error=self.failure.tell, key=SWITCH
        )

    def ask_backup(self) -> None:
        """Let the person say where the backup goes."""
        stamp = datetime.now().strftime("%Y-%m-%d")
        proposal = self._session.workspace.parent / f"{self._session.workspace.name}-{stamp}.zip"
        path, _ = QFileDialog.getSaveFileName(self, "Back up the workspace", str(proposal), "Backup (*.zip)")
        if path:
            self.back_up(Path(path))

    def back_up(self, path: Path) -> None:
        """Write a backup off the GUI thread."""
        self.failure.clear()
        session = self._session

        def write(progress: Progress) -> int:
            from napari_clipmed.records.backup import back_up

            return back_up(session.store(), path, progress.step)

        def done(size: int) -> None:
            say(self.status, f"Backed up to {path} ({size / 1e6:.1f} MB); every file in it was checked.")

        def refused(error: ClipmedError) -> None:
            self.failure.tell(error)

        session.jobs.start(write, title="Back up", on_done=done, on_error=refused, key=BACKUP)

    def ask_bundle(self, pixels: bool) -> None:
        """Let the person say where the bundle goes."""
        proposal = self._session.workspace.parent / f"case-{(self._session.records.state.case or '')[:8]}.zip"
        path, _ = QFileDialog.getSaveFileName(self, "Case bundle", str(proposal), "Case bundle (*.zip)")
        if path:
            self.export_case(Path(path), pixels)

    def export_case(self, path: Path, pixels: bool) -> None:
        """Write the open study's case into one file, off the GUI thread."""
        self.failure.clear()
        session, study, case = self._session, self._session.study, self._session.records.state.case
        if case is None:
            return

        def write(progress: Progress) -> int:
            from napari_clipmed.records.bundle import export_bundle

            progress.step("Writing the bundle")
            return export_bundle(session.store(), case, path, study if pixels else None)

        burned = " Text burned into the picture, if any, is still in it." if pixels else ""
        session.jobs.start(
            write,
            title="Write the bundle",
            on_done=lambda n: say(self.status, f"{n} revisions are in {path}.{burned}"),
            on_error=self.failure.tell,
            key=BACKUP,
        )

    def ask_import(self) -> None:
        """Let the person choose a bundle."""
        path, _ = QFileDialog.getOpenFileName(
            self, "Take in a case bundle", str(Path.home()), "Case bundle (*.zip)"
        )
        if path:
            self.import_case(Path(path))

    def import_case(self, path: Path) -> None:
        """Take a bundle into the workspace and show its study, where it brings one."""
        self.failure.clear()
        session = self._session

        def read(progress: Progress) -> tuple[Imported, Study | None]:
            from napari_clipmed.records.bundle import import_bundle
            from napari_clipmed.records.bundle_pixels import study_of_bundle

            progress.step("Checking the bundle")
            study = study_of_bundle(path)
            return import_bundle(session.store(), path), study

        def done(answer: tuple[Imported, Study | None]) -> None:
            found, study = answer
            say(self.status, f"{found.new} new revisions, {found.known} were here already.")
            if study is not None:
                session.show_study(study)
            session.records.reopen()

        session.jobs.start(
            read, title="Take in a bundle", on_done=done, on_error=self.failure.tell, key=BACKUP
        )

    def show_history(self) -> None:
        """Open the history of the case, beside the image."""
        if self._history is None:
            self._history = HistoryDialog(self._session, self.window())
        self._history.refresh()
        self._history.show()
        self._history.raise_()
