"""What the reader set about the open study: in force at once, kept in the workspace off the GUI thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from threading import Lock
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QCoreApplication, QObject, QTimer, Signal

from napari_clipmed.records import Run, Setting
from napari_clipmed.records.sessions import SOFTWARE, now
from napari_clipmed.study import Study

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession

SETTLED_MS = 800
"""A setting that may still move (a shift, a slider) is written this long after its last change."""


class ReaderSettings(QObject):
    """Settings of one session's study.

    Attributes
    ----------
    changed : Signal
        Something was set, taken back or recalled.
    not_kept : Signal(object)
        The `ClipmedError` that kept a setting from being written; it holds until the study is closed.
    """

    changed = Signal()
    not_kept = Signal(object)

    def __init__(self, session: ReviewSession) -> None:
        super().__init__(session)
        self._session = session
        self._held: dict[tuple[str, str], Setting] = {}
        self._unwritten: dict[tuple[str, str], Setting] = {}
        self._queue: deque[Setting] = deque()
        self._writing = Lock()
        self.as_read: Study | None = None
        self._settling = QTimer(self)
        self._settling.setSingleShot(True)
        self._settling.setInterval(SETTLED_MS)
        self._settling.timeout.connect(self.write)
        application = QCoreApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self.write)

    def begin(self, as_read: Study | None, settings: Iterable[Setting] = ()) -> None:
        """Another study is open; what was set about the one before is written first."""
        self.write()
        self.as_read = as_read
        self._held = {(setting.run.name, setting.key): setting for setting in settings}
        self.changed.emit()

    def held(self) -> list[Setting]:
        """Everything that holds now, in the order in which it was set."""
        return sorted(self._held.values(), key=lambda setting: setting.created_at)

    def about(self, run: Run, key: str) -> Setting | None:
        """What was set about a run under a key, if it was."""
        return self._held.get((run.name, key))

    def put(self, run: Run, key: str, value: Any, *, settling: bool = False) -> Setting:
        """Set something; None takes it back.

        Parameters
        ----------
        settling : bool
            The value may change again in a moment: write it when it has come to rest.
        """
        setting = self.made(run, key, value)
        self.keep(setting, settling=settling)
        return setting

    def made(self, run: Run, key: str, value: Any) -> Setting:
        """A setting of this moment that is not kept yet."""
        author = self._session.settings.author
        return Setting(0, run.sop_instance_uid, run.source_hash, key, value, author, now(), SOFTWARE)

    def keep(self, setting: Setting, *, settling: bool = False) -> None:
        """Let a setting hold, and write it."""
        name = (setting.run.name, setting.key)
        self._held.pop(name, None)
        if setting.value is not None:
            self._held[name] = setting
        self._unwritten[name] = setting
        if settling:
            self._settling.start()
        else:
            self.write()
        self.changed.emit()

    def write(self) -> None:
        """Write what is not in the workspace yet."""
        self._settling.stop()
        self._queue.extend(self._unwritten.values())
        self._unwritten = {}
        if self._queue:
            self._session.jobs.start(
                self._keep, title="Keep what you set", on_done=lambda done: None, on_error=self.not_kept.emit
            )

    def _keep(self, progress: object) -> None:
        """Write the queue in order, on the thread of a job; what could not be written stays in it."""
        with self._writing:
            store = self._session.store()
            while self._queue:
                setting = self._queue[0]
                store.set_about(setting.run, setting.key, setting.value, setting.author)
                self._queue.popleft()
