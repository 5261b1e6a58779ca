"""An array-like of frames that makes each frame when it is asked for; the base of every lazy run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

Region = tuple[slice, slice]

WHOLE: Region = (slice(None), slice(None))


class LazyFrames(ABC):
    """Frames (T, H, W) that behave like an ndarray when they are read.

    Parameters
    ----------
    shape : (int, int, int)
        T, H, W.
    dtype : dtype
        Of every frame.
    """

    ndim = 3

    def __init__(self, shape: tuple[int, int, int], dtype: DTypeLike) -> None:
        self.shape = shape
        self.dtype: np.dtype[Any] = np.dtype(dtype)

    @abstractmethod
    def frame(self, index: int, region: Region = WHOLE) -> NDArray[Any]:
        """A part of frame number `index` (from 0); the caller must not write into it."""

    @property
    def size(self) -> int:
        """T × H × W."""
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """What the whole run would take in memory."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return (self.frame(index) for index in range(len(self)))

    def __getitem__(self, index: Any, /) -> Any:
        first, *inner = index if isinstance(index, tuple) else (index,)
        if first is Ellipsis:
            first, inner = slice(None), [slice(None)] * (2 - len(inner)) + inner
        sliced = all(isinstance(part, slice) for part in inner)
        region = tuple(inner[:2]) if sliced else ()
        region += (slice(None),) * (2 - len(region))
        if isinstance(first, int | np.integer):
            frame = self.frame(self._position(int(first)), region)
            return frame if sliced else frame[tuple(inner)]
        chosen = np.arange(len(self))[first]
        stack = self._stack([int(number) for number in chosen.ravel()], region)
        return stack if sliced else stack[(slice(None), *inner)]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("A lazy run is made anew; it cannot be had without a copy")
        run = self._stack(range(len(self)), WHOLE)
        return run if dtype is None else run.astype(dtype, copy=False)

    def _position(self, index: int) -> int:
        if not -len(self) <= index < len(self):
            raise IndexError(f"There is no frame {index}; the run has {len(self)}")
        return index % len(self)

    def _stack(self, numbers: Any, region: Region) -> NDArray[Any]:
        shape = np.broadcast_to(np.False_, self.shape[1:])[region].shape
        stack = np.empty((len(numbers), *shape), self.dtype)
        for place, number in enumerate(numbers):
            stack[place] = self.frame(number, region)
        return stack


class Recent:
    """The last few arrays that were made, within a number of bytes; safe from any thread.

    Parameters
    ----------
    budget : int
        Bytes that are kept; the newest array always is.
    """

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._kept: OrderedDict[Hashable, NDArray[Any]] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable) -> NDArray[Any] | None:
        """The array of a key, where it is still kept."""
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            return found

    def get_or_make(self, key: Hashable, make: Callable[[], NDArray[Any]]) -> NDArray[Any]:
        """The array of a key; made, and kept for a while, where it is not there."""
        found = self.get(key)
        if found is None:
            found = make()
            found.flags.writeable = False  # one array serves many readers
            self._keep(key, found)
        return found

    def _keep(self, key: Hashable, array: NDArray[Any]) -> None:
        with self._lock:
            self._kept[key] = array
            used = sum(kept.nbytes for kept in self._kept.values())
            while used > self._budget and len(self._kept) > 1:
                used -= self._kept.popitem(last=False)[1].nbytes
