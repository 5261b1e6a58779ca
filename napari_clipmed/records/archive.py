"""Zip files whose every member is vouched for by a SHA-256 in a manifest; for backups and case bundles.

Reading them trusts nothing: sizes are bounded before anything is allocated, names never become paths unless a
caller's pattern allows them, and each byte is checked against the manifest.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, Self
from uuid import uuid4

from napari_clipmed.errors import WorkspaceError

MANIFEST = "manifest.json"
LARGEST_MANIFEST = 64 << 20
MOST_MEMBERS = 1_000_000
CHUNK = 1 << 20

Tell = Callable[[str, int, int], object]
"""Told what is being done, how many are done, and of how many; raises to stop."""


@dataclass(frozen=True)
class Member:
    """A file of an archive, as its manifest describes it."""

    name: str
    sha256: str
    size: int


class ArchiveWriter:
    """Adds files to an archive that appears under its name only when it is whole and was read back.

    Parameters
    ----------
    path : Path
        Must not exist.
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path, self._archive = path, archive
        self._members: dict[str, Member] = {}

    @property
    def names(self) -> set[str]:
        """Names of the members so far."""
        return set(self._members)

    def add(self, name: str, content: bytes) -> None:
        """Add a small file."""
        self._archive.writestr(name, content)
        self._members[name] = Member(name, sha256(content).hexdigest(), len(content))

    def add_file(self, name: str, path: Path) -> None:
        """Add a file of any size, piece by piece."""
        digest, size = sha256(), 0
        with path.open("rb") as source, self._archive.open(name, "w", force_zip64=True) as target:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
                target.write(chunk)
        self._members[name] = Member(name, digest.hexdigest(), size)

    def finish(self, what: dict[str, Any]) -> None:
        """Write the manifest."""
        members = {m.name: {"sha256": m.sha256, "size": m.size} for m in self._members.values()}
        manifest = json.dumps(what | {"members": members}, indent=1)
        self._archive.writestr(MANIFEST, manifest)


@contextmanager
def new_archive(path: Path) -> Iterator[ArchiveWriter]:
    """An archive under way; it is verified and gets its name when the block ends well, else vanishes.

    Raises
    ------
    WorkspaceError
        When there is a file of that name, nothing can be written there, or the disk is full.
    """
    if path.exists():
        raise WorkspaceError(f"There is already a file {path}; it was left as it is.", "Choose another name.")
    unfinished = path.with_name(f".{path.name}.{uuid4().hex[:8]}.part")
    try:
        with zipfile.ZipFile(unfinished, "x", zipfile.ZIP_DEFLATED) as archive:
            yield ArchiveWriter(path, archive)
        with ArchiveReader.open(unfinished) as written:
            written.verify()
        _put_in_place(unfinished, path)
    except FileExistsError as error:
        raise WorkspaceError(f"There is already a file {path}; it was left as it is.") from error
    except OSError as error:
        raise WorkspaceError(
            f"{path} could not be written ({error.strerror or error}).",
            "Choose another place, or free some space.",
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def _put_in_place(unfinished: Path, path: Path) -> None:
    """Give a file its name without replacing one that somebody just made; a plain rename would."""
    try:
        path.hardlink_to(unfinished)
    except FileExistsError:
        raise
    except OSError:  # a drive without hard links
        with path.open("xb"):
            pass
        unfinished.replace(path)


class ArchiveReader:
    """A checked look into an archive.

    Attributes
    ----------
    manifest : dict
        What the manifest says, without the list of members.
    members : dict of str to Member
    """

    def __init__(self, path: Path, archive: zipfile.ZipFile) -> None:
        self._path, self._archive = path, archive
        content = self._read(MANIFEST, LARGEST_MANIFEST)
        try:
            self.manifest = dict(json.loads(content))
            listed = dict(self.manifest.pop("members"))
            self.members = {
                name: Member(str(name), str(entry["sha256"]), int(entry["size"]))
                for name, entry in listed.items()
            }
        except (ValueError, TypeError, KeyError) as error:
            raise self.damaged("its list of contents is unreadable") from error
        inside = [info.filename for info in archive.infolist()]
        if len(inside) != len(set(inside)) or set(inside) != {*self.members, MANIFEST}:
            raise self.damaged("it does not hold what its list of contents names")
        if len(inside) > MOST_MEMBERS:
            raise self.damaged("it holds too many files")

    @classmethod
    @contextmanager
    def open(cls, path: Path) -> Iterator[Self]:
        """Open an archive for reading.

        Raises
        ------
        WorkspaceError
            When the file is missing, no zip file, cut short, or not as its manifest says.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                yield cls(path, archive)
        except FileNotFoundError as error:
            raise WorkspaceError(f"There is no file {path}.", "Check the path.") from error
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise WorkspaceError(
                f"{path} is damaged or no archive of ours ({error}).", "Use another copy."
            ) from error
        except OSError as error:
            raise WorkspaceError(f"{path} could not be read ({error.strerror or error}).") from error

    def read(self, name: str, largest: int) -> bytes:
        """A member's bytes, checked; refused unread when the manifest gives it more than `largest`."""
        member = self.members.get(name)
        if member is None:
            raise self.damaged(f"{name} is missing")
        if member.size > largest:
            raise self.damaged(f"{name} is larger than it may be")
        content = self._read(name, member.size)
        if len(content) != member.size or sha256(content).hexdigest() != member.sha256:
            raise self.damaged(f"{name} is not what was put in")
        return content

    def copy(self, name: str, target: IO[bytes] | None = None) -> None:
        """Check a member's bytes, and write them into an open file on the way."""
        member, digest, size = self.members[name], sha256(), 0
        with self._archive.open(name) as source:
            while chunk := source.read(min(CHUNK, member.size - size + 1)):
                size += len(chunk)
                if size > member.size:
                    break
                digest.update(chunk)
                if target is not None:
                    target.write(chunk)
        if size != member.size or digest.hexdigest() != member.sha256:
            raise self.damaged(f"{name} is not what was put in")

    def verify(self, tell: Tell | None = None) -> None:
        """Check every member, keeping none in memory."""
        for number, name in enumerate(self.members, 1):
            if tell:
                tell("Checking", number, len(self.members))
            self.copy(name)

    def damaged(self, why: str) -> WorkspaceError:
        """The error for an archive that is not as it was written."""
        return WorkspaceError(
            f"{self._path} is damaged: {why}. Nothing was taken from it.", "Use another copy."
        )

    def _read(self, name: str, largest: int) -> bytes:
        try:
            with self._archive.open(name) as source:
                content = source.read(largest + 1)
        except KeyError as error:
            raise self.damaged(f"{name} is missing") from error
        if len(content) > largest:
            raise self.damaged(f"{name} is larger than it may be")
        return content
