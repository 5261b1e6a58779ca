"""Thumbnails for lines that were painted: from the workspace's cache, else made, whenever nobody waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_clipmed.errors import Cancelled, ClipmedError
from napari_clipmed.gui.background import THUMBNAILS, PersonFirst, lower_priority
from napari_clipmed.progress import Progress
from napari_clipmed.worklist.lines import Line

if TYPE_CHECKING:
    from napari_clipmed.gui.session import ReviewSession
    from napari_clipmed.worklist.keeping import Shelves

MOST_WAITING = 64
"""Lines scrolled past are forgotten; they ask again when they are seen again."""


class ThumbnailLoader(QObject):
    """Makes what a `WorklistModel` asks for.

    Parameters
    ----------
    session : ReviewSession
    person : PersonFirst
        While somebody waits for something else, only what is in the cache is shown.
    shelves : callable
        The places of the workspace in use; called off the GUI thread.

    Attributes
    ----------
    made : Signal(str, object)
        Name and (H, W) uint8 picture.
    refused : Signal(str, str)
        Key of an entry that cannot be read, and why.
    """

    made = Signal(str, object)
    refused = Signal(str, str)

    def __init__(
        self, session: ReviewSession, person: PersonFirst, shelves: Callable[[], Shelves | None]
    ) -> None:
        super().__init__(session)
        self._session, self._shelves = session, shelves
        self._asked: dict[str, Line] = {}
        self._later: dict[str, Line] = {}
        self._hopeless: set[str] = set()
        self._lock = threading.Lock()
        self._may_decode = threading.Event()
        self._may_decode.set()
        person.busy.connect(self._give_way)
        person.free.connect(self._go_on)

    def ask(self, lines: Iterable[Line]) -> None:
        """Have thumbnails made, the last one first."""
        with self._lock:
            for line in lines:
                if line.thumbnail not in self._hopeless and not line.problem:
                    self._asked.pop(line.thumbnail, None)
                    self._asked[line.thumbnail] = line
            while len(self._asked) > MOST_WAITING:
                self._asked.pop(next(iter(self._asked)))
        self._start()

    def _start(self) -> None:
        jobs = self._session.jobs
        if self._asked and jobs.running(THUMBNAILS) is None:
            jobs.start(
                self._work, title="Make thumbnails", on_done=self._done, on_error=self._failed, key=THUMBNAILS
            )

    def _done(self, nothing: None) -> None:
        self._start()

    def _failed(self, error: ClipmedError) -> None:
        with self._lock:
            self._asked.clear()  # no workspace, no cache: lines ask again when they are painted anew

    def _give_way(self) -> None:
        self._may_decode.clear()
        self._session.jobs.cancel(THUMBNAILS)

    def _go_on(self) -> None:
        self._may_decode.set()
        with self._lock:
            self._asked = self._later | self._asked
            self._later = {}
        self._start()

    def _work(self, progress: Progress) -> None:
        """Off the GUI thread."""
        lower_priority()
        shelves = self._shelves()
        while shelves is not None:
            with self._lock:
                if not self._asked:
                    return
                name, line = self._asked.popitem()
            picture = shelves.thumbnails.get(name)
            if picture is None and not self._may_decode.is_set():
                self._later[name] = line
                continue
            try:
                picture = self._peek(shelves, line, progress) if picture is None else picture
            except Cancelled:
                self._later[name] = line
                raise
            if picture is None:
                self._hopeless.add(name)
            else:
                self.made.emit(name, picture)

    def _peek(self, shelves: Shelves, line: Line, progress: Progress) -> NDArray[np.uint8] | None:
        from napari_clipmed.worklist.reading import entry_of
        from napari_clipmed.worklist.thumbnails import DECODING, peek

        progress.step(DECODING)
        try:
            picture = peek(entry_of(line.listed, progress), progress)
        except Cancelled:
            raise
        except ClipmedError as error:
            problem = f"{error.message} {error.hint}".strip()
            with suppress(ClipmedError):  # a workspace for reading only: it is said on screen all the same
                shelves.store.learn_of_listed(line.listed, problem=problem)
            self.refused.emit(line.listed.key, problem)
            return None
        except Exception:  # noqa: BLE001 - boundary: a thumbnail is no reason to fail; opening the case tells why
            return None
        with suppress(OSError):
            shelves.thumbnails.put(line.thumbnail, picture)
        return picture
