"""What can be asked of an archive, whatever it speaks."""

from __future__ import annotations

import logging
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from pydicom import Dataset

from napari_clipmed.pacs.servers import Server
from napari_clipmed.pacs.words import Found, InstanceRef, Query, SeriesRow, StudyRow, Timeouts
from napari_clipmed.progress import Progress


class Link(Protocol):
    """A connection to an archive; leave it through ``with``.

    Everything raises `PacsError` where the server is gone, refuses or answers nonsense, `InstanceRefused`
    where this is true of one instance only, and `Cancelled` soon after the progress was cancelled.
    """

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def echo(self) -> None:
        """Ask whether the server is there and knows us (C-ECHO, or an empty search)."""

    def find(self, query: Query) -> Found:
        """Studies that match (C-FIND, QIDO-RS)."""

    def series(self, study_uid: str) -> list[SeriesRow]:
        """The series of a study."""

    def instances(self, study_uid: str) -> list[InstanceRef]:
        """The instances of a study."""

    def fetch(self, wanted: InstanceRef, path: Path) -> None:
        """Write an instance to a file (C-GET, C-MOVE, WADO-RS)."""

    def store(self, dataset: Dataset) -> None:
        """Give the server an object (C-STORE, STOW-RS)."""


def connect(server: Server, progress: Progress | None = None, timeouts: Timeouts | None = None) -> Link:
    """The link that fits a server; nothing is sent before it is asked something."""
    _silence_libraries()
    progress, timeouts = progress or Progress(), timeouts or Timeouts()
    if server.ca_file:
        server.trusted()
    if server.url:
        from napari_clipmed.pacs.web import WebLink

        return WebLink(server, progress, timeouts)
    from napari_clipmed.pacs.dimse import DimseLink

    return DimseLink(server, progress, timeouts)


def newest_first(studies: list[StudyRow], most: int) -> Found:
    """Answers to the queries about each modality as one list without repetitions."""
    unique = {study.study_uid: study for study in reversed(studies)}
    ordered = sorted(unique.values(), key=lambda study: study.study_date, reverse=True)
    return Found(tuple(ordered[:most]), cut=len(ordered) > most)


def _silence_libraries() -> None:
    """Keep the libraries' remarks out of all logs: they quote the patient's id from the query."""
    from pynetdicom import _config

    _config.LOG_HANDLER_LEVEL = "none"
    _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
    for name in ("pynetdicom", "urllib3.connectionpool"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
