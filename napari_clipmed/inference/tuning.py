"""How many images at a time on how many threads: measured once for each machine and model."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import psutil
import torch

from napari_clipmed.inference.device import Compute
from napari_clipmed.inference.measured_once import MeasuredOnce

_log = logging.getLogger(__name__)

PACES = MeasuredOnce("pace")

CHUNKS = {"cpu": (4, 8, 16), "cuda": (16, 32, 64), "mps": (8, 16, 32)}
"""Images at a time that are tried. Too few leave cores waiting, too many fall out of the cache."""

MOST_SECONDS = 4.0
"""After this long the measurement ends with the best so far."""


@dataclass(frozen=True)
class Pace:
    """Images at a time, and CPU threads."""

    chunk: int
    threads: int


def pace_for(read: Callable[[torch.Tensor], object], size: int, compute: Compute, model_hash: str) -> Pace:
    """The fastest pace of what reads images on this machine, from the file of earlier measurements if there.

    Parameters
    ----------
    read : callable
        Takes images (n, 3, S, S) as `Compute.send` gives them.
    size : int
        S, side of its input.
    compute : Compute
        Where it lies; its threads are the most that are tried.
    model_hash : str
        SHA-256 of its weights.
    """
    name = PACES.name(compute.device, compute.precision, compute.threads, size, model_hash)
    known = PACES.recall(name)
    if isinstance(known, dict) and known.keys() == {"chunk", "threads"} and _sane(known, compute):
        return Pace(**known)
    pace = measure(read, size, compute)
    _log.info("%s: %d images at a time on %d threads", compute.device, pace.chunk, pace.threads)
    PACES.remember(name, asdict(pace))
    return pace


def measure(read: Callable[[torch.Tensor], object], size: int, compute: Compute) -> Pace:
    """Time the tower on noise with every pace; the number of threads that torch has is left as it was."""
    chunks = CHUNKS[compute.device]
    images = compute.send(torch.rand(max(chunks), 3, size, size))
    times: dict[Pace, float] = {}
    began = time.perf_counter()
    with torch.inference_mode():
        _read_all(read, images[: min(chunks)], min(chunks))  # the first call is slower than all others
        for threads in _thread_counts(compute):
            with _threads(threads):
                for chunk in chunks:
                    if times and time.perf_counter() - began > MOST_SECONDS:
                        break
                    start = time.perf_counter()
                    _read_all(read, images, chunk)
                    times[Pace(chunk, threads)] = time.perf_counter() - start
    return min(times, key=lambda pace: times[pace])


def _read_all(read: Callable[[torch.Tensor], object], images: torch.Tensor, chunk: int) -> None:
    for some in images.split(chunk):
        read(some)
    if images.is_cuda:
        torch.cuda.synchronize()


def _thread_counts(compute: Compute) -> list[int]:
    """All threads allowed, and one a physical core where that is fewer: hyper-threads may help or not."""
    if compute.device != "cpu":
        return [compute.threads]
    physical = psutil.cpu_count(logical=False) or compute.threads
    return sorted({compute.threads, min(compute.threads, physical)}, reverse=True)


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _sane(known: dict[str, Any], compute: Compute) -> bool:
    chunk, threads = known["chunk"], known["threads"]
    return chunk in CHUNKS[compute.device] and isinstance(threads, int) and 1 <= threads <= compute.threads
