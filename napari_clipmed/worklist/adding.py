"""From files and folders to entries of the worklist, by headers; a bad file is an entry with a reason."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from napari_clipmed.errors import Cancelled, ClipmedError, UnreadableFileError
from napari_clipmed.io import StudyEntry, holds_several, is_picture, list_studies
from napari_clipmed.io.archives import is_zip
from napari_clipmed.io.dicom_headers import read_dicom
from napari_clipmed.io.listing import entries_of
from napari_clipmed.progress import Progress
from napari_clipmed.records import Listed
from napari_clipmed.study import Kind

SUFFIXES = (".dcm", ".ima", ".dicom")
"""Files that claim to be DICOM: one of them that cannot be read is told, not passed over."""


def entries_in(paths: Sequence[Path], progress: Progress) -> list[Listed]:
    """The entries that files and folders stand for, in their order.

    Files of one folder that belong together are one entry, as are the runs of a biplane pair in a folder.
    Whatever cannot be read is an entry with a `problem`, so that it is seen and does not stop the others.
    """
    found: list[Listed] = []
    files = [path.expanduser().absolute() for path in paths]
    single: dict[Path, list[Path]] = {}
    for path in files:
        if holds_several(path):
            found += _looked_into(path, progress)
        else:
            single.setdefault(path.parent, []).append(path)
    for some in single.values():
        found += _of_files(some, progress)
    return found


def _looked_into(path: Path, progress: Progress) -> Iterator[Listed]:
    """What a folder, an archive or a DICOMDIR holds."""
    archive = is_zip(path)
    root = path if path.is_dir() or archive else path.parent
    try:
        entries = list_studies(path, progress)
    except Cancelled:
        raise
    except ClipmedError as problem:
        bad = list(_unreadable(path, set(), progress)) if path.is_dir() else []
        yield from bad or [_bad(path.parent, path, problem)]
        return
    for entry in entries:
        yield _listed(root, entry, archive)
    if path.is_dir():
        yield from _unreadable(path, {file for entry in entries for file in entry.paths}, progress)


def _of_files(paths: list[Path], progress: Progress) -> Iterator[Listed]:
    """Single files of one folder."""
    there = [path for path in paths if path.is_file()]
    entries = entries_of(there, progress)
    yield from (_listed(there[0].parent, entry, archive=False) for entry in entries)
    known = {path for entry in entries for path in entry.paths}
    for path in paths:
        if path not in known:
            yield _bad(path.parent, path, why_unreadable(path))


def _unreadable(folder: Path, known: Iterable[Path], progress: Progress) -> Iterator[Listed]:
    """Files of a folder that claim to be DICOM and cannot be read; reports and duplicates are not told."""
    known = set(known)
    for path in sorted(folder.rglob("*")):
        progress.step("Looking for damaged files")
        if path.suffix.lower() in SUFFIXES and path not in known and path.is_file():
            try:
                read_dicom(path, with_pixels=False)
            except UnreadableFileError as problem:
                yield _bad(folder, path, problem)


def why_unreadable(path: Path) -> ClipmedError:
    """The sentence for a file that is no study."""
    if not path.exists():
        return UnreadableFileError(f"There is no file {path.name}.", "Check the spelling of the path.")
    if not is_picture(path):
        try:
            read_dicom(path, with_pixels=False)
        except UnreadableFileError as problem:
            return problem
    return UnreadableFileError(f"{path.name} holds no image.", "Choose DICOM, PNG, JPEG or TIFF files.")


def _bad(root: Path, path: Path, problem: ClipmedError) -> Listed:
    sentence = f"{problem.message} {problem.hint}".strip()
    return Listed(str(root), (path.relative_to(root).as_posix(),), Kind.OTHER.value, problem=sentence)


def name_in_archive(path: Path) -> str:
    """What names a file of an archive, wherever it was unpacked: its place and its name."""
    return "/".join(path.parts[-2:])


def _listed(root: Path, entry: StudyEntry, archive: bool) -> Listed:
    guess = entry.pairing
    names = (name_in_archive(p) if archive else p.relative_to(root).as_posix() for p in entry.paths)
    return Listed(
        root=str(root),
        paths=tuple(names),
        kind=entry.kind.value,
        sops=tuple(entry.sops),
        pairing=() if guess is None else (str(guess.what), guess.value, guess.reason),
        sequence=entry.sequence,
        archive=archive,
        synthetic=entry.synthetic,
    )
