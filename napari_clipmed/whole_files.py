"""Files that are seen whole or not at all, and that never replace another one unasked."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

from napari_clipmed.errors import ClipmedError


@contextlib.contextmanager
def whole_file(path: Path, *, replace: bool = False, partial: Path | None = None) -> Iterator[Path]:
    """A path to write to; it becomes `path` when the block ends well, and vanishes when it does not.

    Parameters
    ----------
    path : Path
        Destination; its folder is created.
    replace : bool
        Whether a file that is there already may be replaced.
    partial : Path, optional
        Folder on the same disk for the unfinished file; beside the destination where absent. The name keeps
        the suffix, since many writers choose their format by it.

    Raises
    ------
    ClipmedError
        When the file exists and may not be replaced.
    """
    refuse_existing(path, replace)
    partial = partial or path.parent
    for folder in (partial, path.parent):
        folder.mkdir(parents=True, exist_ok=True)
    unfinished = partial / f".unfinished-{uuid4().hex}{path.suffix}"
    try:
        yield unfinished
        _make_durable(unfinished, os.O_RDWR)
        unfinished.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            unfinished.unlink(missing_ok=True)
        raise
    if os.name == "posix":  # the new name itself; Windows has no such call and needs none
        _make_durable(path.parent, os.O_RDONLY)


@contextlib.contextmanager
def all_or_none() -> Iterator[list[Path]]:
    """A list for the paths of new files; they are removed again when the block does not end well."""
    written: list[Path] = []
    try:
        yield written
    except BaseException:
        for path in written:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
        for folder in {path.parent for path in written}:
            with contextlib.suppress(OSError):
                folder.rmdir()  # where nothing else is left in it
        raise


def refuse_existing(path: Path, replace: bool) -> None:
    """Raise where writing would lose what somebody has.

    Raises
    ------
    ClipmedError
    """
    if path.exists() and not replace:
        raise ClipmedError(
            f"{path} exists already.", "Choose another place; on the command line --force replaces it."
        )


def _make_durable(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
