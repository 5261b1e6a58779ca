"""Where to compute, how precisely and with how many threads, and the sentence that says why."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from napari_clipmed.errors import ClipmedError

DEVICES = ("auto", "cuda", "mps", "cpu")
PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True)
class Compute:
    """A decided device and precision.

    Parameters
    ----------
    device : str
        "cuda", "mps" or "cpu".
    precision : str
        "bf16": convolutions run in bfloat16 under autocast; "fp32": everything in float32.
    threads : int
        CPU threads that torch may use.
    reason : str
        One sentence for the person.
    """

    device: str
    precision: str
    threads: int
    reason: str

    @property
    def channels_last(self) -> bool:
        """Whether convolutions are faster with channels last: wherever bfloat16 is."""
        return self.precision == "bf16" or self.device == "cuda"

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network there, in the memory layout that is fastest, ready for inference only."""
        network = network.to(self.device).eval().requires_grad_(False)
        return network.to(memory_format=torch.channels_last) if self.channels_last else network

    def send(self, images: Tensor) -> Tensor:
        """Move images (N, C, H, W) there in the same layout."""
        images = images.to(self.device)
        return images.contiguous(memory_format=torch.channels_last) if self.channels_last else images

    @contextmanager
    def running(self) -> Iterator[None]:
        """No gradients, and autocast where bfloat16 was chosen."""
        enabled = self.precision == "bf16"
        with torch.no_grad(), torch.autocast(self.device, torch.bfloat16, enabled=enabled):
            yield


def choose_compute(device: str = "auto", precision: str = "auto", threads: int | None = None) -> Compute:
    """Decide where and how to compute.

    Parameters
    ----------
    device : str
        "auto" takes CUDA before MPS before the CPU.
    precision : str
        "auto" takes bfloat16 where the hardware multiplies it natively, else float32.
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
    native = _bf16_is_native(chosen)
    if precision == "auto":
        precision = "bf16" if native else "fp32"
        why += (
            " Convolutions run in bfloat16, which this hardware multiplies natively."
            if native
            else " Computing in float32, because this hardware has no native bfloat16."
        )
    else:
        why += f" Precision {precision} was asked for."
    if threads is not None and threads != torch.get_num_threads():
        torch.set_num_threads(max(1, threads))
    return Compute(chosen, precision, torch.get_num_threads(), why)


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
