"""From paths to a study, off the GUI thread; a folder of several studies becomes a shelf to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_clipmed.errors import ClipmedError
from napari_clipmed.progress import Progress

if TYPE_CHECKING:
    from napari_clipmed.io import StudyEntry
    from napari_clipmed.io.study_reader import Show
    from napari_clipmed.study import Study


@dataclass(frozen=True, eq=False)
class Opened:
    """A study, and what lay beside it in the same folder.

    Parameters
    ----------
    study : Study
        To be shown.
    shelf : tuple of StudyEntry
        Everything that the folder holds, the study among it; empty for single files.
    position : int
        Which entry of the shelf the study is.
    """

    study: Study
    shelf: tuple[StudyEntry, ...] = ()
    position: int = 0


def read_paths(paths: Sequence[Path], progress: Progress, show: Show | None = None) -> Opened:
    """Read one folder or archive, one file or several files of one examination.

    Parameters
    ----------
    show : callable, optional
        Receives the study as soon as its first picture can be shown; see `io.arriving`.
    """
    from napari_clipmed.io import holds_several, list_studies, open_study

    progress.step(f"Reading {paths[0].name}")
    if len(paths) > 1 or not holds_several(paths[0]):
        return Opened(open_study(paths[0] if len(paths) == 1 else paths, progress, show))
    shelf = tuple(list_studies(paths[0], progress))
    if len(shelf) == 1:
        return read_entry(shelf, 0, progress, show)
    for position in range(len(shelf)):
        try:
            return read_entry(shelf, position, progress, show)
        except ClipmedError:
            if progress.cancelled or position == len(shelf) - 1:
                raise
    raise AssertionError("list_studies answers with at least one entry")


def read_entry(
    shelf: Sequence[StudyEntry], position: int, progress: Progress, show: Show | None = None
) -> Opened:
    """Read one entry of a shelf; `show` is that of `read_paths`."""
    from napari_clipmed.io import open_entry

    progress.step(f"Reading {shelf[position].title}")
    return Opened(open_entry(shelf[position], progress, show), tuple(shelf), position)
