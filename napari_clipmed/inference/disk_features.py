"""Features on disk, so that a study seen before is answered at once after a restart too.

Each feature is one safetensors file, named by the hash of its key, with the key and a hash of its data
inside. Whatever is not exactly what was written counts as not being there.
"""

from __future__ import annotations

import json
import logging
import os
from hashlib import sha256
from pathlib import Path
from typing import Any

from napari_clipmed.inference.features import KINDS, FeatureKey
from napari_clipmed.models.registry import user_folder
from napari_clipmed.whole_files import whole_file

_log = logging.getLogger(__name__)

SUFFIX = ".safetensors"


def features_folder() -> Path:
    """Where the window keeps its features."""
    return user_folder() / "cache" / "features"


class DiskFeatures:
    """A folder of features within a budget; the ones used longest ago go first.

    Parameters
    ----------
    folder : Path
        Made when something is first kept.
    budget_mb : float
        In MiB, for all files together.

    Notes
    -----
    Several processes may share a folder: files are replaced whole, and their content depends on their name
    only. Pictures shrunk to the network's input lie in it, without any identity.
    """

    def __init__(self, folder: Path, budget_mb: float) -> None:
        self.folder = folder
        self._budget = int(budget_mb * 2**20)

    def get(self, key: FeatureKey) -> Any | None:
        """The feature of a key; None where there is none, or its file is damaged (it is removed then)."""
        path = self._path(key)
        try:
            if path.stat().st_size > self._budget:
                return None
            content = path.read_bytes()
        except OSError:
            return None
        try:
            tensors = _unpack(content, key.text)
            value = KINDS[key.what].from_tensors(tensors, key.device)
        except (KeyError, ValueError) as error:
            _log.warning("a damaged feature was dropped: %s", error)
            path.unlink(missing_ok=True)
            return None
        _touch(path)
        return value

    def put(self, key: FeatureKey, value: Any) -> None:
        """Keep a feature; where the disk refuses, it is not kept and that is all."""
        content = _pack(value.to_tensors(), key.text)
        if len(content) > self._budget:
            return
        try:
            with whole_file(self._path(key), replace=True) as unfinished:
                unfinished.write_bytes(content)
            self._keep_to_the_budget()
        except OSError as error:
            _log.warning("a feature was not kept on disk: %s", error.strerror)

    def _path(self, key: FeatureKey) -> Path:
        return self.folder / (key.digest + SUFFIX)

    def _keep_to_the_budget(self) -> None:
        found = []
        for path in self.folder.glob("*" + SUFFIX):
            try:
                state = path.stat()
            except FileNotFoundError:  # another process was faster
                continue
            found.append((state.st_mtime_ns, state.st_size, path))
        used = sum(size for _, size, _ in found)
        for _, size, path in sorted(found):
            if used <= self._budget:
                break
            path.unlink(missing_ok=True)
            used -= size


def _pack(tensors: dict[str, Any], key: str) -> bytes:
    from safetensors.torch import save

    return save(tensors, {"key": key, "sha256": _hash_data(save(tensors))})


def _unpack(content: bytes, key: str) -> dict[str, Any]:
    """The tensors of a file.

    Raises
    ------
    ValueError
        When it is not a whole safetensors file of that key with unaltered data.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        written = json.loads(content[8 : 8 + _header_length(content)])["__metadata__"]
        if written["key"] != key or written["sha256"] != _hash_data(content):
            raise ValueError("its data are not what was written")
        return load(content)
    except (KeyError, TypeError, UnicodeDecodeError, SafetensorError) as error:
        raise ValueError("it is not a whole safetensors file") from error


def _header_length(content: bytes) -> int:
    """Length of the JSON header, after the eight bytes that give it (safetensors format)."""
    return int.from_bytes(content[:8], "little")


def _hash_data(content: bytes) -> str:
    return sha256(memoryview(content)[8 + _header_length(content) :]).hexdigest()


def _touch(path: Path) -> None:
    """Mark a file as used now; a folder that cannot be written still answers."""
    try:
        os.utime(path)
    except OSError:
        _log.debug("the time of %s could not be set", path.name)
