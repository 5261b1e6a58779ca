"""Where to compute, how precisely and with how many threads, and the sentence that says why."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar, cast

import torch
from open_clip.modified_resnet import ModifiedResNet
from torch import Tensor, nn

from napari_clipmed.errors import ClipmedError
from napari_clipmed.models.folding import fold_batch_norms
from napari_clipmed.models.fused_blocks import fuse_blocks
from napari_clipmed.models.int8_trunk import can_multiply_bytes

DEVICES = ("auto", "cuda", "mps", "cpu")
PRECISIONS = ("auto", "fp32", "bf16", "fp16", "int8")
_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

Network = TypeVar("Network", bound=nn.Module)


class _ReadsImages(Protocol):
    def cast_image_path(self, dtype: torch.dtype) -> None: ...


@dataclass(frozen=True)
class Compute:
    """A decided device and precision.

    Parameters
    ----------
    device : str
        "cuda", "mps" or "cpu".
    precision : str
        Number format of what reads images: "fp32", "bf16", "fp16" or, on processors, "int8" (the tower of
        CLIP-DSA in bytes, see `models.int8_trunk`; everything else as with "bf16" where that is native). What
        follows (attention pooling, heads, sentences) is float32 always: it is cheap, and probabilities and
        maps depend on it.
    threads : int
        CPU threads that torch may use.
    reason : str
        One sentence for the person.
    open : bool
        The precision was not asked for: a model may be read in another one, see `inference.precision`.
    """

    device: str
    precision: str
    threads: int
    reason: str
    open: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """The number format as torch names it; beside bytes, that of what is not in bytes."""
        if self.precision == "int8":
            return _DTYPES["bf16" if _bf16_is_native(self.device) else "fp32"]
        return _DTYPES[self.precision]

    def exactly(self, precision: str) -> Compute:
        """The same place with a precision that is settled."""
        return replace(self, precision=precision, open=False)

    def faster_first(self) -> tuple[str, ...]:
        """Precisions to be tried before float32 where none was asked for, fastest first."""
        bytes_too = ("int8",) if self.device == "cpu" and can_multiply_bytes() else ()
        return (*bytes_too, *((self.precision,) if self.precision != "fp32" else ()))

    @property
    def channels_last(self) -> bool:
        """Whether convolutions are faster with channels last: everywhere but on Apple's chips."""
        return self.device != "mps"

    def place(self, network: Network) -> Network:
        """Move a network there, in the layout that is fastest; it can still be trained and saved.

        Compute with it inside `running`, which casts its weights anew at each use; `freeze` is faster.
        """
        network = network.to(self.device).eval().requires_grad_(False)
        return network.to(memory_format=torch.channels_last) if self.channels_last else network

    def freeze(self, network: Network) -> Network:
        """Make a network as fast as it gets, for inference only: it can be neither trained nor saved.

        Batch norms are folded into their convolutions, in float32; then the weights of the image path are
        cast once, rather than at each use; on a processor, ReLU and short cuts are done inside the
        convolutions. Changed in place.
        """
        fold_batch_norms(network.eval())
        network = self.place(network)
        if self.dtype is not torch.float32:
            cast("_ReadsImages", network).cast_image_path(self.dtype)
        if self.device == "cpu":
            for part in list(network.modules()):
                if isinstance(part, ModifiedResNet):
                    fuse_blocks(part)
        return network

    def send(self, images: Tensor) -> Tensor:
        """Move images (N, C, H, W) there, in the same layout and number format."""
        images = images.to(self.device, self.dtype)
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images

    @contextmanager
    def running(self) -> Iterator[None]:
        """No gradients, and autocast where another format than float32 was chosen; for placed networks."""
        enabled = self.dtype is not torch.float32
        with torch.no_grad(), torch.autocast(self.device, self.dtype if enabled else None, enabled=enabled):
            yield


def choose_compute(device: str = "auto", precision: str = "auto", threads: int | None = None) -> Compute:
    """Decide where and how to compute.

    Parameters
    ----------
    device : str
        "auto" takes CUDA before MPS before the CPU.
    precision : str
        "auto" takes bfloat16 where the hardware multiplies it natively, else half precision on a CUDA card,
        else float32; a model may then get a faster one, or float32 (`inference.precision`).
    threads : int, optional
        CPU threads; a window passes `spare_threads` so that it stays alive. Default: what torch chose.

    Raises
    ------
    ClipmedError
        For a device that is not there, or an unknown word.
    """
    if device not in DEVICES or precision not in PRECISIONS:
        raise ClipmedError(
            f"Unknown device {device!r} or precision {precision!r}.",
            f"Devices: {', '.join(DEVICES)}; precisions: {', '.join(PRECISIONS)}.",
        )
    chosen, why = _choose_device(device)
    undecided = precision == "auto"
    if undecided:
        precision, because = _choose_precision(chosen)
        why += because
    elif precision == "fp16" and chosen == "cpu":
        raise ClipmedError("Processors do not compute in fp16.", "Choose auto, fp32 or bf16.")
    elif precision == "int8" and not (chosen == "cpu" and can_multiply_bytes()):
        raise ClipmedError(
            "int8 needs a processor that multiplies bytes natively (VNNI or AMX).", "Choose auto."
        )
    else:
        why += f" Precision {precision} was asked for."
    if threads is not None and threads != torch.get_num_threads():
        torch.set_num_threads(max(1, threads))
    return Compute(chosen, precision, torch.get_num_threads(), why, undecided)


def spare_threads() -> int:
    """All cores but one, at least one: what a window leaves to torch."""
    return max(1, available_cores() - 1)


def available_cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _choose_device(wanted: str) -> tuple[str, str]:
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        found = next(name for name in DEVICES[1:] if there[name])
        why = {
            "cuda": "A CUDA graphics card is there.",
            "mps": "An Apple graphics chip is there.",
            "cpu": "No CUDA or Apple graphics card was found, so the CPU computes.",
        }
        return found, why[found]
    if not there[wanted]:
        raise ClipmedError(f"The device {wanted!r} is not available on this machine.", "Choose auto or cpu.")
    return wanted, f"{wanted} was asked for."


def _choose_precision(device: str) -> tuple[str, str]:
    if _bf16_is_native(device):
        return "bf16", " Convolutions run in bfloat16, which this hardware multiplies natively."
    if device == "cuda":
        return "fp16", " Convolutions run in half precision; this card has no native bfloat16."
    return "fp32", " Computing in float32, because this hardware has no native bfloat16."


def _bf16_is_native(device: str) -> bool:
    """Whether bfloat16 products are done by the hardware; emulated ones are slower than float32."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "mps":
        return False
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    if capabilities:
        return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16", "sve_bf16"))
    try:  # torch before 2.10 does not tell
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
