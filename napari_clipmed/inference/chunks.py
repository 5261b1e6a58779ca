"""Many images through a network, a few at a time; fewer at a time when memory does not suffice."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from napari_clipmed.errors import ClipmedError

_log = logging.getLogger(__name__)


def run_in_chunks(
    run: Callable[[Tensor], Tensor],
    images: Tensor,
    chunk: int,
    on_step: Callable[[int], None] = lambda done: None,
) -> tuple[Tensor, int]:
    """Run a network on images (N, …), `chunk` at a time.

    Parameters
    ----------
    run : callable
        (n, …) to (n, …).
    images : (N, …) Tensor
        N at least 1.
    chunk : int
        To begin with. When memory runs out it is halved, and what has been computed is kept.
    on_step : callable
        Told how many images are done before each chunk; may raise to stop.

    Returns
    -------
    answers : (N, …) Tensor
    chunk : int
        What fitted in the end; worth remembering.

    Raises
    ------
    ClipmedError
        When memory does not even suffice for one image.
    """
    parts: list[Tensor] = []
    done = 0
    while done < len(images):
        on_step(done)
        try:
            parts.append(run(images[done : done + chunk]))
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            if chunk == 1:
                raise ClipmedError(
                    "Memory does not suffice for a single image.",
                    "Close other programs, or choose the CPU or a smaller model.",
                ) from error
        else:
            done += len(parts[-1])
            continue
        # Outside of the handler, which would keep the failed attempt's tensors alive.
        chunk = max(1, min(chunk, len(images) - done) // 2)
        _log.warning("out of memory; going on with %d images at a time", chunk)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
    return torch.cat(parts), chunk


def is_out_of_memory(error: BaseException) -> bool:
    """Whether torch means that memory ran out; on CPU and MPS it says so in the text only."""
    if isinstance(error, torch.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and ("out of memory" in text or "can't allocate memory" in text)
