"""From an entry of the worklist back to its study."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from napari_clipmed.errors import UnreadableFileError
from napari_clipmed.io import StudyEntry, list_studies, open_entry
from napari_clipmed.progress import Progress
from napari_clipmed.records import Listed
from napari_clipmed.remembered import as_set, recall
from napari_clipmed.study import Guess, Kind, Study
from napari_clipmed.worklist.adding import name_in_archive

if TYPE_CHECKING:
    from napari_clipmed.records import Store

GONE = "{name} is no longer where it was added."
GONE_HINT = "Connect its drive, or add its folder again from where it lies now."


def missing(listed: Listed) -> str:
    """Why the files of an entry are not there; empty where they are."""
    gone = next((path for path in listed.files if not path.is_file()), None)
    return "" if gone is None else f"{GONE.format(name=gone.name)} {GONE_HINT}"


def entry_of(listed: Listed, progress: Progress | None = None) -> StudyEntry:
    """What `io.open_entry` opens.

    Raises
    ------
    UnreadableFileError
        When files are not there any more.
    """
    gone = next((path for path in listed.files if not path.is_file()), None)
    if gone is not None:
        raise UnreadableFileError(GONE.format(name=gone.name), GONE_HINT)
    if listed.archive:
        return _in_archive(listed, progress or Progress())
    return StudyEntry(
        paths=listed.files,
        kind=Kind(listed.kind),
        pairing=Guess(*listed.pairing) if len(listed.pairing) == 3 else None,
        sequence=listed.sequence,
        sops=listed.sops,
    )


def read_study(listed: Listed, store: Store | None = None, progress: Progress | None = None) -> Study:
    """The study of an entry, as readers set it.

    Raises
    ------
    UnreadableFileError
        When it cannot be read.
    """
    study = open_entry(entry_of(listed, progress), progress)
    return study if store is None else as_set(study, recall(study, store))


def _in_archive(listed: Listed, progress: Progress) -> StudyEntry:
    for entry in list_studies(Path(listed.root), progress):
        same = entry.sops == listed.sops if any(listed.sops) else False
        if same or tuple(map(name_in_archive, entry.paths)) == listed.paths:
            return entry
    raise UnreadableFileError(
        f"{Path(listed.root).name} no longer holds this study.", "Add the archive again."
    )
