"""From the paths that a person gives to the studies they stand for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path

from napari_clipmed.errors import Cancelled, ClipmedError, UnreadableFileError
from napari_clipmed.io import holds_several, list_studies
from napari_clipmed.progress import Progress


@dataclass(frozen=True)
class StudySource:
    """Files that make one study, or the reason why there is none."""

    paths: tuple[Path, ...]
    problem: ClipmedError | None = None

    @property
    def title(self) -> str:
        """File names, for the screen."""
        names = [path.name for path in self.paths]
        return " + ".join(names) if len(names) < 4 else f"{names[0]} … {names[-1]}"


def find_sources(paths: Sequence[Path], progress: Progress) -> Iterator[StudySource]:
    """The studies that paths stand for, in their order.

    A folder or archive gives every study in it. Files of one folder that belong together (the two planes of
    a biplane run) are one study; each other file is one of its own.
    """
    given = {path.resolve() for path in paths if not holds_several(path)}
    taken: set[Path] = set()
    for path in paths:
        if path.resolve() in taken:
            continue
        try:
            if holds_several(path):
                for entry in list_studies(path, progress):
                    yield StudySource(entry.paths)
            else:
                group = _companions(path, given, progress)
                taken.update(part.resolve() for part in group)
                yield StudySource(group)
        except Cancelled:
            raise
        except ClipmedError as problem:
            yield StudySource((path,), problem)


def source_hash(paths: Iterable[Path]) -> str:
    """SHA-256 over the bytes of the files of a study, in order; names and places do not count.

    Raises
    ------
    UnreadableFileError
        When a file is missing or cannot be read.
    """
    digest = sha256()
    for path in paths:
        try:
            with path.open("rb") as file:
                digest.update(file_digest(file, "sha256").digest())
        except OSError as error:
            raise UnreadableFileError(
                f"{path.name} cannot be read ({error.strerror or error}).", "Check the path."
            ) from error
    return digest.hexdigest()


def _companions(path: Path, given: Iterable[Path], progress: Progress) -> tuple[Path, ...]:
    """The file, and those of the given files in its folder that are read with it."""
    beside = [other for other in given if other.parent == path.resolve().parent]
    if len(beside) < 2 or not path.is_file():
        return (path,)
    for entry in list_studies(path.parent, progress):
        parts = {part.resolve() for part in entry.paths}
        if path.resolve() in parts and parts <= set(beside):
            return entry.paths
    return (path,)
