"""A memory of features that were computed once, within a budget, and optionally on disk."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any, TypeVar

from napari_clipmed.inference.disk_features import DiskFeatures
from napari_clipmed.inference.features import FeatureKey

T = TypeVar("T")


@dataclass(frozen=True)
class CacheUse:
    """How full the cache is and how often it helped."""

    entries: int
    used_bytes: int
    budget_bytes: int
    hits: int
    misses: int
    from_disk: int = 0


class FeatureCache:
    """Least-recently-used store of tensors and arrays, safe from any thread.

    A key names everything the value depends on: pixel hash, preprocessing, model hash, and what it is; so a
    value never needs to be invalidated.

    Parameters
    ----------
    budget_mb : float
        Memory budget in MiB. The newest value is kept even when it alone is larger.
    disk : DiskFeatures, optional
        Where features (values under a `FeatureKey`) are kept beyond the end of the program.
    """

    def __init__(self, budget_mb: float = 512, disk: DiskFeatures | None = None) -> None:
        self.disk = disk
        self._budget = int(budget_mb * 2**20)
        self._values: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()
        self._lock = Lock()
        self._used = self._hits = self._misses = self._from_disk = 0

    def get(self, key: Hashable) -> Any | None:
        """The value of a key, or None; off the GUI thread only where there is a disk."""
        with self._lock:
            found = self._values.get(key)
            if found is not None:
                self._hits += 1
                self._values.move_to_end(key)
                return found[0]
        value = self.disk.get(key) if self.disk is not None and isinstance(key, FeatureKey) else None
        with self._lock:
            self._misses += value is None
            self._from_disk += value is not None
        if value is not None:
            self._remember(key, value)
        return value

    def put(self, key: Hashable, value: Any) -> None:
        """Remember a value and forget the least recently used ones beyond the budget."""
        self._remember(key, value)
        if self.disk is not None and isinstance(key, FeatureKey):
            self.disk.put(key, value)

    def get_or_make(self, key: Hashable, make: Callable[[], T]) -> T:
        """The value of a key, made by `make` where it is not known. `make` runs outside the lock."""
        found = self.get(key)
        if found is None:
            found = make()
            self.put(key, found)
        return found

    def clear(self) -> None:
        """Forget everything in memory; what is on disk stays."""
        with self._lock:
            self._values.clear()
            self._used = 0

    @property
    def use(self) -> CacheUse:
        """How full it is and how often it helped."""
        with self._lock:
            return CacheUse(
                len(self._values), self._used, self._budget, self._hits, self._misses, self._from_disk
            )

    def _remember(self, key: Hashable, value: Any) -> None:
        size = size_of(value)
        with self._lock:
            _, old = self._values.pop(key, (None, 0))
            self._values[key] = (value, size)
            self._used += size - old
            while self._used > self._budget and len(self._values) > 1:
                _, (_, forgotten) = self._values.popitem(last=False)
                self._used -= forgotten


def size_of(value: Any) -> int:
    """Bytes of all arrays and tensors in a value: bare, in containers, or in the fields of an object."""
    if hasattr(value, "nbytes"):
        return int(value.nbytes)
    if isinstance(value, Mapping):
        return sum(size_of(part) for part in value.values())
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, Iterable):
        return sum(size_of(part) for part in value)
    return sum(size_of(part) for part in vars(value).values()) if hasattr(value, "__dict__") else 0
