"""Wall clock, peak memory, operations and bytes of a job, and the ceilings of the machine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread
from typing import Any

import psutil
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from napari_clipmed.benchmark.rows import Ceilings, Timing
from napari_clipmed.memory import give_back_freed

_LOOK_S = 0.005
"""Between two looks at the memory in use."""


def time_job(
    job: Callable[[], Any], repeats: int, *, before: Callable[[], Any] = lambda: None, warm_up: int = 1
) -> Timing:
    """Time a job.

    Parameters
    ----------
    job : callable
        What is timed.
    repeats : int
        How often, at least once.
    before : callable
        Run before each repeat, not timed: empties caches, makes a new question.
    warm_up : int
        Repeats that are not counted.
    """
    seconds, peak = [], 0
    for number in range(-warm_up, repeats):
        before()
        with _peak_memory() as most:
            began = time.perf_counter()
            job()
            _wait_for_device()
            took = time.perf_counter() - began
        if number >= 0:
            seconds.append(took)
            peak = max(peak, most())
    return Timing(tuple(seconds), peak)


def count_work(job: Callable[[], Any]) -> tuple[int, int]:
    """Floating-point operations of a job, and bytes that its torch operators read and write.

    Only this thread counts, and no fused operator does: `job` is the same work in its plain form.
    """
    with _Work() as work:
        job()
    return work.flops, work.bytes_moved


def find_ceilings(device: str, dtype: torch.dtype, in_bytes: bool = False) -> Ceilings:
    """The best of a few large matrix products (of bytes too, if asked) and of a few large copies."""
    side = 2048 if device == "cpu" else 8192
    left, right = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    product = time_job(lambda: left @ right, 5)
    source = torch.zeros(2**26 if device == "cpu" else 2**28, device=device)
    target = torch.empty_like(source)
    copy = time_job(lambda: target.copy_(source), 5)
    byte_flops = 0.0
    if in_bytes:
        numbers = torch.randint(-127, 128, (side, side), dtype=torch.int8, device=device)
        byte_flops = 2 * side**3 / min(time_job(lambda: torch._int_mm(numbers, numbers), 5).seconds)
    flops, bandwidth = 2 * side**3 / min(product.seconds), 2 * source.nbytes / min(copy.seconds)
    return Ceilings(flops, bandwidth, byte_flops)


class _Work(TorchDispatchMode):
    """Adds up operations by torch's own formulae, and the bytes of operands and results but for mere views.

    torch's `FlopCounterMode` has the formulae but does not stand `autograd.grad`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.flops = self.bytes_moved = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        if not func.is_view:
            tensors = [leaf for leaf in tree_leaves((args, kwargs, answer)) if isinstance(leaf, torch.Tensor)]
            self.bytes_moved += sum(tensor.nbytes for tensor in tensors)
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.flops += int(formula(*args, **(kwargs or {}), out_val=answer))
        return answer


@contextmanager
def _peak_memory() -> Iterator[Callable[[], int]]:
    """The most bytes in use beyond those at the start, of the card or else of the process."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        start = torch.cuda.memory_allocated()
        yield lambda: torch.cuda.max_memory_allocated() - start
        return
    give_back_freed()  # else a repeat finds the memory that the one before it left behind, and needs none
    process, stop = psutil.Process(), Event()
    start = most = process.memory_info().rss

    def watch() -> None:
        nonlocal most
        while not stop.wait(_LOOK_S):
            most = max(most, process.memory_info().rss)

    watcher = Thread(target=watch, name="peak memory", daemon=True)
    watcher.start()
    try:
        yield lambda: max(most, process.memory_info().rss) - start
    finally:
        stop.set()
        watcher.join()


def _wait_for_device() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    elif torch.backends.mps.is_available():
        torch.mps.synchronize()
