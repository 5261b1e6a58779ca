"""When the memory does not suffice: half the batch, again, and at last a sentence that offers the CPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

from napari_clipmed.errors import ClipmedError

Answer = TypeVar("Answer")


class OutOfMemoryError(ClipmedError):
    """Not even one example at a time fits; `offer` names a device to try instead, or is empty."""

    def __init__(self, device: str) -> None:
        self.offer = "cpu" if device != "cpu" else ""
        if self.offer:
            super().__init__(
                "The graphics card has not enough memory to train, not even with one case at a time.",
                "Train on the processor instead (--device cpu); it is slower.",
            )
        else:
            super().__init__(
                "There was not enough memory to train, not even with one case at a time.",
                "Close other programs, or teach the last layers only (--strategy head).",
            )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out; the CPU's allocator says it in words only."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    words = str(error)
    return isinstance(error, RuntimeError) and ("out of memory" in words or "can't allocate memory" in words)


def with_smaller_batches(
    work: Callable[[int], Answer], batch_size: int, device: str, tell: Callable[[str], None]
) -> Answer:
    """Run `work` with a batch size, halved each time that the memory does not suffice.

    Raises
    ------
    OutOfMemoryError
        When one example is too many.
    """
    while True:
        try:
            return work(batch_size)
        except (MemoryError, RuntimeError) as error:  # torch's own is a RuntimeError
            if not is_out_of_memory(error):
                raise
            if batch_size == 1:
                raise OutOfMemoryError(device) from error
        # Outside the handler: the error holds on to everything that was allocated.
        if device == "cuda":
            torch.cuda.empty_cache()
        batch_size //= 2
        tell(f"The memory did not suffice; going on with {batch_size} at a time.")
