"""Files that are either whole or absent, named by their content."""

from __future__ import annotations

import contextlib
import io
import math
import time
import zipfile
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_clipmed.errors import WorkspaceError
from napari_clipmed.whole_files import whole_file

PARTIAL = "partial"
"""Folder of a workspace for files being written; on the same disk, so that a rename is atomic."""

STALE_AFTER_S = 3600.0


def write_atomically(path: Path, content: bytes, partial: Path) -> None:
    """Write a file so that it is seen whole or not at all, and outlives a power cut.

    Parameters
    ----------
    path : Path
        Destination; its folder is created.
    content : bytes
        All of it.
    partial : Path
        Folder on the same disk for the unfinished file.
    """
    with whole_file(path, replace=True, partial=partial) as unfinished:
        unfinished.touch(mode=0o600)  # patients' masks are for the owner of the workspace
        unfinished.write_bytes(content)


def remove_stale_partials(partial: Path) -> None:
    """Remove what killed programs left unfinished; young files may belong to a running one."""
    for leftover in partial.iterdir():
        with contextlib.suppress(OSError):  # another program may be tidying too
            if time.time() - leftover.stat().st_mtime > STALE_AFTER_S:
                leftover.unlink()


def store_content(folder: Path, content: bytes, suffix: str, partial: Path) -> str:
    """Put bytes under their SHA-256 and return it; the same bytes are kept once."""
    digest = sha256(content).hexdigest()
    path = content_path(folder, digest, suffix)
    if not path.exists():
        write_atomically(path, content, partial)
    return digest


def load_content(folder: Path, digest: str, suffix: str) -> bytes:
    """Read bytes by their SHA-256.

    Raises
    ------
    WorkspaceError
        When the file is missing or is no longer what was stored.
    """
    path = content_path(folder, digest, suffix)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise WorkspaceError(
            f"The file {path} is missing from the workspace.", "Restore it from a backup."
        ) from error
    if sha256(content).hexdigest() != digest:
        raise WorkspaceError(f"The file {path} was altered after it was stored.", "Restore it from a backup.")
    return content


def content_path(folder: Path, digest: str, suffix: str) -> Path:
    """Where the content of that hash lies."""
    return folder / digest[:2] / f"{digest}{suffix}"


def encode_mask(mask: NDArray[np.bool_]) -> bytes:
    """A (H, W) boolean mask as PNG, one bit a pixel."""
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(mask, dtype=bool)).save(stream, format="PNG", optimize=True)
    return stream.getvalue()


def decode_mask(content: bytes) -> NDArray[np.bool_]:
    """The (H, W) boolean mask of a PNG."""
    with Image.open(io.BytesIO(content)) as image:
        return np.array(image, dtype=bool)


def mask_size(content: bytes) -> tuple[int, int] | None:
    """Rows and columns of a mask file, read from its header; None for anything but a one-bit PNG."""
    try:
        with Image.open(io.BytesIO(content), formats=["PNG"]) as image:
            return (image.height, image.width) if image.mode == "1" else None
    except (OSError, Image.DecompressionBombError):
        return None


def encode_arrays(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """Named arrays as compressed npz; equal arrays give equal bytes."""
    stream = io.BytesIO()
    np.savez_compressed(stream, allow_pickle=False, **{name: arrays[name] for name in sorted(arrays)})
    return stream.getvalue()


def decode_arrays(content: bytes, largest: int = 1 << 40) -> dict[str, NDArray[Any]]:
    """The named arrays of an npz; pickled objects are refused.

    Parameters
    ----------
    content : bytes
    largest : int
        Bytes that all arrays together may take, for files from strangers.

    Raises
    ------
    ValueError
        When an array's header asks for more than there is, or all together are too large.
    """
    stream = io.BytesIO(content)
    with zipfile.ZipFile(stream) as archive:
        if sum(info.file_size for info in archive.infolist()) > largest:
            raise ValueError("the arrays are too large")
        for info in archive.infolist():
            with archive.open(info) as member:
                _check_header(member, info.file_size)
    stream.seek(0)
    with np.load(stream, allow_pickle=False) as found:
        return {name: found[name] for name in found.files}


def _check_header(member: IO[bytes], size: int) -> None:
    """Whether an npy file is as long as its header says, before memory is taken for it."""
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(member)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize > size:
        raise ValueError("an array is not as long as it says")
