"""The next batches are read while the network learns from this one."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol


class _Batches(Sized, Protocol):
    def __iter__(self) -> Iterator[Any]: ...


class Ahead:
    """Batches of a loader in its order, a few of them read ahead on a thread.

    A thread, not processes: reading and decoding release Python's lock, an open annotation store cannot be
    handed to another process, and batches need not be copied between them.

    Parameters
    ----------
    batches : iterable with a length
        Read by one thread at a time.
    ahead : int
        Batches that are kept ready; they take memory.
    """

    def __init__(self, batches: _Batches, ahead: int = 2) -> None:
        self._batches, self._ahead = batches, ahead

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[Any]:
        source = iter(self._batches)
        end = object()
        with ThreadPoolExecutor(1, thread_name_prefix="batches ahead") as reader:
            ready: deque[Future[Any]] = deque(reader.submit(next, source, end) for _ in range(self._ahead))
            try:
                while (batch := ready.popleft().result()) is not end:
                    ready.append(reader.submit(next, source, end))
                    yield batch
            finally:
                for waiting in ready:  # stopped early: what was not begun is not read
                    waiting.cancel()
