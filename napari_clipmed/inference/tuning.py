"""How many images at a time on how many threads: measured once for each machine and model."""

from __future__ import annotations

import json
import logging
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import torch

from napari_clipmed.inference.device import Compute
from napari_clipmed.models.registry import user_folder
from napari_clipmed.whole_files import whole_file

if TYPE_CHECKING:
    from open_clip.modified_resnet import ModifiedResNet

_log = logging.getLogger(__name__)

CHUNKS = {"cpu": (4, 8, 16), "cuda": (16, 32, 64), "mps": (8, 16, 32)}
"""Images at a time that are tried. Too few leave cores waiting, too many fall out of the cache."""

MOST_SECONDS = 4.0
"""After this long the measurement ends with the best so far."""


@dataclass(frozen=True)
class Pace:
    """Images at a time, and CPU threads."""

    chunk: int
    threads: int


def pace_for(visual: ModifiedResNet, size: int, compute: Compute, model_hash: str) -> Pace:
    """The fastest pace of an image tower on this machine, from the file of earlier measurements if there.

    Parameters
    ----------
    visual : ModifiedResNet
        Frozen (`Compute.freeze`).
    size : int
        Side of its input.
    compute : Compute
        Where it lies; its threads are the most that are tried.
    model_hash : str
        SHA-256 of its weights.
    """
    name = _name(size, compute, model_hash)
    known = _read().get(name)
    if isinstance(known, dict) and known.keys() == {"chunk", "threads"} and _sane(known, compute):
        return Pace(**known)
    pace = measure(visual, size, compute)
    _log.info("%s: %d images at a time on %d threads", compute.device, pace.chunk, pace.threads)
    _write(_read() | {name: asdict(pace)})
    return pace


def measure(visual: ModifiedResNet, size: int, compute: Compute) -> Pace:
    """Time the tower on noise with every pace; the number of threads that torch has is left as it was."""
    chunks = CHUNKS[compute.device]
    images = compute.send(torch.rand(max(chunks), 3, size, size))
    times: dict[Pace, float] = {}
    began = time.perf_counter()
    with torch.inference_mode():
        _read_all(visual, images[: min(chunks)], min(chunks))  # the first call is slower than all others
        for threads in _thread_counts(compute):
            with _threads(threads):
                for chunk in chunks:
                    if times and time.perf_counter() - began > MOST_SECONDS:
                        break
                    start = time.perf_counter()
                    _read_all(visual, images, chunk)
                    times[Pace(chunk, threads)] = time.perf_counter() - start
    return min(times, key=lambda pace: times[pace])


def pace_file() -> Path:
    """Where measurements are remembered."""
    return user_folder() / "cache" / "pace.json"


def _read_all(visual: ModifiedResNet, images: torch.Tensor, chunk: int) -> None:
    for some in images.split(chunk):
        visual.forward_intermediates(some, indices=[4], intermediates_only=True)
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


def _name(size: int, compute: Compute, model_hash: str) -> str:
    """Everything that the pace may depend on."""
    machine = [platform.machine(), platform.processor(), str(psutil.cpu_count()), torch.__config__.show()]
    if compute.device == "cuda":
        machine.append(torch.cuda.get_device_name())
    versions = (version("napari-clipmed"), torch.__version__)
    parts = (machine, versions, compute.device, compute.precision, compute.threads, size, model_hash)
    return sha256(repr(parts).encode()).hexdigest()[:32]


def _sane(known: dict[str, Any], compute: Compute) -> bool:
    chunk, threads = known["chunk"], known["threads"]
    return chunk in CHUNKS[compute.device] and isinstance(threads, int) and 1 <= threads <= compute.threads


def _read() -> dict[str, Any]:
    try:
        content = json.loads(pace_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(content: dict[str, Any]) -> None:
    """Remember; where the folder cannot be written, the next start measures again."""
    try:
        with whole_file(pace_file(), replace=True) as unfinished:
            unfinished.write_text(json.dumps(content, indent=1), encoding="utf-8")
    except OSError as error:
        _log.info("the pace was not remembered: %s", error.strerror)
