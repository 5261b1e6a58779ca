"""From paths to a study, off the GUI thread; a folder of several studies becomes a shelf to choose from.

What readers set about a study before is looked up here and applied, so that the study appears as it was left.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_clipmed.errors import ClipmedError
from napari_clipmed.progress import Progress

if TYPE_CHECKING:
    from napari_clipmed.io import StudyEntry
    from napari_clipmed.io.study_reader import Show
    from napari_clipmed.records import Setting, Store
    from napari_clipmed.study import Study

NOT_LOOKED_UP = "What was set about this study before could not be looked up: {why}"


@dataclass(frozen=True)
class Memory:
    """Where a job finds what readers set before.

    Parameters
    ----------
    store : callable or None
        Opens the annotation store; None where there is no workspace yet.
    me : str
        The reader's name, who is spoken of as "you".
    """

    store: Callable[[], Store] | None = None
    me: str = ""


@dataclass(frozen=True)
class Folder:
    """What a folder holds.

    Parameters
    ----------
    entries : tuple of StudyEntry
        Pairs taken apart and put together as readers set it.
    listed : tuple of StudyEntry
        As the files alone tell it.
    pairing : tuple of Setting
        What readers set about pairs of this folder.
    warnings : tuple of str
        Why those could not be looked up.
    """

    entries: tuple[StudyEntry, ...] = ()
    listed: tuple[StudyEntry, ...] = ()
    pairing: tuple[Setting, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Opened:
    """A study, and what lay beside it in the same folder.

    Parameters
    ----------
    study : Study
        To be shown, as readers set it.
    folder : Folder
        The study among its entries; empty for single files.
    position : int
        Which entry the study is.
    as_read : Study or None
        The study without what readers set; None where that is the same.
    settings : tuple of Setting
        What readers set about its runs.
    """

    study: Study
    folder: Folder = Folder()  # noqa: RUF009
    position: int = 0
    as_read: Study | None = None
    settings: tuple[Setting, ...] = ()

    @property
    def shelf(self) -> tuple[StudyEntry, ...]:
        """The entries to choose from."""
        return self.folder.entries


def read_paths(paths: Sequence[Path], progress: Progress, memory: Memory, show: Show | None = None) -> Opened:
    """Read one folder or archive, one file or several files of one examination.

    Parameters
    ----------
    show : callable, optional
        Receives the study, as read, as soon as its first picture can be shown; see `io.arriving`.
    """
    from napari_clipmed.io import holds_several, list_studies, open_study

    progress.step(f"Reading {paths[0].name}")
    if len(paths) > 1 or not holds_several(paths[0]):
        return as_left(open_study(paths[0] if len(paths) == 1 else paths, progress, show), memory)
    folder = folder_as_left(tuple(list_studies(paths[0], progress)), memory)
    for position in range(len(folder.entries)):
        try:
            return read_entry(folder, position, progress, memory, show)
        except ClipmedError:
            if progress.cancelled or position == len(folder.entries) - 1:
                raise
    raise AssertionError("list_studies answers with at least one entry")


def read_entry(
    folder: Folder, position: int, progress: Progress, memory: Memory, show: Show | None = None
) -> Opened:
    """Read one entry of a folder; `show` is that of `read_paths`."""
    from napari_clipmed.io import open_entry

    progress.step(f"Reading {folder.entries[position].title}")
    opened = as_left(open_entry(folder.entries[position], progress, show), memory, folder.warnings)
    return replace(opened, folder=folder, position=position)


def as_left(study: Study, memory: Memory, warnings: Sequence[str] = ()) -> Opened:
    """A study with what readers set about its runs before."""
    from napari_clipmed.remembered import as_set, recall

    notes = list(warnings)
    settings: tuple[Setting, ...] = ()
    if memory.store is not None:
        try:
            settings = tuple(recall(study, memory.store()))
        except ClipmedError as error:
            notes.append(NOT_LOOKED_UP.format(why=error.message))
    shown = as_set(study, settings, memory.me) if settings else study
    if notes:
        shown = replace(shown, warnings=(*shown.warnings, *dict.fromkeys(notes)))
    return Opened(shown, as_read=study, settings=settings)


def folder_as_left(listed: tuple[StudyEntry, ...], memory: Memory) -> Folder:
    """The entries of a folder with what readers set about pairs before."""
    from napari_clipmed.remembered import entries_as_set, recall_pairing

    if memory.store is None:
        return Folder(listed, listed)
    try:
        pairing = tuple(recall_pairing(listed, memory.store()))
    except ClipmedError as error:
        return Folder(listed, listed, warnings=(NOT_LOOKED_UP.format(why=error.message),))
    return Folder(tuple(entries_as_set(listed, pairing, memory.me)), listed, pairing)
