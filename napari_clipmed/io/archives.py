"""Zip archives of studies, unpacked within limits into a private folder that goes when the program ends.

An archive from a stranger may lie about sizes, name files outside its folder or unpack to terabytes. So
member names never become paths, bytes are counted while they are written, and only images are kept.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from threading import Lock

from napari_clipmed.errors import UnreadableFileError
from napari_clipmed.io.dicom_headers import looks_like_dicom
from napari_clipmed.io.images import looks_like_picture
from napari_clipmed.progress import Progress

MOST_BYTES = 4 * 2**30
"""All images of an archive together may unpack to 4 GiB; a run of 1,000 frames of 1024² takes half of it."""

MOST_MEMBERS = 20_000
CHUNK = 2**20
ARCHIVES = {".zip", ".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz"}

DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError)
"""What `zipfile` raises on damaged, encrypted or exotic archives."""


@dataclass(frozen=True)
class Unpacked:
    """The images of an archive.

    Parameters
    ----------
    paths : tuple of Path
        Unpacked files, in order of their names in the archive.
    notes : tuple of str
        What could not be unpacked.
    """

    paths: tuple[Path, ...]
    notes: tuple[str, ...]
    folder: tempfile.TemporaryDirectory[str]


_kept: dict[tuple[Path, int, int], Unpacked] = {}
_lock = Lock()


def is_zip(path: Path) -> bool:
    """Whether a file begins as a zip archive does."""
    try:
        with path.open("rb") as file:
            return file.read(4) in (b"PK\3\4", b"PK\5\6")
    except OSError:
        return False


def holds_dicom(path: Path, looked_at: int = 64) -> bool:
    """Whether one of the first members of a zip archive is DICOM; reads a few bytes of each."""
    try:
        with zipfile.ZipFile(path) as archive:
            for member in archive.infolist()[:looked_at]:
                with archive.open(member) as file:
                    if looks_like_dicom(file.read(256)):
                        return True
    except DAMAGE:
        return False
    return False


def unpacked(path: Path, progress: Progress | None = None) -> Unpacked:
    """The images of an archive, unpacked once a session; the source is never changed.

    Raises
    ------
    UnreadableFileError
        When it is damaged, encrypted, or unpacks to more than fits.
    """
    state = path.stat()
    key = (path.resolve(), state.st_mtime_ns, state.st_size)
    with _lock:
        if key not in _kept:
            _kept[key] = _unpack(path, progress or Progress())
        return _kept[key]


def _unpack(path: Path, progress: Progress) -> Unpacked:
    folder = tempfile.TemporaryDirectory(prefix="clipmed-", ignore_cleanup_errors=True)
    root = Path(folder.name)
    limit = min(MOST_BYTES, shutil.disk_usage(root).free // 2)
    paths: list[Path] = []
    broken: list[str] = []
    try:
        with zipfile.ZipFile(path) as archive:
            members = sorted((m for m in archive.infolist() if not m.is_dir()), key=lambda m: m.filename)
            if len(members) > MOST_MEMBERS:
                raise UnreadableFileError(
                    f"{path.name} holds {len(members):,} files.", "Unpack it and open a part of it."
                )
            for index, member in enumerate(members):
                progress.step(f"Unpacking {path.name}", index, len(members))
                target = root / f"{index:05d}" / _safe_name(member.filename)
                try:
                    limit -= _write(archive, member, target, limit, progress)
                except DAMAGE:
                    broken.append(target.name)
                    target.unlink(missing_ok=True)
                if limit < 0:
                    raise UnreadableFileError(
                        f"{path.name} unpacks to more than fits here.", "Unpack it and open a part of it."
                    )
                paths += [target] if target.exists() else []
    except DAMAGE as error:
        folder.cleanup()
        raise UnreadableFileError(
            f"The archive {path.name} is damaged ({type(error).__name__}).", "Download or pack it again."
        ) from error
    except BaseException:
        folder.cleanup()
        raise
    if broken and not paths:
        folder.cleanup()
        raise UnreadableFileError(
            f"Nothing of the archive {path.name} can be unpacked; it is damaged or encrypted.",
            "Unpack it with its password, or pack it again.",
        )
    inner = [_safe_name(member.filename) for member in members if _is_archive(member.filename)]
    if members and not paths:
        folder.cleanup()
        what = f"other archives only: {_some(inner)}" if inner else "no image"
        raise UnreadableFileError(
            f"The archive {path.name} holds {what}.",
            "Unpack it first." if inner else "Choose an archive of DICOM, PNG, JPEG or TIFF files.",
        )
    notes = []
    if broken:
        notes.append(f"{len(broken)} files of {path.name} could not be unpacked: {_some(broken)}.")
    if inner:
        notes.append(f"Archives inside {path.name} were not looked into: {_some(inner)}; unpack it first.")
    return Unpacked(tuple(paths), tuple(notes), folder)


def _is_archive(name: str) -> bool:
    """Whether a member is called like an archive."""
    return PurePosixPath(name).suffix.lower() in ARCHIVES


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")


def _write(
    archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, limit: int, progress: Progress
) -> int:
    """Write a member that is an image; how many bytes it had, at most a chunk more than the limit."""
    with archive.open(member) as source:
        chunk = source.read(CHUNK)
        if not (looks_like_dicom(chunk) or looks_like_picture(chunk)):
            return 0
        target.parent.mkdir(parents=True, exist_ok=True)
        written = 0
        with target.open("wb") as file:
            while chunk and written <= limit:
                progress.step(f"Unpacking {target.name}")
                file.write(chunk)
                written += len(chunk)
                chunk = source.read(CHUNK)
    return written


def _safe_name(name: str) -> str:
    """The last part of a member's name, without anything that a file system could misunderstand."""
    last = PurePosixPath(name.replace("\\", "/")).name
    return re.sub(r"[^\w.() +-]", "_", last)[-100:].lstrip(".") or "file"
