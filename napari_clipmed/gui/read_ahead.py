"""The next case of the worklist is decoded and encoded while the person looks at this one.

At most one study is held, and only where it is small enough. The person's own jobs stop it at once; it is
begun anew when they are done. What was decoded is kept over such an interruption.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, Signal

from napari_clipmed.errors import ClipmedError
from napari_clipmed.gui.background import READ_AHEAD, PersonFirst, lower_priority
from napari_clipmed.gui.opening import Opened, as_left
from napari_clipmed.progress import Progress

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.records import Listed

LARGEST = 512 * 2**20
"""Bytes of frames; a larger study is not read ahead. 2 × 1024² × 30 frames in 16 bits are 120 MiB."""

BYTES_A_PIXEL = 2


class ReadAhead(QObject):
    """Holds the study that is probably opened next.

    Parameters
    ----------
    session : ReviewSession
    person : PersonFirst
        Whose questions come first.
    """

    _decoded = Signal(str, object)

    def __init__(self, session: ReviewSession, person: PersonFirst) -> None:
        super().__init__(session)
        self._session = session
        self._wanted: Listed | None = None
        self._held: tuple[str, Opened] | None = None
        self._done = ""
        self._person = person
        self._decoded.connect(self._hold, Qt.ConnectionType.QueuedConnection)
        person.busy.connect(self._give_way)
        person.free.connect(self._begin)
        session.models_changed.connect(self._begin_anew)

    @property
    def ready(self) -> str:
        """Key of the entry that is decoded and encoded; empty while there is none."""
        return self._done

    def want(self, listed: Listed | None) -> None:
        """Read this entry ahead from now on, and forget another one."""
        key = listed.key if listed is not None else ""
        if self._wanted is not None and self._wanted.key == key:
            return
        self._wanted, self._done = listed, ""
        self._session.jobs.cancel(READ_AHEAD)
        if self._held is not None and self._held[0] != key:
            self._held = None
        if not self._person.is_busy:
            self._begin()

    def take(self, key: str) -> Opened | None:
        """The decoded study of an entry, handed over for good; None where it is not there."""
        held, self._held = self._held, None
        self._wanted, self._done = None, ""
        self._session.jobs.cancel(READ_AHEAD)
        return held[1] if held is not None and held[0] == key else None

    def _give_way(self) -> None:
        self._session.jobs.cancel(READ_AHEAD)

    def _begin_anew(self, task: str) -> None:
        """Another model was chosen: what was decoded is kept, what was encoded is no longer enough."""
        self._done = ""
        if not self._person.is_busy:
            self._begin()

    def _begin(self) -> None:
        wanted, session = self._wanted, self._session
        if wanted is None or self._done == wanted.key or not session.settings.read_ahead:
            return
        held = self._held[1] if self._held is not None and self._held[0] == wanted.key else None

        def work(progress: Progress) -> None:
            lower_priority()
            opened = held or self._decode(wanted, progress)
            if opened is not None:
                session.engine().read_ahead(opened.study, progress)

        def done(nothing: None) -> None:
            if self._wanted is wanted:
                self._done = wanted.key

        def failed(error: ClipmedError) -> None:
            done(None)  # it is told when the person opens the case

        session.jobs.start(work, title="Read the next case", on_done=done, on_error=failed, key=READ_AHEAD)

    def _decode(self, listed: Listed, progress: Progress) -> Opened | None:
        """Off the GUI thread."""
        from napari_clipmed.io import open_entry
        from napari_clipmed.worklist.reading import entry_of

        progress.step("Reading the next case")
        if _declared_bytes(listed) > LARGEST:
            return None
        opened = as_left(open_entry(entry_of(listed, progress), progress), self._session.memory())
        if sum(view.stored.size * view.stored.dtype.itemsize for view in opened.study.views) > LARGEST:
            return None
        self._decoded.emit(listed.key, opened)
        return opened

    def _hold(self, key: str, opened: Opened) -> None:
        if self._wanted is not None and self._wanted.key == key:
            self._held = (key, opened)


def _declared_bytes(listed: Listed) -> int:
    """What an entry's frames take in memory, as its headers say; plain pictures are small."""
    from napari_clipmed.io.header_facts import header_facts

    if listed.archive:
        return 0
    facts = [header_facts(path) for path in listed.files if path.is_file()]
    return sum(f.frames * f.rows * f.columns * BYTES_A_PIXEL for f in facts if f is not None)
